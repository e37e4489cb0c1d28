"""Frame mAP at IoU 0.5, the metric of AVA: the official rules, and those of two code bases.

Official program (activitynet/ActivityNet, `get_ava_performance.py`), rule by rule:

1. Rows of classes outside the label map are dropped, but their frames count as annotated, as do
   frames declared by two-column rows of the ground truth.
2. Only the 50 best-scored detections per frame are kept, over all classes. With 60 scores per box,
   two boxes already exceed that.
3. Detections on frames that are not annotated are ignored.
4. Detections without positive width and height are dropped (after rule 2 has counted them).
5. In descending order of score, a detection is matched to the box of its class and frame with the
   largest overlap; it is right if the IoU is at least 0.5 and no earlier detection took the box. It
   never falls back to its second best.
6. AP is the area under the envelope of precision over recall, with every step of recall. A class
   with ground truth but no detections has AP 0, one without ground truth has none.
7. mAP is the mean over the classes with ground truth.

The program has no option for excluded frames; here their rows are removed from both files first.

Ties. The reference uses an unstable argsort, so its number depends on the machine if scores are
equal (files have four decimals). Here every sort is descending and stable: of equal scores the
first row in the file ranks first, within a frame and overall. Which rows tied for rank 50 are kept
does not depend on the machine and follows the reference.

Of ground-truth boxes with equal overlap the one with the higher person number goes first (the
official reader treats the last column as a score), then the first in the file.

The variants `slowfast` and `mmaction2` are in `bench.metrics.frame_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field

from bench.data.boxes.ava_csv import Boxes
from bench.data.boxes.regions import FrameTruth
from bench.errors import DataError
from bench.metrics.frame_matching import average_precision, true_positives
from bench.metrics.frame_rows import (
    Compared,
    Count,
    Fate,
    Scope,
    compared_detections,
    compared_truth,
)
from bench.metrics.frame_rules import Rules
from bench.types import BoolArray

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ClassScore(BaseModel, frozen=True, extra="forbid"):
    """One class in a record: its AP (None: undefined by the rules) and the compared boxes."""

    id: int
    name: str
    ap: Fraction | None
    num_truth: Count
    num_detections: Count


@dataclass(frozen=True, kw_only=True)
class FrameMap:
    """The mean AP 0-1, the classes in ascending id, and the fate of every row.

    `num_frames` frames are annotated and not excluded, `num_silent_frames` of them have no scored
    detection; `num_clipped` boxes of both files exceeded their frame by rounding, and
    `num_wrong_by_frame` scored detections are on frames without annotation (slowfast).
    """

    mean_ap: float
    rules: str
    classes: Sequence[ClassScore]
    truth: Fate
    detections: Fate
    num_frames: int
    num_silent_frames: int
    num_wrong_by_frame: int
    num_clipped: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """The compared rows; `right` (bool `[R]`) marks the detections that found a box."""

    truth: Compared
    detections: Compared
    right: BoolArray
    num_frames: int


def frame_map(truth: FrameTruth, detections: Boxes, rules: Rules) -> FrameMap:
    """Score detections against the ground truth; vectorised over rows, linear except for sorting.

    Raises:
        DataError: no box of the ground truth counts, no class has an AP, or a detection is inverted
            and the rules do not allow it.
    """
    found = match(truth, detections, rules)
    wanted, given = found.truth, found.detections
    scored = _classes(truth.classes, detections, found, rules)
    defined = [one.ap for one in scored if one.ap is not None]
    if not defined:
        raise DataError(
            f"no class has both ground truth and detections, and the evaluator of {rules.name}"
            " averages only those; check that the files belong together."
        )
    return FrameMap(
        mean_ap=float(np.mean(defined)),
        rules=rules.name,
        classes=scored,
        truth=wanted.fate,
        detections=given.fate,
        num_frames=found.num_frames,
        num_silent_frames=found.num_frames - len(np.unique(given.frame[given.frame >= 0])),
        num_wrong_by_frame=int((given.frame < 0).sum()),
        num_clipped=truth.boxes.clipped + detections.clipped,
    )


def match(truth: FrameTruth, detections: Boxes, rules: Rules) -> Matched:
    """Determine which detections are right; this does not depend on weights of videos.

    Raises:
        DataError: no box of the ground truth counts, or a detection is inverted and the rules do
            not allow it.
    """
    scope = Scope.of(truth, rules)
    wanted, given = compared_truth(truth.boxes, scope), compared_detections(detections, scope)
    if not len(wanted.rows):
        raise DataError(
            f"none of the {len(truth.boxes):,} boxes of the ground truth counts:"
            f" {wanted.fate.excluded:,} on excluded frames, {wanted.fate.other_classes:,} outside"
            f" the {len(scope.ids)} mapped classes; check that the files belong together."
        )
    return Matched(
        truth=wanted,
        detections=given,
        right=_right(detections, given, truth.boxes, wanted, rules),
        num_frames=len(scope.annotated),
    )


def _right(
    detections: Boxes, given: Compared, truth: Boxes, wanted: Compared, rules: Rules
) -> BoolArray:
    """Mark the true positives among the compared detections, bool `[R]`."""
    num_places = int(max(given.place.max(initial=0), wanted.place.max())) + 1
    group = given.frame * num_places + given.place  # negative on frames without annotation
    targets = np.flatnonzero(wanted.frame >= 0)
    if rules.truth_by_person:
        persons = truth.last[wanted.rows[targets]]
        targets = targets[np.argsort(-persons, kind="stable")]
    truth_group = wanted.frame[targets] * num_places + wanted.place[targets]
    seeking = np.flatnonzero(np.isin(group, truth_group))
    if rules.match_by_score:
        scores = detections.last[given.rows[seeking]]
        seeking = seeking[np.argsort(-scores, kind="stable")]
    found = true_positives(
        group[seeking],
        detections.corners[given.rows[seeking]].astype(rules.dtype),
        truth_group,
        truth.corners[wanted.rows[targets]].astype(rules.dtype),
    )
    right = np.zeros(len(given.rows), dtype=np.bool_)
    right[seeking[found]] = True
    return right


def _classes(
    classes: Mapping[int, str], detections: Boxes, matched: Matched, rules: Rules
) -> list[ClassScore]:
    wanted, given = matched.truth, matched.detections
    num_truth = np.bincount(wanted.place, minlength=len(classes)).tolist()
    ends = np.cumsum(np.bincount(given.place, minlength=len(classes)))
    by_class = np.split(np.argsort(given.place, kind="stable"), ends[:-1])
    found = []
    for (key, name), truths, rows in zip(sorted(classes.items()), num_truth, by_class, strict=True):
        ap = None
        if truths and (len(rows) or rules.silent_classes_count):
            scores = detections.last[given.rows[rows]].astype(rules.dtype)
            ap = average_precision(scores, matched.right[rows], truths)
        found.append(
            ClassScore(id=key, name=name, ap=ap, num_truth=truths, num_detections=len(rows))
        )
    return found
