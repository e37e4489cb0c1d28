"""One step of pretraining, on however many processes share it.

The order is that of the released code (arXiv 2404.08471): schedules, targets, predictions, loss,
clip, AdamW, then the target encoder moves towards the encoder that was just updated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from bench.encoders.networks.video_vit import VideoViT
from bench.errors import BenchError
from bench.pretrain.masks import Mask
from bench.pretrain.objective import JointEmbedding, hidden_features, hidden_pixels, losses
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import StepValues

Chunk = tuple[torch.Tensor, Sequence[Mask]]


class DivergedError(BenchError, FloatingPointError):
    """A step whose loss or gradients are no finite numbers; no weight was changed."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step measured on this process; norms are those before clipping."""

    loss: torch.Tensor
    std_loss: torch.Tensor
    encoder_norm: torch.Tensor
    predictor_norm: torch.Tensor


def make_optimizer(networks: JointEmbedding, recipe: PretrainRecipe) -> torch.optim.AdamW:
    """Return AdamW in the released groups, in their order.

    Matrices (mask tokens too) of the encoder and of the predictor decay; vectors and biases of the
    encoder and of the predictor do not.
    """
    groups = []
    for decays in (True, False):
        for network in (networks.encoder, networks.predictor):
            named = network.named_parameters()
            parameters = [p for n, p in named if (p.ndim != 1 and "bias" not in n) == decays]
            groups.append({"params": parameters, "weight_decay": 0.0})
    # Fused and per-tensor updates differ in rounding, so one way is used everywhere.
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def train_step(
    recipe: PretrainRecipe,
    networks: JointEmbedding,
    target: VideoViT,
    optimizer: torch.optim.Optimizer,
    chunks: Iterable[Chunk],
    num_chunks: int,
    values: StepValues,
    *,
    wrapped: nn.Module | None = None,
) -> StepReport:
    """Update `networks` and `target` in place with the clips of one step.

    `chunks` are `num_chunks` pairs of clips `[B, 3, T, H, W]` of equal number and their masks; the
    gradients of all are averaged. `wrapped` is what to call in place of `networks` where an engine
    wraps it.

    Raises:
        DivergedError: the loss or a gradient is not a finite number; the weights are as before.
    """
    model = wrapped or networks
    apply_values(optimizer, values)
    optimizer.zero_grad(set_to_none=True)
    done: list[tuple[torch.Tensor, torch.Tensor]] = []
    for clips, masks in chunks:
        with _synchronised(model, last=len(done) == num_chunks - 1):
            with autocast(recipe, clips.device):
                if recipe.target == "pixels":
                    hidden = hidden_pixels(clips, networks.encoder.patch_embed.kernel)
                else:
                    hidden = hidden_features(target, clips)
                found = losses(recipe, model(clips, masks), hidden, masks)
            (found.total / num_chunks).backward()  # type: ignore[no-untyped-call]
        done.append((found.total.detach(), found.std))
    assert len(done) == num_chunks, (len(done), num_chunks)
    loss, std = (torch.stack(parts).mean() for parts in zip(*done, strict=True))
    limit = recipe.clip_norm if values.clips else None
    encoder_norm = clip_gradients(networks.encoder, limit)
    predictor_norm = clip_gradients(networks.predictor, limit)
    # The norms are those of all processes together, so that all of them stop at the same step.
    numbers = {
        "loss": loss,
        "encoder gradient": encoder_norm,
        "predictor gradient": predictor_norm,
    }
    bad = [f"{name} {float(x)}" for name, x in numbers.items() if not math.isfinite(x)]
    if bad:
        raise DivergedError(
            f"the run diverged and this step was not made: {', '.join(bad)}. Start a new one with a"
            " lower lr or more warmup_steps; resumed, it would come to the same step."
        )
    optimizer.step()
    move_target(target, networks.encoder, values.momentum)
    return StepReport(
        loss=loss, std_loss=std, encoder_norm=encoder_norm, predictor_norm=predictor_norm
    )


def apply_values(optimizer: torch.optim.Optimizer, values: StepValues) -> None:
    """Set learning rate and weight decay of the groups of `make_optimizer`."""
    for number, group in enumerate(optimizer.param_groups):
        group["lr"] = values.lr
        group["weight_decay"] = values.weight_decay if number < 2 else 0.0


def move_target(target: nn.Module, encoder: nn.Module, momentum: float) -> None:
    """Make every weight of the target `momentum * itself + (1 - momentum) * the encoder's`."""
    with torch.no_grad():
        theirs = [p.detach() for p in encoder.parameters()]
        torch._foreach_lerp_(list(target.parameters()), theirs, 1 - momentum)


def clip_gradients(network: nn.Module, largest: float | None) -> torch.Tensor:
    """Return the norm of a network's gradients, and scale them down to `largest` if it is more."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    if not parameters:
        return torch.zeros(())
    norm = nn.utils.clip_grad_norm_(parameters, math.inf if largest is None else largest)
    full = getattr(norm, "full_tensor", None)  # a sharded network's norm
    return norm if full is None else full()


def autocast(recipe: PretrainRecipe, device: torch.device) -> AbstractContextManager[object]:
    """Return the precision of forward pass and loss; bf16 needs no gradient scaler."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def _synchronised(model: nn.Module, *, last: bool) -> AbstractContextManager[object]:
    """Let processes exchange gradients once a step, with its last chunk."""
    if isinstance(model, DistributedDataParallel):
        return nullcontext() if last else model.no_sync()
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    return nullcontext()
