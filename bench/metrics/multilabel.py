"""Mean average precision over classes, for rows that may have several labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.metrics.frame_matching import average_precision
from bench.types import FloatArray


def class_precisions(
    scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> FloatArray:
    """Return the average precision of every class, float64 `[C]`, NaN without a positive row.

    `scores` and `labels` (0 and 1) are `[rows, C]`. Rows are ranked by a stable descending sort,
    and the area is under the envelope of precision, as in `bench.metrics.frame_map`.
    """
    assert scores.shape == labels.shape, (scores.shape, labels.shape)
    num_positive = labels.sum(axis=0)
    found = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(num_positive):
        found[c] = average_precision(scores[:, c], labels[:, c] == 1, int(num_positive[c]))
    return found


def mean_average_precision(
    scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> float:
    """Return the mean of `class_precisions` over the classes with positives; one must exist."""
    assert labels.any(), "no class has a positive"
    return float(np.nanmean(class_precisions(scores, labels)))
