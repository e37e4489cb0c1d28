"""The scores of all heads of a sweep, accumulated over batches.

Shape letters: K heads, B rows per batch, N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.metrics.multilabel import mean_average_precision
from bench.types import Batch, Fitted, Head, IntArray


class HeadScores:
    """Accuracies of K heads, or their mean AP over classes if rows may have several labels."""

    def __init__(self, labels: IntArray) -> None:
        """`labels` are int64 `[N]`, or 0 and 1 `[N, C]`."""
        self._labels = labels
        self._correct_K: npt.NDArray[Any] | int = 0
        self._scores_KNC: npt.NDArray[np.float32] | None = None

    def add(self, probabilities_KBC: torch.Tensor, batch: Batch) -> None:
        """Add a batch; every row must come exactly once."""
        if self._labels.ndim == 1:
            hits_KB = probabilities_KBC.argmax(dim=-1).cpu() == batch.y.cpu()
            self._correct_K = self._correct_K + hits_KB.sum(dim=1).numpy()
            return
        if self._scores_KNC is None:
            shape = (len(probabilities_KBC), *self._labels.shape)
            self._scores_KNC = np.zeros(shape, dtype=np.float32)
        self._scores_KNC[:, batch.row.cpu().numpy()] = probabilities_KBC.float().cpu().numpy()

    def values(self) -> list[float]:
        """Return the score of every head as a fraction."""
        if self._labels.ndim == 1:
            return [int(count) / len(self._labels) for count in np.asarray(self._correct_K)]
        assert self._scores_KNC is not None
        return [mean_average_precision(scores_NC, self._labels) for scores_NC in self._scores_KNC]


def by_head(
    values: Sequence[float], fitted: Fitted, heads: Sequence[Head]
) -> tuple[float | None, ...]:
    """Return the value of each of `heads`, None for those that the fit dropped."""
    found = [head.settings for head in fitted.heads]
    return tuple(
        values[found.index(head.settings)] if head.settings in found else None for head in heads
    )
