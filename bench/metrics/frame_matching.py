"""Best boxes per frame, matching to ground truth and average precision, for many frames at once.

Everything is vectorised in numpy, with groups found by sorting.
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
    """Mark the `most` best-scored rows of every frame, bool `[N]`, exactly as the official program.

    The official program pushes rows into a heap: a row scoring no higher than the lowest kept one
    is not taken, and a higher one replaces the smallest of (score, action, y1, x1, y2, x2). Scores
    have four decimals, so ties for the last place are common. Of the rows tied with it, only those
    among the first `most` rows of at least this score ever enter, and the largest of them remain.
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
    """Mark the rows that find a ground-truth box, bool `[N]`; rows come in the order of matching.

    A group is a class on a frame. Every row is matched to the box of its group with the largest IoU
    (the first of equal ones) and finds it if the IoU is at least `MIN_IOU` and the box is free. It
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

    For float32 boxes, sides and areas are float32 and the rest float64, as in mmaction2.
    """
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    inner = np.maximum(sides, 0).astype(np.float64).prod(axis=1)
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others)]
    with np.errstate(invalid="ignore"):  # two boxes without area give NaN, which matches nothing
        return np.asarray(inner / (areas[0] + areas[1] - inner), dtype=np.float64)


def average_precision(score: Numbers, is_true: BoolArray, num_truth: int) -> float:
    """Return the area under the envelope of precision over recall, with every step of recall.

    Rows are ranked by a stable descending sort: of equal scores the first in the file goes first.
    """
    hits = np.flatnonzero(is_true[np.argsort(-score, kind="stable")])
    precision = np.arange(1, len(hits) + 1) / (hits + 1)
    # Precision only falls between true positives, so these alone define the envelope.
    envelope = np.maximum.accumulate(precision[::-1])
    return float(envelope.sum() / num_truth)


def ranks(group: IntArray) -> IntArray:
    """Return the index of every row within its group, int64; groups must be contiguous."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(np.append(starts, len(group)))
    return np.arange(len(group)) - np.repeat(starts, sizes)
