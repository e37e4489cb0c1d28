"""Label efficiency: spread over draws, area under an accuracy curve, labels to reach a target.

A curve is accuracy against the number of training labels, interpolated linearly in the logarithm of
that number; it is not extrapolated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

Curve = Sequence[tuple[float, float]]  # (number of labels, accuracy), in any order


def spread(values: Sequence[float], ddof: int = 1) -> float | None:
    """Return the standard deviation of the draws; None unless there are more than `ddof`."""
    return float(np.std(values, ddof=ddof)) if len(values) > ddof else None


def log_area(curve: Curve) -> float | None:
    """Return the area under a curve over log10(labels), divided by its width.

    For points (n_i, a_i) in ascending n it is the sum of (a_i + a_{i+1}) / 2 * log10(n_{i+1} /
    n_i), divided by log10(n_last / n_first): the accuracy in [0, 1] averaged over the logarithm of
    the number of labels. None for fewer than two points.
    """
    points = _ordered(curve)
    if len(points) < 2:
        return None
    parts = [
        (a + b) / 2 * math.log10(more / few) for (few, a), (more, b) in itertools.pairwise(points)
    ]
    return math.fsum(parts) / math.log10(points[-1][0] / points[0][0])


def labels_to_reach(curve: Curve, target: float) -> float | None:
    """Return the smallest number of labels at which a curve reaches `target`, None if it does not.

    If the first point already reaches it, this is an upper bound: that point's number of labels.
    """
    points = _ordered(curve)
    if points and points[0][1] >= target:
        return points[0][0]
    for (few, low), (more, high) in itertools.pairwise(points):
        if high >= target:  # low is below: an earlier point would have been returned
            way = (target - low) / (high - low)
            return few * (more / few) ** way if way < 1 else more
    return None


def middle(needed: Sequence[float | None]) -> float | None:
    """Return the median of the labels that several draws need; None counts as infinite.

    For an even number of draws it is the geometric mean of the middle two.
    """
    ordered = sorted(math.inf if labels is None else labels for labels in needed)
    if not ordered:
        return None
    few, more = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return None if math.isinf(more) else math.sqrt(few * more)


def _ordered(curve: Curve) -> list[tuple[float, float]]:
    """Return the points in ascending number of labels, with the mean of those at one number."""
    by_labels: dict[float, list[float]] = {}
    for labels, accuracy in curve:
        assert labels > 0, curve
        by_labels.setdefault(float(labels), []).append(accuracy)
    return [(labels, math.fsum(found) / len(found)) for labels, found in sorted(by_labels.items())]
