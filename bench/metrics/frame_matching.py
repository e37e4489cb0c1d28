"""Boxes of many key frames at once: the best of every frame, whom they find, average precision.

Rows are columns of numpy, groups are found by sorting; nothing loops over rows or frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.types import BoolArray, FloatArray, IntArray

Numbers = npt.NDArray[np.floating]

MIN_IOU = 0.5


def best_of_frames(
    frame: IntArray, score: FloatArray, action: IntArray, corners: FloatArray, most: int
) -> BoolArray:
    """Mark the `most` best-scored rows of every frame, bool `[N]`; exactly what the official keeps.

    The official program reads row by row into a heap: a row as low as the lowest kept one is not
    taken, and a better one pushes out the smallest of (score, action, y1, x1, y2, x2). Scores are
    written with four decimals, so ties for the last place are the rule. Of the rows tied with it,
    only those among the first `most` rows of at least this score ever entered, and of those the
    largest remain.
    """
    kept = np.ones(len(frame), dtype=np.bool_)
    crowded = np.flatnonzero(np.bincount(frame)[frame] > most)
    if not len(crowded):
        return kept
    kept[crowded] = False
    order = crowded[np.lexsort((-score[crowded], frame[crowded]))]
    rank = ranks(frame[order])
    last = np.full(frame.max() + 1, np.inf)
    last[frame[order[rank == most - 1]]] = score[order[rank == most - 1]]
    reaching = crowded[score[crowded] >= last[frame[crowded]]]
    above = score[reaching] > last[frame[reaching]]
    kept[reaching[above]] = True
    room = most - np.bincount(frame[reaching[above]], minlength=len(last))
    arrival = np.empty(len(reaching), dtype=np.int64)
    by_frame = np.argsort(frame[reaching], kind="stable")
    arrival[by_frame] = ranks(frame[reaching[by_frame]])
    tied = reaching[~above & (arrival < most)]
    x1, y1, x2, y2 = corners[tied].T
    largest = tied[np.lexsort((-x2, -y2, -x1, -y1, -action[tied], frame[tied]))]
    kept[largest[ranks(frame[largest]) < room[frame[largest]]]] = True
    return kept


def true_positives(
    group: IntArray, corners: Numbers, truth_group: IntArray, truth_corners: Numbers
) -> BoolArray:
    """Mark the rows that find a box of the truth, bool `[N]`, rows in the order they are matched.

    A group is a class on a frame. Every row goes to the box of its group with the largest overlap
    (of equal ones the first) and finds it if they overlap by `MIN_IOU` and it is still free. It
    never falls back to its second best.
    """
    order = np.argsort(truth_group, kind="stable")
    groups, starts, sizes = np.unique(truth_group[order], return_index=True, return_counts=True)
    found = np.zeros(len(group), dtype=np.bool_)
    if not len(groups):
        return found
    place = np.minimum(np.searchsorted(groups, group), len(groups) - 1)
    rows = np.flatnonzero(groups[place] == group)
    start, size = starts[place[rows]], sizes[place[rows]]
    best = np.full(len(rows), -1.0)
    target = np.full(len(rows), -1, dtype=np.int64)
    for k in range(int(size.max(initial=0))):
        has = np.flatnonzero(size > k)
        candidate = order[start[has] + k]
        overlap = iou(corners[rows[has]], truth_corners[candidate])
        closer = overlap > best[has]
        best[has[closer]] = overlap[closer]
        target[has[closer]] = candidate[closer]
    enough = np.flatnonzero(best >= MIN_IOU)
    _, firsts = np.unique(target[enough], return_index=True)
    found[rows[enough[firsts]]] = True
    return found


def iou(boxes: Numbers, others: Numbers) -> FloatArray:
    """Return intersection over union of pairs of boxes x1, y1, x2, y2, `[N, 4]` each, float64.

    With float32 boxes, sides and areas are float32 and the rest float64, as in mmaction2.
    """
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    inner = np.maximum(sides, 0).astype(np.float64).prod(axis=1)
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others)]
    with np.errstate(invalid="ignore"):  # two boxes without area: not-a-number finds nothing
        return np.asarray(inner / (areas[0] + areas[1] - inner), dtype=np.float64)


def average_precision(score: Numbers, is_true: BoolArray, num_truth: int) -> float:
    """Return the area under the envelope of precision over recall, every step of recall counted.

    Rows are ranked by a stable descending sort: of equal scores the first in the file goes first.
    """
    hits = np.flatnonzero(is_true[np.argsort(-score, kind="stable")])
    precision = np.arange(1, len(hits) + 1) / (hits + 1)
    # Between true positives precision only falls, so they alone make the envelope.
    envelope = np.maximum.accumulate(precision[::-1])
    return float(envelope.sum() / num_truth)


def ranks(group: IntArray) -> IntArray:
    """Return the place of every row within its group, int64; groups stand together."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(starts, len(group)))
    return np.arange(len(group)) - np.repeat(starts, sizes)
