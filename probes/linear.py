"""A linear classifier on one vector per view, all heads of a grid in one pass.

Like MAE (arXiv 2111.06377, appendix A) it can normalise features by a batch norm without scale and
shift; like DINOv2 (arXiv 2304.07193, appendix B.3) it trains a grid of settings on the same
features, from N(0, 0.01). The learning rate is not scaled with the batch size. Departure: the batch
norm keeps a plain mean over all batches instead of a moving average, because frozen features do not
drift and a short training would still be biased towards the initial 0 and 1.

Shape letters: B samples, V views, D width, K heads, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from bench.errors import UsageError
from bench.registry import probe
from bench.types import Reads
from probes.stack.fit import Classifiers, FittedStack, StackedProbe
from probes.stack.sweep import above_zero, at_least, grid
from probes.stack.train_heads import TrainingRecipe


@probe
def linear(
    *,
    epochs: int = 50,
    batch_size: int = 256,
    lr: tuple[float, ...] = (1e-3,),
    weight_decay: tuple[float, ...] = (0.0,),
    optimizer: Literal["sgd", "adamw"] = "adamw",
    batch_norm: bool = True,
    momentum: float = 0.9,
    warmup: float = 0.0,
    start_lr: float = 0.0,
    final_lr: float = 0.0,
) -> LinearProbe:
    """A linear layer, trained with a cosine to `final_lr`; heads are `lr` x `weight_decay`.

    `momentum` is for sgd only. `warmup` is in epochs, in which the learning rate rises from
    `start_lr`. Biases are not decayed. Rows with several labels are trained with the binary
    cross-entropy of every class.

    Raises:
        UsageError: an invalid setting.
    """
    at_least("linear", 1, epochs=epochs)
    at_least("linear", 2 if batch_norm else 1, batch_size=batch_size)
    at_least("linear", 0, momentum=momentum, warmup=warmup, start_lr=start_lr, final_lr=final_lr)
    above_zero("linear", lr=lr)
    _check_schedule(epochs, lr, warmup, start_lr, final_lr)
    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        momentum=momentum,
        warmup=warmup,
        start_lr=start_lr,
        final_lr=final_lr,
    )
    heads = grid("linear", lr=lr, weight_decay=weight_decay)
    return LinearProbe(heads=heads, recipe=recipe, batch_norm=batch_norm)


@dataclass(frozen=True, kw_only=True)
class LinearProbe(StackedProbe):
    """A sweep of linear classifiers over vectors."""

    batch_norm: bool
    name: str = "linear"
    reads: Reads = "vector"

    shared = ("epochs", "batch_size", "optimizer", "batch_norm", "momentum")
    shared_if_set = ("warmup", "start_lr", "final_lr")

    def classifiers(self, num_probes: int, facts: Mapping[str, Any]) -> LinearHeads:
        """Return the classifiers over vectors."""
        return LinearHeads(
            num_probes=num_probes,
            width=facts["width"],
            num_classes=facts["num_classes"],
            batch_norm=facts["batch_norm"],
        )

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> FittedStack:
        """Rebuild the fitted probe from `FittedStack.state`, sized by its weights."""
        _, num_classes, width = tensors["weight"].shape
        return super().restore(tensors, {**facts, "num_classes": num_classes, "width": width})


def _check_schedule(
    epochs: int, lr: Sequence[float], warmup: float, start_lr: float, final_lr: float
) -> None:
    if warmup >= epochs:
        raise UsageError(
            f"probe 'linear': a warmup of {warmup:g} epochs leaves none of {epochs} at the full"
            " learning rate; set a shorter warmup, or more epochs."
        )
    for name, value in {"start_lr": start_lr, "final_lr": final_lr}.items():
        if value > min(lr):
            raise UsageError(
                f"probe 'linear': {name} {value:g} is above the learning rate {min(lr):g}; lower"
                " it to that or less."
            )


class LinearHeads(Classifiers):
    """K linear classifiers over one shared normalisation: `[B, D]` to logits `[K, B, C]`."""

    probe = "linear"

    def __init__(self, *, num_probes: int, width: int, num_classes: int, batch_norm: bool) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.zeros(num_probes, num_classes, width))
        self.bias = nn.Parameter(torch.zeros(num_probes, num_classes))
        self.norm = (
            nn.BatchNorm1d(width, affine=False, eps=1e-6, momentum=None) if batch_norm else None
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Whether there is a batch norm; the shape of the weights gives the rest."""
        return {"batch_norm": self.norm is not None}

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw N(0, 0.01) weights once, shared by every head."""
        generator = torch.Generator().manual_seed(seed)
        self.weight.copy_(0.01 * torch.randn(self.weight.shape[1:], generator=generator))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        """Return the logits of every head."""
        K, C, D = self.weight.shape
        if self.norm is not None:
            x_BD = self._normalise(self.norm, x_BD)
        logits_BX = functional.linear(x_BD, self.weight.view(K * C, D), self.bias.view(K * C))
        return logits_BX.view(len(x_BD), K, C).transpose(0, 1)

    def _normalise(self, norm: nn.BatchNorm1d, x_BD: torch.Tensor) -> torch.Tensor:
        # One row has no variance, so a last batch of one uses the running statistics.
        if self.training and len(x_BD) == 1:
            return functional.batch_norm(x_BD, norm.running_mean, norm.running_var, eps=norm.eps)
        normed: torch.Tensor = norm(x_BD)
        return normed
