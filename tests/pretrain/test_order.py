"""Rows come by seed and position alone: every row once a pass, or lists by their weights."""

import pickle

import numpy as np
import pytest

from bench.pretrain.order import Order

SIZES = (5, 1, 11)  # 17 rows: 0-4, 5, 6-16


@pytest.mark.parametrize("number", [0, 1, 7])
def test_every_row_comes_once_in_each_pass(number: int) -> None:
    rows = Order(SIZES, None, seed=3).rows(np.arange(17 * number, 17 * (number + 1)))
    assert rows.dtype == np.int64 and sorted(rows.tolist()) == list(range(17))


def test_passes_and_seeds_differ() -> None:
    first, second = np.split(Order((1000,), None, seed=0).rows(np.arange(2000)), 2)
    other = Order((1000,), None, seed=1).rows(np.arange(1000))
    for one, two in ((first, second), (first, other), (first, np.arange(1000))):
        assert (one == two).sum() < 20  # one in a thousand is expected to agree


@pytest.mark.parametrize("weights", [None, (0.5, 0.2, 0.3)])
def test_a_row_depends_on_its_position_alone(weights: tuple[float, float, float] | None) -> None:
    positions = np.random.default_rng(0).permutation(60)
    whole = Order(SIZES, weights, seed=9).rows(np.arange(60))
    again = Order(SIZES, weights, seed=9)
    np.testing.assert_array_equal(again.rows(positions), whole[positions])
    for position in positions.tolist():
        assert again.rows(np.array([position])) == whole[position]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).rows(np.arange(60)), whole)


def test_an_order_travels_without_the_pass_it_holds() -> None:
    order = Order((100_000,), None, seed=0)
    order.rows(np.arange(3))
    assert len(pickle.dumps(order)) < 1000


def test_lists_are_drawn_by_weight_and_their_rows_alike() -> None:
    order = Order(SIZES, (1, 2, 5), seed=0)
    counts = np.bincount(order.rows(np.arange(40_000)), minlength=17) / 40_000
    # 1/8, 2/8 and 5/8 of the draws; the standard error of each share is below 0.0025.
    expected = np.repeat([1 / 8 / 5, 2 / 8, 5 / 8 / 11], SIZES)
    np.testing.assert_allclose(counts, expected, atol=0.01)
    one_pass = order.rows(np.arange(17))
    assert len(set(one_pass.tolist())) < 17  # with replacement


@pytest.mark.parametrize("weights", [None, (1, 2, 5)])
def test_replacements_are_drawn_by_weight_from_position_and_attempt(
    weights: tuple[int, int, int] | None,
) -> None:
    order = Order(SIZES, weights, seed=0)
    rows = [order.replacement(position, attempt) for position in range(4000) for attempt in (1, 2)]
    assert rows == [
        Order(SIZES, weights, seed=0).replacement(p, a) for p in range(4000) for a in (1, 2)
    ]
    shares = np.full(17, 1 / 17) if weights is None else np.repeat([1 / 40, 2 / 8, 5 / 88], SIZES)
    np.testing.assert_allclose(np.bincount(rows, minlength=17) / 8000, shares, atol=0.02)
    assert sum(a == b for a, b in zip(rows[::2], rows[1::2], strict=True)) < 1500


def test_millions_of_rows_are_found_without_a_list_of_them() -> None:
    order = Order((2_000_000, 1_000_000), None, seed=0)
    rows = order.rows(np.arange(2_999_990, 3_000_010))  # over the end of a pass
    assert rows.min() >= 0 and rows.max() < 3_000_000 and len(rows) == 20
