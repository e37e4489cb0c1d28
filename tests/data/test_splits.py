"""Stratified parts: counts, nesting, and rows that are the same on every platform."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.splits import (
    group_holdout,
    permuted,
    permuted_groups,
    stratified_holdout,
)
from bench.errors import UsageError

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(
    lambda values: np.array(values, dtype=np.int64)
)


def half_up(percent: int, count: int) -> int:
    return (2 * percent * count + 100) // 200


@settings(max_examples=100, deadline=None)
@given(labels=LABELS, draw=st.integers(0, 3))
def test_fractions_have_exact_class_counts_and_are_nested(labels: np.ndarray, draw: int) -> None:
    inner: set[int] = set()
    for percent in (1, 5, 10, 29, 50, 100):
        rows = permuted(labels, draw=draw).fraction(percent / 100)
        assert rows.dtype == np.int64
        assert rows.tolist() == sorted(set(rows.tolist()))
        for label in np.unique(labels):
            expected = max(1, half_up(percent, int((labels == label).sum())))
            assert int((labels[rows] == label).sum()) == expected
        assert inner <= set(rows.tolist())
        inner = set(rows.tolist())
    assert inner == set(range(len(labels)))


@settings(max_examples=100, deadline=None)
@given(labels=LABELS, draw=st.integers(0, 3))
def test_shots_are_nested_in_each_other_and_in_fractions_that_take_as_many(
    labels: np.ndarray, draw: int
) -> None:
    sizes = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    inner: set[int] = set()
    for shots in (1, 2, 5, 100):
        rows = permuted(labels, draw=draw).shots(shots)
        assert rows.tolist() == sorted(set(rows.tolist()))
        for label, size in sizes.items():
            assert int((labels[rows] == label).sum()) == min(shots, size)
        assert inner <= set(rows.tolist())
        inner = set(rows.tolist())
        for percent in (1, 10, 50, 100):
            if all(max(1, half_up(percent, n)) >= min(shots, n) for n in sizes.values()):
                assert inner <= set(permuted(labels, draw=draw).fraction(percent / 100).tolist())
    assert inner == set(range(len(labels)))


def test_what_is_taken_is_the_beginning_of_the_sorted_hashes() -> None:
    """The rule in plain words: rank by id, then SHA-256 of `fraction DRAW CLASS RANK`."""
    ids = [f"{(7 * i) % 60:02d}" for i in range(60)]
    labels = np.arange(60, dtype=np.int64) % 3 // 2  # 40 rows of class 0, 20 of class 1

    def first(count_of: Callable[..., int]) -> list[int]:
        taken = []
        for label in (0, 1):
            own = sorted((sample, row) for row, sample in enumerate(ids) if labels[row] == label)
            rank = {rank: row for rank, (_, row) in enumerate(own)}
            order = sorted(
                rank, key=lambda r: hashlib.sha256(f"fraction 4 {label} {r}".encode()).hexdigest()
            )
            taken += [rank[r] for r in order[: count_of(len(own))]]
        return sorted(taken)

    drawn = permuted(labels, draw=4, ids=ids)
    assert drawn.shots(3).tolist() == first(lambda n: 3)
    assert drawn.fraction(0.25).tolist() == first(lambda n: n // 4)


def test_rounding_follows_the_decimal_number() -> None:
    # 0.29 * 50 is 14.499999999999998 in binary; the decimal 14.5 rounds up to 15.
    assert len(permuted(np.zeros(50, dtype=np.int64), draw=0).fraction(0.29)) == 15


def test_drawn_rows_are_fixed_for_ever() -> None:
    # Row 4 r + c has rank r in class c. The ranks with the smallest sha256sum of, for example,
    # "fraction 0 CLASS RANK" are 9, 6, 2, 5 for classes 0 to 3: rows 36, 25, 10, 23.
    labels = np.arange(40, dtype=np.int64) % 4
    assert permuted(labels, draw=0).fraction(0.1).tolist() == [10, 23, 25, 36]
    assert permuted(labels, draw=1).fraction(0.1).tolist() == [2, 16, 17, 27]
    assert stratified_holdout(labels, seed=0)[1].tolist() == [5, 7, 20, 34]


def test_draws_differ() -> None:
    labels = np.arange(400, dtype=np.int64) % 4
    draws = [tuple(permuted(labels, draw=draw).fraction(0.1)) for draw in range(3)]
    assert len(set(draws)) == 3


@settings(max_examples=100, deadline=None)
@given(labels=LABELS, seed=st.integers(0, 3), percent=st.sampled_from([1, 10, 35, 100]))
def test_holdout_leaves_a_row_of_every_class_on_both_sides(
    labels: np.ndarray, seed: int, percent: int
) -> None:
    kept, held_out = stratified_holdout(labels, fraction=percent / 100, seed=seed)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist())
    assert held_out.tolist() == sorted(held_out.tolist())
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        out = int((labels[held_out] == label).sum())
        assert out == (0 if count == 1 else min(count - 1, max(1, half_up(percent, int(count)))))


def test_holdout_of_a_tenth_is_not_the_first_fraction() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    fraction = permuted(labels, draw=0).fraction(0.1)
    held_out = stratified_holdout(labels, seed=0)[1]
    assert len(fraction) == len(held_out) == 100
    assert len(set(fraction.tolist()) & set(held_out.tolist())) < 30


def test_permuting_labels_within_the_rest_leaves_other_classes_alone() -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    other = labels.copy()
    other[labels == 2] = np.arange(20) % 5 + 2
    rows, again = (permuted(v, draw=0).fraction(0.2) for v in (labels, other))
    assert [r for r in rows if labels[r] < 2] == [r for r in again if labels[r] < 2]


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_fraction_outside_of_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="at most 1"):
        permuted(np.zeros(3, dtype=np.int64), draw=0).fraction(fraction)
    with pytest.raises(UsageError, match="numbered from 0"):
        permuted(np.zeros(3, dtype=np.int64), draw=-1).fraction(0.5)
    with pytest.raises(UsageError, match="at least 1"):
        permuted(np.zeros(3, dtype=np.int64), draw=0).shots(0)


# ------------------------------------------------------------------------------------------ groups
GROUPS = st.lists(st.integers(0, 9), min_size=1, max_size=80).map(
    lambda values: np.array(values, dtype=np.int64)
)
NAMES = [f"video {n}" for n in range(10)]


@settings(max_examples=100, deadline=None)
@given(groups=GROUPS, draw=st.integers(0, 3))
def test_fractions_of_groups_are_whole_groups_counted_exactly_and_nested(
    groups: np.ndarray, draw: int
) -> None:
    inner: set[int] = set()
    drawn = permuted_groups(groups, NAMES, draw=draw)
    for percent in (1, 15, 29, 50, 100):
        rows = drawn.fraction(percent / 100)
        taken = set(groups[rows].tolist())
        assert len(taken) == max(1, half_up(percent, len(set(groups.tolist()))))
        assert rows.tolist() == [row for row, g in enumerate(groups) if g in taken]
        assert inner <= taken
        inner = taken


def test_groups_are_taken_in_the_order_of_sha256_of_draw_and_name() -> None:
    names = ["c", "a", "b", "never there"]
    groups = np.array([2, 0, 0, 1, 2])
    order = sorted("abc", key=lambda n: hashlib.sha256(f"group 4 {n}".encode()).hexdigest())
    drawn = permuted_groups(groups, names, draw=4)
    assert [names[group] for group in drawn.classes[0].tolist()] == order
    # The smallest of printf 'group 0 video N' | sha256sum are 0397, 0ae7 and 177d of 1, 4 and 8.
    fixed = permuted_groups(np.arange(10), NAMES, draw=0).fraction(0.3)
    assert fixed.tolist() == [1, 4, 8]


def test_draws_of_groups_have_no_negative_number() -> None:
    with pytest.raises(UsageError, match="numbered from 0"):
        permuted_groups(np.zeros(3, dtype=np.int64), NAMES, draw=-1)


@settings(max_examples=100, deadline=None)
@given(groups=GROUPS, seed=st.integers(0, 3))
def test_held_out_groups_are_whole_and_on_one_side(groups: np.ndarray, seed: int) -> None:
    kept, held_out = group_holdout(groups, seed=seed)
    assert sorted([*kept, *held_out]) == list(range(len(groups)))
    assert kept.tolist() == sorted(kept) and held_out.tolist() == sorted(held_out)
    inside, outside = set(groups[kept].tolist()), set(groups[held_out].tolist())
    assert not inside & outside
    count = len(inside | outside)
    assert len(outside) == (max(1, half_up(10, count)) if count > 1 else 0)


def test_held_out_groups_are_fixed_for_ever_and_only_ranks_decide() -> None:
    groups = np.repeat(np.arange(20), 2)
    held_out = group_holdout(groups, seed=0)[1]
    order = sorted(
        range(20), key=lambda r: hashlib.sha256(f"holdout 0 group {r}".encode()).hexdigest()
    )
    assert sorted(set(groups[held_out])) == sorted(order[:2])
    assert held_out.tolist() == [2, 3, 20, 21]  # of groups 1 and 10
    assert group_holdout(7 * groups + 5, seed=0)[1].tolist() == [2, 3, 20, 21]
    assert group_holdout(groups, seed=1)[1].tolist() != [2, 3, 20, 21]
