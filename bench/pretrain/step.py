"""One step of pretraining, on one or more processes.

In the order of the released code (arXiv 2404.08471): schedules, targets, predictions, loss,
clipping, AdamW, then the EMA update of the target encoder towards the updated encoder.
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
from bench.encoders.true_fp32 import true_fp32
from bench.errors import BenchError
from bench.pretrain.masks import Mask
from bench.pretrain.objective import JointEmbedding, losses, target_features, target_pixels
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import StepValues

Chunk = tuple[torch.Tensor, Sequence[Mask]]


class DivergedError(BenchError, FloatingPointError):
    """The loss or gradients of a step are not finite; no weight was changed."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Measurements of a step on this process; norms are before clipping."""

    loss: torch.Tensor
    std_loss: torch.Tensor
    encoder_norm: torch.Tensor
    predictor_norm: torch.Tensor


def make_optimizer(networks: JointEmbedding, recipe: PretrainRecipe) -> torch.optim.AdamW:
    """Return AdamW with the released groups, in their order.

    First the matrices (and mask tokens) of encoder and of predictor, which decay, then their
    vectors and biases, which do not.
    """
    groups = []
    for decays in (True, False):
        for network in (networks.encoder, networks.predictor):
            named = network.named_parameters()
            parameters = [p for n, p in named if (p.ndim != 1 and "bias" not in n) == decays]
            groups.append({"params": parameters, "weight_decay": 0.0})
    # Fused and per-tensor updates round differently, so fused is used everywhere.
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


@true_fp32()
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

    `chunks` yields `num_chunks` equally sized pairs of clips `[B, 3, T, H, W]` and masks, whose
    gradients are averaged. `wrapped` is the engine's wrapper to call in place of `networks`.

    Raises:
        DivergedError: the loss or a gradient is not finite; the weights are unchanged.
    """
    model = wrapped or networks
    apply_values(optimizer, values)
    optimizer.zero_grad(set_to_none=True)
    done: list[tuple[torch.Tensor, torch.Tensor]] = []
    for clips, masks in chunks:
        with _synchronised(model, last=len(done) == num_chunks - 1):
            with autocast(recipe, clips.device):
                if recipe.target == "pixels":
                    targets = target_pixels(clips, networks.encoder.patch_embed.kernel)
                else:
                    targets = target_features(target, clips)
                found = losses(recipe, model(clips, masks), targets, masks)
            (found.total / num_chunks).backward()  # type: ignore[no-untyped-call]
        done.append((found.total.detach(), found.std))
    assert len(done) == num_chunks, (len(done), num_chunks)
    loss, std = (torch.stack(parts).mean() for parts in zip(*done, strict=True))
    limit = recipe.clip_norm if values.clips else None
    encoder_norm = clip_gradients(networks.encoder, limit)
    predictor_norm = clip_gradients(networks.predictor, limit)
    # Norms are global, so all processes stop at the same step.
    numbers = {
        "loss": loss,
        "encoder gradient": encoder_norm,
        "predictor gradient": predictor_norm,
    }
    bad = [f"{name} {float(x)}" for name, x in numbers.items() if not math.isfinite(x)]
    if bad:
        raise DivergedError(
            f"the run diverged and this step was skipped: {', '.join(bad)}. Start a new run with a"
            " lower lr or more warmup_steps; a resumed run would fail at the same step."
        )
    optimizer.step()
    update_target(target, networks.encoder, values.momentum)
    return StepReport(
        loss=loss, std_loss=std, encoder_norm=encoder_norm, predictor_norm=predictor_norm
    )


def apply_values(optimizer: torch.optim.Optimizer, values: StepValues) -> None:
    """Set learning rate and weight decay of the groups from `make_optimizer`."""
    for number, group in enumerate(optimizer.param_groups):
        group["lr"] = values.lr
        group["weight_decay"] = values.weight_decay if number < 2 else 0.0


def update_target(target: nn.Module, encoder: nn.Module, momentum: float) -> None:
    """EMA update: every target weight is `momentum * itself + (1 - momentum) * the encoder's`."""
    with torch.no_grad():
        sources = [p.detach() for p in encoder.parameters()]
        torch._foreach_lerp_(list(target.parameters()), sources, 1 - momentum)


def clip_gradients(network: nn.Module, largest: float | None) -> torch.Tensor:
    """Clip a network's gradient norm to `largest` and return the norm before clipping."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    if not parameters:
        return torch.zeros(())
    norm = nn.utils.clip_grad_norm_(parameters, math.inf if largest is None else largest)
    full = getattr(norm, "full_tensor", None)  # a sharded network's norm
    return norm if full is None else full()


def autocast(recipe: PretrainRecipe, device: torch.device) -> AbstractContextManager[object]:
    """Return the autocast of forward pass and loss; bf16 needs no gradient scaler."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")


def _synchronised(model: nn.Module, *, last: bool) -> AbstractContextManager[object]:
    """Synchronise gradients across processes only with the last chunk of a step."""
    if isinstance(model, DistributedDataParallel):
        return nullcontext() if last else model.no_sync()
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    return nullcontext()
