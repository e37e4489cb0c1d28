"""Compare two models on the same rows: the difference, its interval and the test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from bench.metrics.intervals import Interval, quantile
from bench.metrics.mcnemar import EXACT_UP_TO, POWER, detectable, mcnemar, mcnemar_above
from bench.metrics.tango import tango
from bench.types import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A minus B over the `n` rows on which both were scored, or over `n` left-out videos.

    `only_a` rows are right only for A, `only_b` only for B; None if right and wrong are not counted
    by row. `difference` is a difference of fractions, `p` tests that it is 0 (two-sided), `p_above`
    that A is not better (one-sided), both by `method`. `mde` is the smallest difference that the
    test would find at 5 % with a power of 80 %, with as many discordant rows as here; None if no
    possible difference is large enough.
    """

    n: int
    only_a: int | None
    only_b: int | None
    difference: float
    interval: Interval
    p: float
    p_above: float
    method: str
    mde: float | None


def compare_rows(right_a: BoolArray, right_b: BoolArray) -> Paired:
    """Compare two models by their right rows, bool `[rows]` each."""
    assert right_a.shape == right_b.shape and right_a.ndim == 1, (right_a.shape, right_b.shape)
    return compare_counts(
        n=len(right_a),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
    )


def compare_counts(*, n: int, only_a: int, only_b: int) -> Paired:
    """Compare two models by the number of `n` rows on which only A, or only B, is right."""
    assert n > 0 and only_a >= 0 and only_b >= 0 and only_a + only_b <= n, (n, only_a, only_b)
    low, high = tango(n, only_a, only_b)
    return Paired(
        n=n,
        only_a=only_a,
        only_b=only_b,
        difference=(only_a - only_b) / n,
        interval=Interval(low=float(low), high=float(high), method="Tango score"),
        p=float(mcnemar(only_a, only_b)),
        p_above=float(mcnemar_above(only_a, only_b)),
        method="McNemar exact" if only_a + only_b <= EXACT_UP_TO else "McNemar chi-square",
        mde=detectable(n, only_a + only_b),
    )


def compare_means(gaps: FloatArray) -> Paired:
    """Compare two models with several fits each, scored on the same rows.

    `gaps` float64 `[rows]` is the share of A's fits that are right on a row minus that of B's. The
    score test z = sum / sqrt(sum of squares), McNemar's for one fit each, and its interval cover
    the sampling of rows; the sampling of fits shows in their spread.
    """
    assert gaps.ndim == 1 and len(gaps), gaps.shape
    n, difference = len(gaps), float(gaps.mean())
    square, z = float((gaps**2).mean()), quantile()
    spread = math.sqrt(max(0.0, square - difference**2))
    half = z * spread / math.sqrt(n - z * z) if n > z * z else 2.0
    score = difference * math.sqrt(n / square) if square else 0.0
    mde = (z + NormalDist().inv_cdf(POWER)) * math.sqrt(square / n)
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    if not half:  # equal gaps, such as those of equal models, have no spread
        counts = (n * max(0.0, difference), n * max(0.0, -difference))
        low, high = map(float, tango(n, *counts))
    return Paired(
        n=n,
        only_a=None,
        only_b=None,
        difference=difference,
        interval=Interval(low=low, high=high, method="score" if half else "Tango score"),
        p=math.erfc(abs(score) / math.sqrt(2)),
        p_above=math.erfc(score / math.sqrt(2)) / 2,
        method="score test over rows, fits averaged",
        mde=detectable(n, 0) if square == 0 else mde if mde <= 1 else None,
    )


def holm(ps: Sequence[float] | FloatArray) -> FloatArray:
    """Return p-values adjusted for multiple testing (Holm 1979), float64 `[P]`."""
    given = np.asarray(ps, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    adjusted = np.empty_like(given)
    steps = given[order] * np.arange(len(given), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def as_json(paired: Paired) -> dict[str, Any]:
    """Return the comparison as JSON values."""
    return {
        "n": paired.n,
        "only_a": paired.only_a,
        "only_b": paired.only_b,
        "difference": paired.difference,
        "low": paired.interval.low,
        "high": paired.interval.high,
        "level": paired.interval.level,
        "interval": paired.interval.method,
        "p": paired.p,
        "p_above": paired.p_above,
        "method": paired.method,
        "minimum_detectable_difference": paired.mde,
    }
