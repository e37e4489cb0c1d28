"""The attentive probe of V-JEPA, all heads of a learning-rate and weight-decay grid in one pass.

arXiv 2404.08471, section 4 and appendix on frozen evaluation; released recipe: AdamW, cosine to 0
without warm-up, weight decay on matrices with a cosine to 1e-6, gradients clipped to norm 1, last
batch of an epoch kept. Departures: float32 throughout (released: float16 autocast); rows are
reshuffled every epoch (released: the same order every epoch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.registry import probe
from bench.types import Head, Reads
from probes.stack.attentive_head import AttentiveHeads
from probes.stack.fit import FittedStack, StackedProbe
from probes.stack.released_probe import read_released_probe
from probes.stack.sweep import above_zero, at_least, grid
from probes.stack.train_heads import TrainingRecipe


@probe
def attentive(
    *,
    num_heads: int,
    epochs: int = 20,
    batch_size: int = 256,
    lr: tuple[float, ...] = (1e-3,),
    weight_decay: tuple[float, ...] = (0.01,),
    final_weight_decay: float | None = 1e-6,
    warmup: float = 0.0,
    clip_norm: float | None = 1.0,
) -> AttentiveProbe:
    """One learned query attends to all tokens, then an MLP and a linear classifier (V-JEPA).

    `num_heads` is the number of attention heads, the encoder's own as released. Heads of the sweep
    are `lr` x `weight_decay`, with the same initial weights and batches. `warmup` is in epochs;
    `final_weight_decay` and `clip_norm` may be none. Rows with several labels are trained with the
    binary cross-entropy of every class.

    Raises:
        UsageError: an invalid setting.
    """
    at_least("attentive", 1, num_heads=num_heads, epochs=epochs, batch_size=batch_size)
    at_least("attentive", 0, warmup=warmup, final_weight_decay=final_weight_decay)
    above_zero("attentive", lr=lr, clip_norm=clip_norm)
    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        warmup=warmup,
        final_weight_decay=final_weight_decay,
        clip_norm=clip_norm,
    )
    heads = grid("attentive", lr=lr, weight_decay=weight_decay)
    return AttentiveProbe(num_heads=num_heads, heads=heads, recipe=recipe)


@dataclass(frozen=True, kw_only=True)
class AttentiveProbe(StackedProbe):
    """A sweep of attentive probes over tokens."""

    num_heads: int
    name: str = "attentive"
    reads: Reads = "tokens"

    shared = ("num_heads", "epochs", "batch_size", "final_weight_decay", "warmup", "clip_norm")

    def classifiers(self, num_probes: int, facts: Mapping[str, Any]) -> AttentiveHeads:
        """Return the classifiers, or raise `UsageError` if the width is not divisible by heads."""
        return AttentiveHeads(
            num_probes=num_probes,
            width=facts["width"],
            num_attention_heads=facts["num_heads"],
            num_classes=facts["num_classes"],
        )

    def read_released(self, path: Path) -> FittedStack:
        """Read a V-JEPA 1 probe file; its single head has `num_heads` attention heads.

        Raises:
            CheckpointError: the file is not a complete probe of this kind.
            UsageError: it is a V-JEPA 2 probe file, whose probes have four blocks.
        """
        module, told = read_released_probe(path, num_attention_heads=self.num_heads)
        head = Head(settings={"released": path.name})
        return FittedStack(heads=(head,), log={"released": path.name}, module=module, told=told)
