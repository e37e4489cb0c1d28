"""The attentive probe of V-JEPA 2: three blocks of self-attention, then one learned query.

arXiv 2506.09985, section on frozen evaluation; released recipe: AdamW per head, cosine to 0,
constant weight decay on every parameter, no gradient clipping, last batch of an epoch dropped for
videos. Departures: float32 unless `precision` says otherwise (released: float16 autocast), and no
row is dropped when heads are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.registry import probe
from bench.types import Head, Reads
from probes.stack.attentive_blocks import AttentiveBlocks, Precision
from probes.stack.attentive_head import EPS
from probes.stack.fit import FittedStack, StackedProbe
from probes.stack.released_blocks import RELEASED_HEADS, read_released_blocks
from probes.stack.sweep import above_zero, at_least, grid
from probes.stack.train_heads import TrainingRecipe


@probe
def attentive4(
    *,
    num_heads: int | None = None,
    epochs: int = 20,
    batch_size: int = 256,
    lr: tuple[float, ...] = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4),
    weight_decay: tuple[float, ...] = (0.01, 0.1, 0.4, 0.8),
    warmup: float = 0.0,
    start_lr: float = 0.0,
    drop_last: bool = False,
    precision: Precision = "fp32",
    released_head: int = 0,
) -> Attentive4Probe:
    """Three self-attention blocks over all tokens, then a query, an MLP and a classifier.

    `num_heads` is the number of attention heads: as released 16 for every encoder, or for a file of
    transformers that of its `config.json`. Heads of the sweep are `lr` x `weight_decay`, with the
    same initial weights and batches. `warmup` is in epochs and starts at `start_lr`. `drop_last`
    drops an incomplete last batch. `released_head` is the index of the head to read from a released
    file, which holds a whole sweep.

    Raises:
        UsageError: an invalid setting.
    """
    at_least("attentive4", 1, num_heads=num_heads, epochs=epochs, batch_size=batch_size)
    at_least("attentive4", 0, warmup=warmup, start_lr=start_lr, released_head=released_head)
    above_zero("attentive4", lr=lr)
    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        warmup=warmup,
        start_lr=start_lr,
        decay_all=True,
        drop_last=drop_last,
    )
    return Attentive4Probe(
        num_heads=RELEASED_HEADS if num_heads is None else num_heads,
        asked_heads=num_heads,
        heads=grid("attentive4", lr=lr, weight_decay=weight_decay),
        recipe=recipe,
        precision=precision,
        released_head=released_head,
    )


@dataclass(frozen=True, kw_only=True)
class Attentive4Probe(StackedProbe):
    """A sweep of four-block attentive probes over tokens."""

    num_heads: int
    asked_heads: int | None = None
    precision: Precision = "fp32"
    released_head: int = 0
    name: str = "attentive4"
    reads: Reads = "tokens"

    shared = ("num_heads", "epochs", "batch_size", "warmup", "start_lr", "drop_last", "precision")
    shared_if_set = ("released_head",)  # irrelevant to a fitted probe

    def classifiers(self, num_probes: int, facts: Mapping[str, Any]) -> AttentiveBlocks:
        """Return the classifiers, or raise `UsageError` if the width is not divisible by heads."""
        return AttentiveBlocks(
            num_probes=num_probes,
            width=facts["width"],
            num_attention_heads=facts["num_heads"],
            num_classes=facts["num_classes"],
            num_blocks=facts.get("num_blocks", 4),
            precision=facts["precision"],
            eps=facts.get("eps", EPS),
        )

    def read_released(self, path: Path) -> FittedStack:
        """Read head `released_head` of a V-JEPA 2 probe file, or the only one of a hub model.

        Raises:
            CheckpointError: the file is not a complete probe of this kind.
            UsageError: it has fewer heads, or is a V-JEPA 1 probe file (one block).
        """
        module, told = read_released_blocks(
            path, num_attention_heads=self.asked_heads, precision=self.precision
        )
        if self.released_head >= module.num_probes:
            raise UsageError(
                f"{path} has {module.num_probes} head{'s' * (module.num_probes > 1)}, counted from"
                f" 0, but probe.released_head is {self.released_head}."
            )
        module.keep([self.released_head])
        log = {"released": path.name, "head": self.released_head}
        which = {"released_head": self.released_head} if self.released_head else {}
        told = replace(told, settings={**told.settings, **which})
        return FittedStack(heads=(Head(settings=log),), log=log, module=module, told=told)
