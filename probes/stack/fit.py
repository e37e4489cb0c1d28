"""The common base of trained probes: fit a stack of classifiers and score with it.

Shape letters: B samples, V views, K heads, C classes, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn

from bench.encoders.true_fp32 import true_fp32
from bench.errors import CheckpointError, UsageError
from bench.types import FeatureSource, Head, Progress, Settings
from probes.stack.products import StackedHeads
from probes.stack.sweep import SweptProbe
from probes.stack.train_heads import TrainingRecipe, train

Output = Literal["softmax", "sigmoid"]


class Classifiers(StackedHeads, ABC):
    """K classifiers of one kind: features `[B, ..., D]` to logits `[K, B, C]`; `width` is D."""

    probe: ClassVar[str]
    width: int

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the probe needs besides tensors to rebuild this module, JSON-serialisable."""

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Draw initial weights once, shared by every head."""

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load every tensor and switch to eval mode."""
        self.load_state_dict(dict(tensors))
        self.eval()

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only these heads."""
        for name, parameter in list(self.named_parameters(recurse=False)):
            rows = torch.tensor(indices, device=parameter.device)
            setattr(self, name, nn.Parameter(parameter.detach()[rows]))
        for name, buffer in list(self.named_buffers(recurse=False)):
            setattr(self, name, buffer[torch.tensor(indices, device=buffer.device)])


@dataclass(frozen=True, kw_only=True)
class StackedProbe(SweptProbe, ABC):
    """A sweep of classifiers of one kind, whose heads are trained in one pass.

    `shared` lists the settings of all heads, fields of the probe or its recipe; `shared_if_set`
    those that are left out if 0, so that runs keep the ids from before these settings existed.
    """

    recipe: TrainingRecipe
    shared: ClassVar[tuple[str, ...]]
    shared_if_set: ClassVar[tuple[str, ...]] = ()

    @property
    def settings(self) -> Settings:
        """Settings that all heads share."""
        fields = vars(self.recipe) | vars(self)
        are_set = [name for name in self.shared_if_set if fields[name]]
        return {name: fields[name] for name in (*self.shared, *are_set)}

    @abstractmethod
    def classifiers(self, num_probes: int, facts: Mapping[str, Any]) -> Classifiers:
        """Return untrained classifiers with `width`, `num_classes` and settings from `facts`.

        Raises:
            UsageError: the settings do not fit the width.
        """

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> FittedStack:
        """Rebuild the fitted probe from `FittedStack.state`.

        Raises:
            CheckpointError: its output function is unknown.
        """
        module = self.classifiers(len(facts["heads"]), facts)
        module.load(tensors)
        heads = tuple(Head(settings=settings) for settings in facts["heads"])
        output = facts.get("output", "softmax")
        if output not in get_args(Output):
            raise CheckpointError(
                f"this {module.probe} probe has the output {output!r}, unknown to this version; fit"
                " it again."
            )
        return FittedStack(heads=heads, log=facts["log"], module=module, output=output)

    @true_fp32()
    def fit(
        self, source: FeatureSource, *, seed: int, device: torch.device, progress: Progress
    ) -> FittedStack:
        """Train every head; heads whose loss is not finite are dropped and logged.

        Raises:
            UsageError: the features do not fit the probe, the only batch is incomplete and dropped,
                or rows may have several labels but none has any.
            BenchError: no head is left.
        """
        facts = {"width": source.width, "num_classes": source.num_classes, **self.settings}
        module = self.classifiers(len(self.heads), facts)
        has_many_labels = source.labels.ndim == 2
        if has_many_labels and not source.labels.any():
            raise UsageError(
                f"none of the {len(source):,} training rows has a label; give more rows, or check"
                " the labels."
            )
        module.initialise(seed)
        module.to(device)
        log = train(
            module,
            heads=self.heads,
            recipe=self.recipe,
            source=source,
            seed=seed,
            device=device,
            progress=progress,
        )
        kept = log.pop("kept")
        if len(kept) < len(self.heads):
            module.keep(kept)
        return FittedStack(
            heads=tuple(self.heads[k] for k in kept),
            log=log,
            module=module,
            output="sigmoid" if has_many_labels else "softmax",
        )


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a file of another project says of its probe: `settings` and the class names, in order.

    Settings that it does not have are unknown.
    """

    settings: Settings = field(default_factory=dict)
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedStack:
    """Trained classifiers, one per head.

    `output` turns logits into probabilities: `softmax` for one label per row, `sigmoid` (each class
    on its own) for several. `told` is what a file of another project says of the probe.
    """

    heads: Sequence[Head]
    log: Mapping[str, Any]
    module: Classifiers
    output: Output = "softmax"
    told: Told = field(default_factory=Told)

    @torch.no_grad()
    @true_fp32()
    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[K, B, C]` on the CPU from `[B, V, ..., D]`: the mean over views.

        Moves the weights to the device of `x` and computes there.

        Raises:
            CheckpointError: the probe was fitted on features of another width.
        """
        if x.shape[-1] != self.module.width:
            raise CheckpointError(
                f"this {self.module.probe} probe takes features of width {self.module.width}, but"
                f" the encoder gives {x.shape[-1]}; use the encoder that it was fitted on."
            )
        logits_KXC: torch.Tensor = self.module.to(x.device)(x.flatten(0, 1).float())
        K, _, C = logits_KXC.shape
        softmax = self.output == "softmax"
        shares_KXC = logits_KXC.softmax(dim=-1) if softmax else logits_KXC.sigmoid()
        return shares_KXC.reshape(K, *x.shape[:2], C).mean(dim=2).cpu()

    def only(self, index: int) -> FittedStack:
        """Return the head `heads[index]` alone; the module drops the others."""
        self.module.keep([index])
        return replace(self, heads=(self.heads[index],))

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return tensors and facts for the probe's `restore`."""
        facts = {
            "heads": [dict(head.settings) for head in self.heads],
            "log": dict(self.log),
            **self.module.facts,
            # Left out for softmax, so that files match those of earlier versions.
            **({"output": self.output} if self.output != "softmax" else {}),
        }
        return {name: t.cpu() for name, t in self.module.state_dict().items()}, facts
