"""Fit a stack of classifiers, and score with what is left of it: what trained probes share.

Shape letters: B samples, V views, K heads, C classes, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from bench.errors import CheckpointError
from bench.types import FeatureSource, Head, Progress
from probes.stacked_linear import StackedHeads
from probes.stacked_training import Recipe, train


class Classifiers(StackedHeads, ABC):
    """K classifiers of one kind: features `[B, ..., D]` to logits `[K, B, C]`."""

    probe: ClassVar[str]

    @property
    @abstractmethod
    def width(self) -> int:
        """D."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the probe needs beside the tensors to build this module again, JSON-able."""

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Draw one start and give it to every head."""

    def keep(self, indices: Sequence[int]) -> None:
        """Forget all heads but these."""
        for name, parameter in list(self.named_parameters(recurse=False)):
            rows = torch.tensor(indices, device=parameter.device)
            setattr(self, name, nn.Parameter(parameter.detach()[rows]))
        for name, buffer in list(self.named_buffers(recurse=False)):
            setattr(self, name, buffer[torch.tensor(indices, device=buffer.device)])


def fit_stack(
    module: Classifiers,
    *,
    heads: Sequence[Head],
    recipe: Recipe,
    source: FeatureSource,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> FittedStack:
    """Train every head; those whose loss is not finite are left out and stand in the log.

    Raises:
        BenchError: no head is left.
    """
    module.initialise(seed)
    module.to(device)
    log = train(
        module,
        heads=heads,
        recipe=recipe,
        source=source,
        seed=seed,
        device=device,
        progress=progress,
    )
    kept = log.pop("kept")
    if len(kept) < len(heads):
        module.keep(kept)
    return FittedStack(heads=tuple(heads[k] for k in kept), log=log, module=module)


def restored_stack(module: Classifiers, facts: Mapping[str, Any]) -> FittedStack:
    """Rebuild what `FittedStack.state` gave around a module that holds its tensors."""
    heads = tuple(Head(settings=settings) for settings in facts["heads"])
    return FittedStack(heads=heads, log=facts["log"], module=module.eval())


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedStack:
    """Trained classifiers, one per head."""

    heads: Sequence[Head]
    log: Mapping[str, Any]
    module: Classifiers

    @torch.no_grad()
    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[K, B, C]` on the CPU from `[B, V, ..., D]`: the mean softmax over views.

        Computes on the device of `x`, where the weights are moved to.

        Raises:
            CheckpointError: the probe was made for features of another width.
        """
        if x.shape[-1] != self.module.width:
            raise CheckpointError(
                f"this {self.module.probe} probe reads features of width {self.module.width}, and"
                f" the encoder gives {x.shape[-1]}; use the encoder that it was trained on."
            )
        logits_KXC: torch.Tensor = self.module.to(x.device)(x.flatten(0, 1).float())
        K, _, C = logits_KXC.shape
        return logits_KXC.softmax(dim=-1).reshape(K, *x.shape[:2], C).mean(dim=2).cpu()

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return tensors and facts for the probe's `restore`."""
        facts = {
            "heads": [dict(head.settings) for head in self.heads],
            "log": dict(self.log),
            **self.module.facts,
        }
        return {name: t.cpu() for name, t in self.module.state_dict().items()}, facts
