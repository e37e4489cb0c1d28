"""Do predictions agree far better with a relabelling of the classes than with the given labels?

A shuffled, shifted or differently sorted label map leaves a model intact but its accuracy near
zero. A one-to-one relabelling is found on one half of every class's rows (the best assignment in
the confusion matrix) and judged on the other half, in both directions, so overfitting of the
assignment does not count.

The thresholds were set by reasoning and checked on simulated models (tests/metrics/weak_models.py):
24 of 13,500 weak models with right labels raised an alarm (0.2 %; 1.2 % for the worst of nine
kinds, models biased towards other classes than their own).

* Agreement is averaged over classes, not rows, so predictions that ignore the input (one class, a
  few, the frequent ones) agree equally with every relabelling. Under the relabelling, a class's
  agreement is the smaller of recall and precision: many classes predicted as one are a sign of a
  weak model, not a permutation.
* Far better means: agreement of at least `MIN_MATCH` over the moved classes, `MIN_RATIO` times that
  of the given labels, and McNemar's exact test below `MAX_P`. A model that confuses two classes
  half of the time has a ratio of 1; two exchanged classes need 80 % agreement.
* It must be a permutation: at most `MAX_HOMELESS` of the moved classes may be left unassigned. This
  excludes a chain (each class predicted as the next, the last as itself).
* The relabelled model must be decent over all classes (`MIN_TOTAL`): a few confused classes of a
  poor model are not a relabelling.
* Shuffles of weak models are caught by chance-level accuracy under the given labels: of at least
  `MANY` classes nearly all move, with `WEAK_MATCH` agreement and `WEAK_RATIO` times that of the
  given labels.
* A few exchanged classes are judged separately: every cycle of the relabelling is a part, tested at
  `MAX_P` divided by the number of parts, and both halves must find it.

Not caught: exchanges in models with less than about half of the rows right, and classes with a
handful of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics.assignment import best_relabelling, first_halves, mcnemar_one_sided
from bench.types import BoolArray, FloatArray, IntArray

MIN_MATCH = 0.5
MIN_RATIO = 4.0
MIN_TOTAL = 0.4
MAX_HOMELESS = 0.2
MAX_P = 1e-3
MANY = 20
WEAK_MATCH = 0.3
WEAK_RATIO = 10.0
WEAK_MOVED = 0.8
WEAK_CHANCE = 2.0  # times chance, the limit for a shuffled model under the given labels
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Move:
    """A class that is predicted as another one, with counts over all its rows."""

    label: int
    predicted_as: int
    rows: int
    as_given: int
    relabelled: int


@dataclass(frozen=True, kw_only=True)
class Relabelling:
    """Agreement with the given labels and under the best relabelling, on held-out rows.

    `rows` counts scored rows; `as_given` and `relabelled` count those that agree, and `moved_*` the
    same for rows of moved classes. Both halves move `num_moved` classes to the same other class;
    `moves` are the clearest of them. `p_value` is the larger of the two halves' one-sided exact
    McNemar tests. `alarm`: the relabelling is far better, by the rule of this module.
    """

    rows: int
    as_given: int
    relabelled: int
    moved_rows: int
    moved_as_given: int
    moved_relabelled: int
    num_moved: int
    moves: tuple[Move, ...]
    p_value: float
    alarm: bool


def find_relabelling(predicted: IntArray, labels: IntArray, num_classes: int) -> Relabelling:
    """Judge the best one-to-one relabelling of predictions; both arrays are int64 `[rows]`.

    Rows with a negative prediction were not scored and are left out. The result does not depend on
    the numbering of classes. 10,000 classes and 100,000 rows take seconds and less than 100 MB: the
    confusion matrix is sparse, memory grows with rows + classes.
    """
    scored = predicted >= 0
    predicted, labels = predicted[scored], labels[scored]
    first = first_halves(labels)
    halves = []
    for on in (first, ~first):
        to = best_relabelling(predicted[on], labels[on], num_classes)
        halves.append(_judge(to, predicted[~on], labels[~on]))
    candidates = [_whole(halves), _parts(halves)]
    alarms = [moved for moved in candidates if moved is not None]
    moved = max(alarms, key=lambda each: _gain(halves, each), default=[h.moved for h in halves])
    return _report(halves, moved, predicted, labels, alarm=bool(alarms))


# ----------------------------------------------------------------------------------- one half
@dataclass(frozen=True, kw_only=True, eq=False)
class _Half:
    """A relabelling `to` from one half, judged on the other; every array is `[C]`.

    `part` numbers the cycles and chains of the relabelling, `moved` marks classes in parts of more
    than one class. `size`, `right` and `hits` count judged rows, those right as given and those
    right when relabelled; `given` and `match` are the agreements 0-1 of the rule.
    """

    to: IntArray
    part: IntArray
    moved: BoolArray
    size: IntArray
    right: IntArray
    hits: IntArray
    given: FloatArray
    given_match: FloatArray
    match: FloatArray


def _judge(to: IntArray, predicted: IntArray, labels: IntArray) -> _Half:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    num_classes = len(to)
    size = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    hits = np.bincount(labels[predicted == to[labels]], minlength=num_classes)
    share = 1 / np.maximum(size, 1)  # every class has equal weight, also in the precision
    columns = np.bincount(predicted, weights=share[labels], minlength=num_classes)
    columns = np.maximum(columns, 1e-12)
    given, recall = right * share, hits * share
    assigned = to >= 0
    edges = (np.ones(int(assigned.sum())), (np.flatnonzero(assigned), to[assigned]))
    graph = csr_array(edges, shape=(num_classes, num_classes))
    _, part = connected_components(graph, directed=False)
    return _Half(
        to=to,
        part=part.astype(np.int64),
        moved=np.bincount(part)[part] > 1,
        size=size,
        right=right,
        hits=hits,
        given=given,
        given_match=np.minimum(given, given / columns),
        match=np.where(assigned, np.minimum(recall, recall / columns[to]), 0.0),
    )


# ----------------------------------------------------------------------------------- the rule
def _whole(halves: Sequence[_Half]) -> list[BoolArray] | None:
    """Return the moved classes if all of them together agree far better when relabelled."""
    moved = [half.moved for half in halves]
    strong = all(
        _far_better(h, (~h.moved).astype(np.int64), 1)[0] and _is_decent(h, h.moved) for h in halves
    )
    return moved if strong or all(_is_weak_shuffle(half) for half in halves) else None


def _parts(halves: Sequence[_Half]) -> list[BoolArray] | None:
    """Return the classes of the parts that agree far better when relabelled, in both halves."""
    passed = []
    for half in halves:
        num_parts = len(np.unique(half.part[half.moved]))
        passed.append(_far_better(half, half.part, max(1, num_parts))[half.part] & half.moved)
    both = _agreed(halves, passed)
    if not both.any():
        return None
    chosen = [np.isin(half.part, half.part[both]) for half in halves]
    decent = all(_is_decent(half, moved) for half, moved in zip(halves, chosen, strict=True))
    return chosen if decent else None


def _agreed(halves: Sequence[_Half], marked: Sequence[BoolArray]) -> BoolArray:
    """Mark the classes that are `marked` in both halves and moved to the same other class."""
    to, again = (half.to for half in halves)
    found = marked[0] & marked[1] & (to == again) & (to >= 0) & (to != np.arange(len(to)))
    return np.asarray(found)


def _far_better(half: _Half, group: IntArray, num_tests: int) -> BoolArray:
    """Return, per group of classes, whether it agrees far better when relabelled."""

    def total(values: npt.NDArray[Any]) -> FloatArray:
        return np.bincount(group, weights=values).astype(np.float64)

    has_rows, match = total(half.size > 0), total(half.match)
    p_values = mcnemar_one_sided(total(half.hits), total(half.right))
    found = (
        (has_rows > 0) & (match >= MIN_MATCH * has_rows) & (match >= MIN_RATIO * total(half.given))
    )
    found &= total((half.to < 0) & (half.size > 0)) <= MAX_HOMELESS * has_rows
    return np.asarray(found & (p_values * num_tests <= MAX_P), dtype=np.bool_)


def _is_decent(half: _Half, moved: BoolArray) -> bool:
    """Return whether the model is decent over all classes when `moved` ones are relabelled."""
    has_rows = half.size > 0
    return bool(np.where(moved, half.match, half.given_match)[has_rows].mean() >= MIN_TOTAL)


def _is_weak_shuffle(half: _Half) -> bool:
    has_rows = half.size > 0
    moved = half.moved & has_rows
    if has_rows.sum() < MANY or moved.sum() < WEAK_MOVED * has_rows.sum():
        return False
    match, given = half.match[moved].mean(), half.given[moved].mean()
    p_value = mcnemar_one_sided(half.hits[moved].sum(), half.right[moved].sum())
    return bool(
        match >= max(WEAK_MATCH, WEAK_RATIO * given)
        and given <= WEAK_CHANCE / has_rows.sum()
        and p_value <= MAX_P
    )


# --------------------------------------------------------------------------------- the report
def _gain(halves: Sequence[_Half], moved: Sequence[BoolArray]) -> int:
    return sum(int((h.hits - h.right)[m].sum()) for h, m in zip(halves, moved, strict=True))


def _report(
    halves: Sequence[_Half],
    moved: Sequence[BoolArray],
    predicted: IntArray,
    labels: IntArray,
    *,
    alarm: bool,
) -> Relabelling:
    pairs = list(zip(halves, moved, strict=True))
    right = sum(int(half.right.sum()) for half in halves)
    moved_right = [int(half.right[m].sum()) for half, m in pairs]
    moved_hits = [int(half.hits[m].sum()) for half, m in pairs]
    tests = mcnemar_one_sided(np.array(moved_hits, np.float64), np.array(moved_right, np.float64))
    agreed = _agreed(halves, moved)
    return Relabelling(
        rows=len(labels),
        as_given=right,
        relabelled=right + sum(moved_hits) - sum(moved_right),
        moved_rows=sum(int(half.size[m].sum()) for half, m in pairs),
        moved_as_given=sum(moved_right),
        moved_relabelled=sum(moved_hits),
        num_moved=int(agreed.sum()),
        moves=_most_telling(np.where(agreed, halves[0].to, -1), predicted, labels),
        p_value=float(tests.max()),
        alarm=alarm,
    )


def _most_telling(to: IntArray, predicted: IntArray, labels: IntArray) -> tuple[Move, ...]:
    """Return the moves with the largest gain in rows; ties go to the earliest row."""
    present, rows, sizes = np.unique(labels, return_index=True, return_counts=True)
    right = np.bincount(labels[predicted == labels], minlength=len(to))[present]
    hits = np.bincount(labels[predicted == to[labels]], minlength=len(to))[present]
    order = [i for i in np.lexsort((rows, right - hits)).tolist() if to[present[i]] >= 0]
    return tuple(
        Move(
            label=int(present[i]),
            predicted_as=int(to[present[i]]),
            rows=int(sizes[i]),
            as_given=int(right[i]),
            relabelled=int(hits[i]),
        )
        for i in order[:EXAMPLES]
    )
