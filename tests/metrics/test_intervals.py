"""Intervals of shares: published values, a library, and how often they hold the truth."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from bench.metrics.intervals import Interval, quantile, wilson

# R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize(("correct", "total", "low", "high"), NEWCOMBE)
def test_wilson_gives_the_published_intervals(
    correct: int, total: int, low: float, high: float
) -> None:
    found = wilson(correct, total)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert (found.level, found.method) == (0.95, "Wilson")


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("correct", "total"), [(0, 1), (1, 1), (3, 7), (24_999, 50_000), (7, 7)])
def test_wilson_is_that_of_a_library(correct: int, total: int, level: float) -> None:
    found = wilson(correct, total, level)
    expected = proportion_confint(correct, total, alpha=1 - level, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_wilson_at_the_ends_is_exact_and_mirrored() -> None:
    assert all((wilson(0, n).low, wilson(n, n).high) == (0, 1) for n in range(1, 300))
    assert 1 - wilson(0, 9).high == pytest.approx(wilson(9, 9).low, abs=1e-15)
    assert wilson(500, 500).low > wilson(5, 5).low


def test_wilson_holds_the_true_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    truths = rng.uniform(0.05, 0.95, size=4000)
    totals = rng.integers(80, 3000, size=4000)
    found = [wilson(*pair) for pair in zip(rng.binomial(totals, truths), totals, strict=True)]
    held = np.mean([truth in one for truth, one in zip(truths, found, strict=True)])
    assert 0.935 <= held <= 0.965


def test_an_interval_is_ordered_and_says_what_it_holds() -> None:
    one = Interval(low=0.0, high=0.25, method="any")
    assert 0.25 in one and 0.26 not in one
    with pytest.raises(ValueError, match="reversed"):
        Interval(low=0.3, high=0.2, method="any")
    with pytest.raises(ValueError, match="level"):
        Interval(low=0.1, high=0.2, level=95, method="any")
    assert quantile() == pytest.approx(1.959964, abs=1e-6)
