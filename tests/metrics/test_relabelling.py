"""Permuted labels are found, weak models are left alone, and nothing depends on class numbers."""

import itertools
import math
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from bench.metrics.assignment import best_relabelling, first_halves, mcnemar_one_sided
from bench.metrics.relabelling import Move, Relabelling, find_relabelling
from tests.metrics.weak_models import KINDS, decent, draw, weak_model

UCF101_FOLDERS = {34: 35, 35: 34, 46: 47, 47: 46}  # classInd against folders in ASCII order


def model(c: int, rows: int, accuracy: float = 0.8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return draw(rng, decent(rng, c, accuracy), np.full(c, rows))


def text_order(c: int) -> np.ndarray:
    """Index of every class among the names class_1 to class_C sorted as text."""
    names = [f"class_{i + 1}" for i in range(c)]
    return np.array([sorted(names).index(name) for name in names])


# ------------------------------------------------------------------------------------ by hand
def test_three_classes_shifted_by_one() -> None:
    labels = np.repeat([0, 1, 2], 40)
    predicted = (labels + 1) % 3
    assert find_relabelling(predicted, labels, 3) == Relabelling(
        rows=120,
        as_given=0,
        relabelled=120,
        moved_rows=120,
        moved_as_given=0,
        moved_relabelled=120,
        num_moved=3,
        moves=tuple(
            Move(label=c, predicted_as=(c + 1) % 3, rows=40, as_given=0, relabelled=40)
            for c in range(3)
        ),
        p_value=2.0**-60,  # 60 judged rows in either half, and all speak for the relabelling
        alarm=True,
    )


def test_two_of_ten_classes_exchanged_are_judged_on_their_own_rows() -> None:
    labels = np.repeat(np.arange(10), 30)
    predicted = labels.copy()
    predicted[labels == 3], predicted[labels == 7] = 7, 3
    predicted[np.flatnonzero(labels == 3)[[0, 20]]] = 3  # one right in either half
    found = find_relabelling(predicted, labels, 10)
    assert found.alarm and found.num_moved == 2
    assert (found.moved_rows, found.moved_as_given, found.moved_relabelled) == (60, 2, 58)
    assert (found.rows, found.as_given, found.relabelled) == (300, 242, 298)
    assert found.moves == (
        Move(label=7, predicted_as=3, rows=30, as_given=0, relabelled=30),
        Move(label=3, predicted_as=7, rows=30, as_given=2, relabelled=28),
    )
    # Of 30 discordant rows in a half one is against: (30 + 1) / 2**30.
    assert found.p_value == pytest.approx(31 / 2**30)


def test_classes_of_unequal_size_all_predicted_as_one_do_not_agree_with_an_exchange() -> None:
    # Exchanging them would make 100 of 110 rows right instead of 10, and means nothing.
    labels = np.repeat([0, 1], [10, 100])
    found = find_relabelling(np.zeros(110, dtype=np.int64), labels, 2)
    assert not found.alarm and found.as_given == 10


def test_one_class_always_taken_for_another_is_no_exchange() -> None:
    labels = np.repeat([0, 1, 2, 3], 40)
    predicted = np.where(labels == 0, 1, labels)
    found = find_relabelling(predicted, labels, 4)
    assert not found.alarm
    assert found.num_moved == 0 and found.as_given == found.relabelled == 120


def test_chain_of_confusions_that_does_not_close_is_no_permutation() -> None:
    labels = np.repeat(np.arange(4), 50)  # 0 is read as 1, 1 as 2, 2 as 3, 3 as 3
    assert not find_relabelling(np.minimum(labels + 1, 3), labels, 4).alarm


def predictions(*shares: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows with exact counts, spread evenly: per class, predicted class -> number of rows."""
    predicted, labels = [], []
    for label, counts in enumerate(shares):
        order = np.random.default_rng(label).permutation(sum(counts.values()))
        predicted.append(np.repeat(list(counts), list(counts.values()))[order])
        labels.append(np.full(len(order), label))
    return np.concatenate(predicted), np.concatenate(labels)


GOOD = [{c: 40} for c in range(4, 20)]


@pytest.mark.parametrize(
    ("why", "shares"),
    [
        # 70 % against 30 %: as much as left and right may be mirrored, and no exchange
        ("ratio", [{0: 90, 1: 210}, {1: 90, 0: 210}, {2: 40}, {3: 40}, *GOOD]),
        # 30 % against none: two classes that are not known at all
        ("match", [{1: 30, 2: 35, 3: 35}, {0: 30, 2: 35, 3: 35}, {2: 40}, {3: 40}, *GOOD]),
        # 70 % against none, but eight other classes are read as these two as well
        (
            "precision",
            [{1: 70, 4: 30}, {0: 70, 4: 30}, {2: 40}, {3: 40}]
            + [{c: 50, c % 2: 50} for c in range(4, 12)]
            + [{c: 40} for c in range(12, 20)],
        ),
        # exchanged without a doubt, in a model that knows nothing else
        ("total", [{1: 40}, {0: 40}] + [dict.fromkeys(range(2, 20), 3) for _ in range(2, 20)]),
        # 184 rows of 220 against 36, but the rarer class is right as given
        ("classes", [{1: 180, 0: 20}, {0: 4, 1: 16}, {2: 40}, {3: 40}, *GOOD]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_near_relabellings_raise_no_alarm(why: str, shares: list[dict[int, int]]) -> None:
    assert not find_relabelling(*predictions(*shares), 20).alarm


def test_nearest_relabelling_of_those_raises_one() -> None:
    shares = [{1: 70, 4: 30}, {0: 70, 4: 30}, {2: 40}, {3: 40}, *GOOD]
    found = find_relabelling(*predictions(*shares), 20)
    assert found.alarm and found.num_moved == 2
    assert (found.moved_as_given, found.moved_relabelled, found.moved_rows) == (0, 140, 200)


def test_exchange_is_found_among_pairs_that_nobody_tells_apart() -> None:
    # 0 and 1 are exchanged; of the others half are read as their neighbour, which half of the
    # assignments take for a relabelling: all that moves is no better relabelled, one part is.
    pairs = [{c: 20, c + 1 - 2 * (c % 2): 20} for c in range(2, 20)]
    found = find_relabelling(*predictions({1: 40}, {0: 40}, *pairs), 20)
    assert found.alarm and found.num_moved == 2 and found.moved_rows == 80
    assert (found.as_given, found.relabelled) == (360, 440)


def around_the_circle(c: int, *, moved: int, own: int, others: int) -> list[dict[int, int]]:
    """Of each of C classes, so many rows are read as the next one, as itself, as every other."""
    return [
        {**dict.fromkeys(range(c), others), (i + 1) % c: moved, i: own} for i in range(c)
    ]  # fmt: skip


def test_weak_model_is_shifted_if_it_is_as_bad_as_chance_with_the_labels_as_given() -> None:
    def alarm(c: int, **rows: Any) -> bool:
        return find_relabelling(*predictions(*around_the_circle(c, **rows)), c).alarm

    assert alarm(50, moved=40, own=2, others=1)  # 44 % against 2 %
    assert not alarm(20, moved=40, own=6, others=3)  # 40 % against 6 %: not ten times as good
    assert not alarm(100, moved=90, own=5, others=1)  # 47 % against 2.6 %: above twice chance
    assert not alarm(50, moved=35, own=2, others=2)  # 26 %: hardly anything known


def test_rows_that_were_not_scored_are_left_out() -> None:
    predicted, labels = model(20, 20)
    rows = np.arange(len(labels)) % 3 > 0
    shifted = (predicted + 1) % 20
    expected = find_relabelling(shifted[rows], labels[rows], 20)
    assert find_relabelling(np.where(rows, shifted, -1), labels, 20) == expected
    assert expected.alarm


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 2], [2, 2, 2, 2]])
def test_next_to_no_rows_are_no_reason_for_an_alarm(labels: list[int]) -> None:
    labels = np.array(labels, dtype=np.int64)
    found = find_relabelling((labels + 1) % 3, labels, 3)
    assert not found.alarm and found.rows == len(labels)


def test_halves_are_blocks_of_every_class() -> None:
    labels = np.array([1, 0, 1, 1, 0, 2, 1, 1])
    assert first_halves(labels).tolist() == [True, True, True, True, False, True, False, False]


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (0, 5), (3, 0), (7, 4), (30, 1), (60, 55)])
def test_p_value_is_the_tail_of_fair_coin_throws(better: int, worse: int) -> None:
    throws = better + worse
    tail = sum(math.comb(throws, k) for k in range(better, throws + 1)) / 2**throws
    assert mcnemar_one_sided(np.array(better), np.array(worse)) == pytest.approx(tail, rel=1e-12)


# ------------------------------------------------------------------------------- the assignment
def weight(predicted: Sequence[int], labels: Sequence[int], relabelling: Sequence[int]) -> float:
    """What the assignment maximises, counted row by row; an unused column (-1) gives nothing."""
    counts, sizes = Counter(zip(labels, predicted, strict=True)), Counter(labels)
    return sum(
        (counts[c, k] + 0.5 * (c == k and sizes[c] > 0)) / (sizes[c] + 1)
        for c, k in enumerate(relabelling)
    )


@pytest.mark.parametrize("seed", range(40))
def test_assignment_is_the_best_of_all_permutations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = int(rng.integers(2, 6))
    labels, predicted = rng.integers(0, c, (2, int(rng.integers(1, 25)))).tolist()
    found = best_relabelling(np.array(predicted), np.array(labels), c)
    best = max(weight(predicted, labels, p) for p in itertools.permutations(range(c)))
    assert weight(predicted, labels, found.tolist()) == pytest.approx(best, abs=1e-7)
    used = found[found >= 0].tolist()
    assert len(set(used)) == len(used)
    for label, column in enumerate(found.tolist()):
        assert column in (-1, label) or (label, column) in zip(labels, predicted, strict=True)


def test_assignment_of_many_classes_is_as_good_as_that_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(0, 60, (2, 900))
    confusion = np.zeros((60, 60))
    np.add.at(confusion, (labels, predicted), 1)
    weights = (confusion + 0.5 * np.eye(60)) / (confusion.sum(axis=1, keepdims=True) + 1)
    best = weights[linear_sum_assignment(weights, maximize=True)].sum()
    found = best_relabelling(predicted, labels, 60).tolist()
    assert weight(predicted.tolist(), labels.tolist(), found) == pytest.approx(best, abs=1e-6)


# ------------------------------------------------------------------------------------- catches
@pytest.mark.parametrize(
    ("order", "c"),
    [(order, c) for order in ("shuffled", "shifted") for c in (5, 30, 101, 400)]
    + [("as text", c) for c in (12, 30, 101, 400)],
)
def test_wrong_order_of_all_classes_is_caught(order: str, c: int) -> None:
    predicted, labels = model(c, 38)
    if order == "as text":
        wrong = text_order(c)
    else:
        wrong = np.random.default_rng(7).permutation(c) if order == "shuffled" else np.arange(c)
        wrong = np.roll(wrong, 1)
    found = find_relabelling(wrong[predicted], labels, c)
    right = int((predicted == labels).sum())
    assert found.alarm
    assert found.as_given == int((wrong[predicted] == labels).sum()) < 0.2 * found.rows
    assert found.relabelled <= right
    assert found.relabelled > 0.95 * right
    assert found.num_moved >= 0.95 * (wrong != np.arange(c)).sum()
    assert all(move.predicted_as == wrong[move.label] for move in found.moves)


def test_labels_that_count_from_one_are_caught() -> None:
    predicted, labels = model(50, 20)
    found = find_relabelling(predicted, labels + 1, 51)  # class 0 is left without rows
    assert found.alarm and found.as_given < 0.1 * found.rows
    assert {move.predicted_as - move.label for move in found.moves} == {-1}


def test_the_four_exchanged_classes_of_ucf101_are_caught_in_a_decent_model() -> None:
    predicted, labels = model(101, 37)
    wrong = np.arange(101)
    wrong[list(UCF101_FOLDERS)] = list(UCF101_FOLDERS.values())
    found = find_relabelling(wrong[predicted], labels, 101)
    assert found.alarm and found.num_moved == 4 and found.moved_rows == 4 * 37
    assert {m.label: m.predicted_as for m in found.moves} == UCF101_FOLDERS
    moved = np.isin(labels, list(UCF101_FOLDERS))
    assert found.moved_relabelled == int((predicted == labels)[moved].sum())
    assert found.as_given == int((wrong[predicted] == labels).sum())
    assert found.relabelled == int((predicted == labels).sum())


@pytest.mark.parametrize("accuracy", [0.5, 0.4])
def test_shuffled_labels_are_caught_in_a_model_that_is_right_less_than_half_of_the_time(
    accuracy: float,
) -> None:
    predicted, labels = model(174, 50, accuracy)
    wrong = np.random.default_rng(1).permutation(174)
    assert find_relabelling(wrong[predicted], labels, 174).alarm


def test_permutations_are_caught_in_nearly_all_decent_models() -> None:
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        c = int(rng.choice([10, 30, 101]))
        predicted, labels = draw(rng, decent(rng, c, 0.75), rng.integers(20, 51, c))
        wrong = np.arange(c)
        if seed % 2:
            moved = rng.choice(c, 4, replace=False)
            wrong[moved] = wrong[moved[[1, 0, 3, 2]]]
        else:
            wrong = rng.permutation(c)
        missed += not find_relabelling(wrong[predicted], labels, c).alarm
    assert missed <= 3


# -------------------------------------------------------------------------------- false alarms
def test_right_labels_of_decent_models_raise_no_alarm() -> None:
    for seed, c in enumerate([2, 3, 5, 10, 30, 101, 400] * 5):
        assert not find_relabelling(*model(c, 20, 0.5 + 0.4 * (seed % 5) / 4, seed), c).alarm


def test_less_than_one_in_a_hundred_of_1000_weak_models_raises_an_alarm() -> None:
    alarms = Counter(
        kind.__name__
        for number, kind in enumerate(KINDS)
        for i in range(112)
        if find_relabelling(*weak_model(kind, np.random.default_rng((0, number, i)))).alarm
    )
    assert alarms.total() < 0.01 * 112 * len(KINDS), alarms
    # These lean to classes other than their own, some of them nearly one-to-one.
    assert alarms.keys() <= {"structured", "leaning", "to_the_middle"}, alarms


# ------------------------------------------------------------------------------------ renaming
@pytest.mark.parametrize("seed", range(30))
def test_renaming_the_classes_of_labels_and_predictions_alike_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, labels, c = weak_model(KINDS[seed % len(KINDS)], rng)
    if seed % 3 == 0:
        predicted = rng.permutation(c)[predicted]
    name = rng.permutation(c)
    before = find_relabelling(predicted, labels, c)
    after = find_relabelling(name[predicted], name[labels], c)
    renamed = tuple(
        Move(**{**vars(m), "label": name[m.label], "predicted_as": name[m.predicted_as]})
        for m in before.moves
    )
    assert after == Relabelling(**{**vars(before), "moves": renamed})


# --------------------------------------------------------------------------------------- scale
@pytest.mark.parametrize("shuffled", [True, False])
def test_ten_thousand_classes_stay_far_below_a_dense_confusion_matrix(shuffled: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10_000), 10)
    predicted = rng.integers(0, 10_000, len(labels))
    if shuffled:
        right = rng.random(len(labels)) < 0.6
        predicted = np.where(right, rng.permutation(10_000)[labels], predicted)
    tracemalloc.start()
    found = find_relabelling(predicted, labels, 10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.alarm == shuffled
    assert peak < 100 * 2**20
