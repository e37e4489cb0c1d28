"""How far labels go: spread over draws, area under an accuracy curve, labels to reach a target.

A curve is accuracy against the number of training labels, straight between its measured points
over the logarithm of that number; nothing is said beyond them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

Curve = Sequence[tuple[float, float]]  # (number of labels, accuracy), in any order


def spread(values: Sequence[float], ddof: int = 1) -> float | None:
    """Return the standard deviation of the draws; None where `ddof` leaves nothing to divide by."""
    return float(np.std(values, ddof=ddof)) if len(values) > ddof else None


def log_area(curve: Curve) -> float | None:
    """Return the area under a curve over log10(labels), divided by its width.

    With points (n_i, a_i) by rising n it is the trapezoid sum of (a_i + a_{i+1}) / 2 times
    log10(n_{i+1} / n_i), divided by log10(n_last / n_first): the accuracy averaged over the
    logarithm of the number of labels, in [0, 1]. None for a curve without width.
    """
    points = _ordered(curve)
    if len(points) < 2:
        return None
    parts = [
        (a + b) / 2 * math.log10(more / few) for (few, a), (more, b) in itertools.pairwise(points)
    ]
    return math.fsum(parts) / math.log10(points[-1][0] / points[0][0])


def labels_to_reach(curve: Curve, target: float) -> float | None:
    """Return the smallest number of labels at which a curve reaches `target`, None if nowhere.

    Where the first point reaches it already, the answer is that number of labels: the true one may
    be smaller.
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
    """Return the median of the labels that several draws need, None being more than any number.

    Between the two in the middle of an even number lies their geometric mean.
    """
    ordered = sorted(math.inf if labels is None else labels for labels in needed)
    if not ordered:
        return None
    few, more = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return None if math.isinf(more) else math.sqrt(few * more)


def _ordered(curve: Curve) -> list[tuple[float, float]]:
    """Return the points by rising number of labels; of several at one number, their mean."""
    by_labels: dict[float, list[float]] = {}
    for labels, accuracy in curve:
        assert labels > 0, curve
        by_labels.setdefault(float(labels), []).append(accuracy)
    return [(labels, math.fsum(found) / len(found)) for labels, found in sorted(by_labels.items())]
