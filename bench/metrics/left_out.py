"""The jackknife: intervals, differences and ranks from numbers with each video left out.

With V videos the squared standard error is (V - 1) / V times the sum of squares around the mean of
the V numbers, used in Student's t distribution with V - 1 degrees of freedom.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from bench.metrics.intervals import LEVEL, Interval
from bench.metrics.mcnemar import POWER
from bench.metrics.paired import Paired, holm
from bench.metrics.ranking import Places, places_of_ps
from bench.types import FloatArray

METHOD = "jackknife over videos"
EQUAL = 1e-12  # of the spread: rounding error between equal models


def interval_of_left_out(value: float, left_V: FloatArray) -> Interval | None:
    """Return the interval, within [0, 1], of a number that is `left_V` with each video left out.

    None for fewer than two videos, or if some video cannot be left out.
    """
    if len(left_V) < 2 or not np.isfinite(left_V).all():
        return None
    half = _reach(len(left_V)) * float(standard_errors(left_V[None])[0])
    return Interval(low=max(0.0, value - half), high=min(1.0, value + half), method=METHOD)


def compare_left_out(
    value_a: float, left_a_V: FloatArray, value_b: float, left_b_V: FloatArray
) -> Paired | None:
    """Compare two numbers with the same videos left out; None if there are too few videos.

    The minimum detectable difference assumes the standard error observed here.
    """
    assert left_a_V.shape == left_b_V.shape, (left_a_V.shape, left_b_V.shape)
    gaps = left_a_V - left_b_V
    if len(gaps) < 2 or not np.isfinite(gaps).all():
        return None
    difference, error = value_a - value_b, float(standard_errors(gaps[None])[0])
    if error <= EQUAL:
        error = 0.0
    freedom, reach = len(gaps) - 1, _reach(len(gaps))
    t = difference / error if error else np.inf * np.sign(difference) if difference else 0.0
    mde = (reach + NormalDist().inv_cdf(POWER)) * error
    return Paired(
        n=len(gaps),
        only_a=None,
        only_b=None,
        difference=difference,
        interval=Interval(
            low=difference - reach * error, high=difference + reach * error, method=METHOD
        ),
        p=float(2 * stdtr(freedom, -abs(t))),
        p_above=float(stdtr(freedom, -t)),
        method=METHOD,
        mde=mde if 0 < mde <= 1 else None,
    )


def places_of_left_out(values_M: npt.ArrayLike, left_MV: FloatArray) -> Places | None:
    """Return the best and worst rank of M numbers, which are `left_MV` with each video left out.

    None if there are too few videos.
    """
    values, num_videos = np.asarray(values_M, dtype=np.float64), left_MV.shape[1]
    if num_videos < 2 or not np.isfinite(left_MV).all():
        return None
    around = left_MV - left_MV.mean(axis=1, keepdims=True)
    products = around @ around.T * (num_videos - 1) / num_videos
    first, second = np.triu_indices(len(values), k=1)
    total = products[first, first] + products[second, second]
    variance = total - 2 * products[first, second]
    variance[variance <= EQUAL * total] = 0  # rounding error between equal models
    apart = np.abs(values[first] - values[second])
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(apart <= EQUAL, 0.0, apart / np.sqrt(variance))
    return places_of_ps(values, holm(2 * stdtr(num_videos - 1, -t)))


def standard_errors(left_MV: FloatArray) -> FloatArray:
    """Return the standard error of each of M numbers, float64 `[M]`."""
    num_videos = left_MV.shape[1]
    around = left_MV - left_MV.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt((num_videos - 1) / num_videos * (around**2).sum(axis=1)))


def _reach(num_videos: int) -> float:
    return float(stdtrit(num_videos - 1, (1 + LEVEL) / 2))
