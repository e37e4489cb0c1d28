"""Paired comparison: equal to libraries, to published examples, and honest in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as library_mcnemar
from statsmodels.stats.multitest import multipletests

from bench.metrics.intervals import quantile
from bench.metrics.mcnemar import EXACT_UP_TO, detectable, mcnemar, mcnemar_above
from bench.metrics.paired import as_json, compare_counts, compare_means, compare_rows, holm
from bench.metrics.tango import tango

COUNTS = [(0, 0), (1, 0), (0, 1), (5, 0), (3, 3), (6, 16), (12, 13), (13, 13), (40, 20), (900, 871)]


@pytest.mark.parametrize(("only_a", "only_b"), COUNTS)
def test_mcnemar_is_that_of_a_library(only_a: int, only_b: int) -> None:
    exact = only_a + only_b <= EXACT_UP_TO
    table = [[50, only_a], [only_b, 50]]
    expected = library_mcnemar(table, exact=exact, correction=False).pvalue
    # The library divides by 0 where the two are equal row by row.
    expected = 1.0 if only_a + only_b == 0 else min(1.0, expected)
    assert float(mcnemar(only_a, only_b)) == pytest.approx(expected, rel=1e-10)
    found = compare_counts(n=100 + only_a + only_b, only_a=only_a, only_b=only_b)
    assert found.p == pytest.approx(expected, rel=1e-10)
    assert found.method == ("McNemar exact" if exact else "McNemar chi-square")


def test_the_test_is_exact_up_to_25_rows_apart() -> None:
    methods = [compare_counts(n=100, only_a=12, only_b=b).method for b in (13, 14)]
    assert methods == ["McNemar exact", "McNemar chi-square"]


def test_mcnemar_of_many_pairs_at_once_is_that_of_each() -> None:
    a, b = np.array([[0, 3, 30], [8, 400, 13]]), np.array([[7, 3, 11], [17, 390, 13]])
    for test in (mcnemar, mcnemar_above):
        one_by_one = [
            [float(test(x, y)) for x, y in zip(*rows, strict=True)]
            for rows in zip(a, b, strict=True)
        ]
        assert test(a, b).tolist() == one_by_one


@pytest.mark.parametrize(("only_a", "only_b"), COUNTS)
def test_the_one_sided_test_is_that_of_a_library(only_a: int, only_b: int) -> None:
    total = only_a + only_b
    expected = 1.0
    if total > EXACT_UP_TO:
        expected = stats.norm.sf((only_a - only_b) / math.sqrt(total))
    elif total:
        expected = stats.binomtest(only_a, total, alternative="greater").pvalue
    assert float(mcnemar_above(only_a, only_b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_holm_is_that_of_a_library(count: int) -> None:
    rng = np.random.default_rng(count)
    for ps in (rng.random(count), rng.random(count) ** 6, rng.choice([0.0, 0.01, 0.2, 1.0], count)):
        expected = multipletests(ps, method="holm")[1]
        assert holm(ps).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1 is 0.03, 0.04, 0.04.
    assert holm([0.04, 0.01, 0.02]).tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]).tolist() == []


# ---------------------------------------------------------------------------------------- intervals
def test_tango_gives_the_published_intervals() -> None:
    # Bentur et al. 2009 in Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), 2850.
    low, high = tango(21, 1, 7)
    assert (round(float(low), 3), round(float(high), 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(
    ("n", "a", "b"), [(21, 1, 7), (160, 40, 20), (44, 0, 1), (30, 0, 0), (9, 9, 0)]
)
def test_tango_ends_where_the_likelihood_is_z_standard_errors_away(n: int, a: int, b: int) -> None:
    """The constrained likelihood is maximised numerically, not by the closed form."""

    def score(gap: float) -> float:
        def unlikely(share_b: float) -> float:
            shares = np.array([share_b + gap, share_b, 1 - 2 * share_b - gap])
            counts = np.array([a, b, n - a - b])
            if (shares < -1e-12).any():
                return np.inf
            logs = np.log(np.maximum(shares, 1e-300))
            return -float((counts * logs)[counts > 0].sum())

        ends = max(0.0, -gap), (1 - gap) / 2
        share_b = optimize.minimize_scalar(
            unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}
        ).x
        # A maximum on the border of the shares, which the search only nears.
        share_b = min((share_b, *ends), key=unlikely)
        variance = (2 * share_b + gap - gap**2) / n
        return ((a - b) / n - gap) / math.sqrt(variance)

    low, high = map(float, tango(n, a, b))
    if low > -1:
        assert score(low) == pytest.approx(quantile(), abs=1e-4)
    if high < 1:
        assert score(high) == pytest.approx(-quantile(), abs=1e-4)


@settings(max_examples=200, deadline=None)
@given(a=st.integers(0, 200), b=st.integers(0, 200), equal=st.integers(0, 400))
def test_tango_leaves_out_zero_exactly_where_the_chi_square_is_significant(
    a: int, b: int, equal: int
) -> None:
    n = a + b + equal + 1
    low, high = map(float, tango(n, a, b))
    assert -1 <= low <= (a - b) / n <= high <= 1
    chi_square = (a - b) ** 2 / max(1, a + b)
    if abs(chi_square - quantile() ** 2) > 1e-6:
        assert (low > 0 or high < 0) == (chi_square > quantile() ** 2)


@settings(max_examples=200, deadline=None)
@given(a=st.integers(0, 60), b=st.integers(0, 60), equal=st.integers(1, 200))
def test_swapping_the_models_mirrors_every_bit(a: int, b: int, equal: int) -> None:
    found, swapped = (
        compare_counts(n=a + b + equal, only_a=x, only_b=y) for x, y in ((a, b), (b, a))
    )
    assert swapped.difference == -found.difference
    assert (swapped.interval.low, swapped.interval.high) == (
        -found.interval.high,
        -found.interval.low,
    )
    assert (swapped.p, swapped.mde, swapped.method) == (found.p, found.mde, found.method)
    assert (swapped.only_a, swapped.only_b) == (found.only_b, found.only_a)
    assert swapped.p_above == float(mcnemar_above(b, a))
    gaps = np.random.default_rng(a).choice([-1, -0.5, 0, 0.5, 1], size=b + equal)
    there, back = compare_means(gaps), compare_means(-gaps)
    assert back.difference == -there.difference and back.p == there.p
    assert (back.interval.low, back.interval.high) == (-there.interval.high, -there.interval.low)


def test_rows_are_counted_by_who_is_right_alone() -> None:
    a = np.array([1, 1, 1, 1, 0, 0, 1, 0], dtype=bool)
    b = np.array([1, 0, 0, 0, 1, 0, 1, 0], dtype=bool)
    found = compare_rows(a, b)
    assert (found.n, found.only_a, found.only_b) == (8, 3, 1)
    assert found.difference == 0.25
    assert found.p == pytest.approx(10 / 16) and found.p_above == pytest.approx(5 / 16)
    assert as_json(found)["p"] == found.p and as_json(found)["low"] == found.interval.low


# ------------------------------------------------------------------------------------ fits averaged
@pytest.mark.parametrize(("only_a", "only_b"), [(40, 20), (150, 160)])
def test_the_mean_of_one_fit_each_is_mcnemars_chi_square(only_a: int, only_b: int) -> None:
    gaps = np.concatenate([np.ones(only_a), -np.ones(only_b), np.zeros(500)])
    found, expected = compare_means(gaps), compare_counts(n=len(gaps), only_a=only_a, only_b=only_b)
    assert found.difference == pytest.approx(expected.difference)
    assert found.p == pytest.approx(expected.p, rel=1e-9)
    assert found.p_above == pytest.approx(expected.p_above, rel=1e-9)
    assert found.interval.low == pytest.approx(expected.interval.low, abs=2e-3)
    assert found.mde == pytest.approx(expected.mde, rel=0.02)


def test_the_interval_of_the_mean_leaves_out_zero_exactly_where_it_is_significant() -> None:
    rng = np.random.default_rng(5)
    agree = []
    for _ in range(300):
        found = compare_means(rng.choice([-1, -0.5, 0, 0.5, 1], size=200) + rng.choice([0, 0.1]))
        agree.append((0 in found.interval) == (found.p > 0.05))
    assert all(agree)
    assert compare_means(np.zeros(50)).p == 1
    assert compare_means(np.array([1.0, 0.0])).interval.high == 1


# ------------------------------------------------------------------------------------- simulations
def two_models(
    rng: np.random.Generator, pairs: int, *, gap: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows differ in how hard they are, so that two models agree more often than by chance."""
    n = rng.integers(600, 4000, size=pairs)
    hard = rng.uniform(0.3, 0.85, size=pairs)  # the share that both have right or wrong together
    only_a = rng.binomial(n, (1 - hard) / 2 + gap / 2)
    only_b = rng.binomial(n - only_a, ((1 - hard) / 2 - gap / 2) / (1 - (1 - hard) / 2 - gap / 2))
    return n, only_a, only_b


def test_equal_models_differ_significantly_in_one_of_twenty_pairs() -> None:
    n, a, b = two_models(np.random.default_rng(3), 2000)
    assert 0.04 <= np.mean(mcnemar(a, b) < 0.05) <= 0.06
    assert 0.04 <= np.mean(mcnemar_above(a, b) < 0.05) <= 0.06
    low, high = tango(n, a, b)
    assert 0.04 <= np.mean((low > 0) | (high < 0)) <= 0.06


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.12])
def test_the_paired_interval_holds_the_true_difference_as_often_as_it_says(gap: float) -> None:
    n, a, b = two_models(np.random.default_rng(17), 2000, gap=gap)
    low, high = tango(n, a, b)
    assert 0.935 <= np.mean((low <= gap) & (gap <= high)) <= 0.965


def test_averaged_fits_hold_size_and_coverage() -> None:
    rng = np.random.default_rng(23)
    rejected = held = 0
    for _ in range(2000):
        easy = rng.random(400)
        right = rng.random((6, 400)) < easy
        gaps = (right[:3].sum(axis=0) - right[3:].sum(axis=0)) / 3
        found = compare_means(gaps)
        rejected, held = rejected + (found.p < 0.05), held + (0 in found.interval)
    assert 0.04 <= rejected / 2000 <= 0.06 and 0.935 <= held / 2000 <= 0.965


@pytest.mark.parametrize(("n", "discordant"), [(500, 60), (3000, 900), (50_000, 4000)])
def test_the_detectable_difference_is_found_four_times_out_of_five(n: int, discordant: int) -> None:
    gap = detectable(n, discordant)
    rng = np.random.default_rng(29)
    share = discordant / n
    only_a = rng.binomial(n, (share + gap) / 2, size=4000)
    only_b = rng.binomial(n - only_a, (share - gap) / 2 / (1 - (share + gap) / 2))
    assert 0.77 <= np.mean(mcnemar(only_a, only_b) < 0.05) <= 0.83


def test_where_rows_are_few_the_detectable_difference_may_be_none() -> None:
    assert detectable(3, 0) is None and detectable(3, 2) is None
    assert detectable(40, 1) == detectable(40, 0)  # of one row apart no test says anything
    assert 7 < 40 * detectable(40, 0) < 8
    assert detectable(100_000, 0) < detectable(1000, 0)
    assert detectable(1000, 500) > detectable(1000, 100)


def test_equal_models_of_several_fits_leave_as_much_open_as_of_one() -> None:
    rows = np.zeros(20, dtype=bool)
    for gap, right in ((0.0, rows), (1.0, ~rows)):
        several, one = compare_means(np.full(20, gap)), compare_rows(right, rows)
        assert several.interval == one.interval and several.interval.high > 0.1
    assert compare_means(np.zeros(20)).mde == compare_rows(rows, rows).mde
