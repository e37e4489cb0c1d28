"""McNemar's test (Psychometrika 12, 1947) of many pairs at once, and its detectable differences.

Under the null hypothesis, either model is equally often the only one that is right. Up to
`EXACT_UP_TO` such discordant rows the test is exact (binomial), above that it is the chi-square
without continuity correction.
"""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from bench.metrics.intervals import quantile
from bench.types import FloatArray

EXACT_UP_TO = 25  # the usual bound, above which the chi-square keeps its level better
POWER = 0.8


def mcnemar(only_a: npt.ArrayLike, only_b: npt.ArrayLike) -> FloatArray:
    """Return the two-sided p of every pair of counts, float64 of their common shape."""
    more, fewer = np.maximum(only_a, only_b), np.minimum(only_a, only_b)
    return np.minimum(2 * mcnemar_above(more, fewer), 1.0)


def mcnemar_above(only_a: npt.ArrayLike, only_b: npt.ArrayLike) -> FloatArray:
    """Return the one-sided p of every pair of counts: that A is so much better by chance."""
    a, b = np.broadcast_arrays(np.asarray(only_a), np.asarray(only_b))
    from scipy.special import erfc  # slow to import, needed only here

    total = a + b
    few = total <= EXACT_UP_TO
    z = (a - b) / np.sqrt(np.maximum(total, 1))
    exact = _tails()[np.where(few, total, 0), np.where(few, b, 0)]
    return np.asarray(np.where(few, exact, erfc(z / math.sqrt(2)) / 2))


@cache
def _tails() -> FloatArray:
    """Return at `[n, k]` the probability of at most k heads in n tosses of a fair coin."""
    tails = np.ones((EXACT_UP_TO + 1, EXACT_UP_TO + 1))
    for n in range(EXACT_UP_TO + 1):
        tails[n, : n + 1] = np.cumsum([math.comb(n, k) for k in range(n + 1)]) / 2**n
    return tails


def detectable(n: int, discordant: int) -> float | None:
    """Return the smallest difference that McNemar's test finds at 5 % with a power of 80 %.

    From the normal approximation of Connor (Biometrics 43, 1987), with the observed share of
    `discordant` rows or the difference, whichever is larger. None: `n` rows are too few for any.
    """
    alpha, beta = quantile(), NormalDist().inv_cdf(POWER)
    share = discordant / n
    root = n * alpha**2 * share - (n + beta**2) * (alpha**2 - beta**2) * share
    if root >= 0:
        found = (math.sqrt(n * share) * alpha + math.sqrt(root)) / (n + beta**2)
        if 0 < found <= share:
            return found
    # Then all discordant rows favour one model: alpha + beta sqrt(1 - d) = sqrt(n d).
    if n < alpha**2:
        return None
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = math.sqrt(n * middle) >= alpha + beta * math.sqrt(1 - middle)
        low, high = (low, middle) if enough else (middle, high)
    return high
