"""The common base of probes fitted on all features of a source in memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.errors import UsageError
from bench.types import FeatureSource, IntArray, Progress, Reads
from probes.stack.sweep import SweptProbe

BATCH = 1024


@dataclass(frozen=True, kw_only=True)
class GatheredProbe(SweptProbe):
    """A probe fitted on all vectors at once, each with one label."""

    reads: Reads = "vector"

    def check_labels(self, labels: IntArray) -> None:
        """Refuse labels 0 and 1 `[rows, C]` before features are computed; int64 `[rows]` is fine.

        Raises:
            UsageError: a row may have several labels, or none.
        """
        if labels.ndim > 1:
            raise UsageError(
                f"probe {self.name!r} needs exactly one label per row, but here a row may have"
                f" several of {labels.shape[1]} classes; use probe linear or attentive."
            )


def gather(source: FeatureSource, progress: Progress) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features float32 `[rows, D]` and labels int64 `[rows]`, both on the CPU.

    Reads epoch 0, the first draw of training features.
    """
    x = torch.empty(len(source), source.width)
    y = torch.empty(len(source), dtype=torch.int64)
    progress.start("read features", len(source))
    try:
        for batch in source.epoch(0, batch_size=BATCH):
            assert batch.x.shape[1] == 1, "training features have one view"
            rows = batch.row.cpu()
            x[rows] = batch.x[:, 0].to("cpu", torch.float32)
            y[rows] = batch.y.cpu()
            progress.advance(len(batch.row))
    finally:
        progress.stop()
    return x, y
