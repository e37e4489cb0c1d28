"""Confidence intervals of shares over a finite sample of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """From `low` to `high` (fractions, or differences of fractions) at a confidence `level`.

    `method` names how it was computed, such as `Wilson`.
    """

    low: float
    high: float
    level: float = LEVEL
    method: str

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"interval {self.low} to {self.high} is reversed")
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} is not between 0 and 1")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def wilson(correct: float, total: int, level: float = LEVEL) -> Interval:
    """Return the score interval of Wilson (1927) for a share of `correct` out of `total` rows.

    It assumes independent rows; if many come from one video, see `video_jackknife`.
    """
    assert total > 0 and 0 <= correct <= total, (correct, total)
    z = quantile(level)
    share, square = correct / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    return Interval(
        low=0.0 if correct == 0 else middle - half,
        high=1.0 if correct == total else middle + half,
        level=level,
        method="Wilson",
    )


def quantile(level: float = LEVEL) -> float:
    """Return the half width of a two-sided interval in standard errors: 1.96 at 95 %."""
    return NormalDist().inv_cdf((1 + level) / 2)
