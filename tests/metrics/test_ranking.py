"""Places that data leave open: by pairwise loops, and how seldom equal models are put in order."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.metrics.left_out import compare_left_out, places_of_left_out
from bench.metrics.paired import compare_rows, holm
from bench.metrics.ranking import ROWS_AT_A_TIME, places


def looped(count: int, test: Callable[..., tuple[float, float]]) -> list[tuple[int, int]]:
    """Places by a loop over pairs; `test(i, j)` is the two-sided p and the difference."""
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    adjusted = holm([test(i, j)[0] for i, j in pairs])
    best, worst = [1] * count, [count] * count
    for (i, j), p in zip(pairs, adjusted, strict=True):
        if p < 0.05:
            up, down = (i, j) if test(i, j)[1] > 0 else (j, i)
            best[down] += 1
            worst[up] -= 1
    return list(zip(best, worst, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_places_are_those_of_a_loop_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(30, 2 * ROWS_AT_A_TIME)  # of one block and of several
    shares = np.sort(rng.uniform(0.3, 0.8, size=9))
    correct = rng.random(rows) < shares[:, None]
    correct[3] = correct[2]

    def test(i: int, j: int) -> tuple[float, float]:
        found = compare_rows(correct[i], correct[j])
        return found.p, found.difference

    assert places(correct) == looped(9, test)


def test_models_that_cannot_be_told_apart_share_places() -> None:
    rng = np.random.default_rng(1)
    low = rng.random(4000) < 0.4
    high = rng.random(4000) < 0.7
    nearly = high ^ (rng.random(4000) < 0.01)
    assert places(np.stack([low, high, nearly])) == [(3, 3), (1, 2), (1, 2)]
    assert places(np.stack([high])) == [(1, 1)]
    assert places(np.stack([high, high])) == [(1, 2), (1, 2)]


def test_places_follow_the_models_when_these_are_given_in_another_order() -> None:
    rng = np.random.default_rng(2)
    correct = rng.random((12, 900)) < np.linspace(0.2, 0.9, 12)[:, None]
    order = rng.permutation(12)
    found = places(correct)
    assert places(correct[order]) == [found[i] for i in order]
    assert found[0][0] > found[11][1]


def test_any_two_of_ten_equal_models_are_put_in_order_in_one_of_twenty_columns_at_most() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        easy = rng.random(500)
        wrong += set(places(rng.random((10, 500)) < easy)) != {(1, 10)}
    assert wrong / 300 <= 0.075  # three standard errors above a twentieth


@pytest.mark.parametrize("seed", range(4))
def test_places_of_numbers_with_videos_left_out_are_those_of_a_loop_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.sort(rng.uniform(0.1, 0.5, size=7))
    left = (
        values[:, None] + rng.normal(scale=0.004, size=40) + rng.normal(scale=0.002, size=(7, 40))
    )
    values[4], left[4] = values[3], left[3]

    def test(i: int, j: int) -> tuple[float, float]:
        found = compare_left_out(values[i], left[i], values[j], left[j])
        return found.p, found.difference

    assert places_of_left_out(values, left) == looped(7, test)
    assert places_of_left_out(values, left[:, :1]) is None
