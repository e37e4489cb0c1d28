"""Tango's score interval for the difference of two shares of the same rows.

T. Tango, Statistics in Medicine 17 (1998), 891-908. It inverts McNemar's test: it excludes 0
exactly if the chi-square without correction is significant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.metrics.intervals import LEVEL, quantile
from bench.types import FloatArray


def tango(
    n: npt.ArrayLike, only_a: npt.ArrayLike, only_b: npt.ArrayLike, level: float = LEVEL
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of Tango's score interval of every difference, float64 of the same shape."""
    n, a, b = (np.asarray(x, dtype=np.float64) for x in (n, only_a, only_b))
    z, more, less = quantile(level), np.maximum(a, b), np.minimum(a, b)
    observed = np.asarray((more - less) / n)
    low = _crossing(n, more, less, outside=np.full_like(observed, -1.0), inside=observed, wanted=z)
    high = _crossing(n, more, less, outside=np.full_like(observed, 1.0), inside=observed, wanted=z)
    # Computed for the better model, so swapping the two mirrors the result exactly.
    high = np.where(a == b, -low, high)
    return np.asarray(np.where(a < b, -high, low)), np.asarray(np.where(a < b, -low, high))


def _crossing(
    n: FloatArray,
    a: FloatArray,
    b: FloatArray,
    *,
    outside: FloatArray,
    inside: FloatArray,
    wanted: float,
) -> FloatArray:
    """Bisect for the difference at which the absolute score is `wanted`."""
    for _ in range(60):  # enough for float64 precision
        middle = (outside + inside) / 2
        beyond = np.abs(_score(n, a, b, middle)) > wanted
        outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
    return np.asarray(outside)


def _score(n: FloatArray, a: FloatArray, b: FloatArray, difference: FloatArray) -> FloatArray:
    """Return the distance of the counts from a true `difference` in (-1, 1), in standard errors.

    The variance is that of the maximum-likelihood shares with this difference.
    """
    linear = (2 * n - a + b) * difference - a - b
    constant = -b * difference * (1 - difference)
    share_b = (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0)) - linear) / (4 * n)
    variance = n * (2 * share_b + difference * (1 - difference))
    distance = a - b - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / np.sqrt(np.maximum(variance, 0)))
