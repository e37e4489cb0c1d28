"""Frame mAP of boxes that a probe scored, and between which numbers it lies where some were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from bench.data.boxes.ava_csv import Boxes, KeyFrames, joined_frames
from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.errors import DataError
from bench.metrics.frame_map import FrameMap, frame_map
from bench.metrics.frame_rows import FrameIndex, Scope, compared_detections
from bench.metrics.frame_rules import RULES
from bench.types import BoolArray, FloatArray, IntArray

FIRST = 2.0  # a score above every probability
NOWHERE = (0.0, 0.0, 1e-6, 1e-6)  # corners of a box that overlaps nothing by half


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredBoxes:
    """Boxes on key frames with a score for each of `classes` (id -> name, by rising id).

    `corners` are fractions of the frame, float64 `[rows, 4]`, `scores` float32 `[rows, C]`; where
    `scored` (bool `[rows]`) is false there are none, and the row holds zeros.
    """

    frames: KeyFrames
    corners: FloatArray
    scores: npt.NDArray[np.float32]
    scored: BoolArray
    classes: Mapping[int, str]

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        rows: IntArray,
        probabilities: npt.NDArray[np.float32],
        truth: FrameTruth,
    ) -> Self:
        """Put the probabilities `[len(rows), C]` of the task's classes beside the boxes of `rows`;
        classes that are not evaluated are left out.
        """
        regions = manifest.regions
        assert regions is not None, manifest.name
        classes = dict(sorted(truth.classes.items()))
        places = {int(key): place for place, key in enumerate(truth.ids)}
        assert classes.keys() <= places.keys(), "an evaluated class is none of the task's"
        columns = [places[key] for key in classes]
        scores = np.zeros((len(manifest), len(classes)), dtype=np.float32)
        scores[rows] = probabilities[:, columns]
        scored = np.zeros(len(manifest), dtype=np.bool_)
        scored[rows] = True
        return cls(
            frames=regions.frames,
            corners=regions.corners,
            scores=scores,
            scored=scored,
            classes=classes,
        )


@dataclass(frozen=True, kw_only=True)
class BoxScore:
    """The frame mAP by the rules of the truth, and by those of every evaluator.

    Where an evaluator has no number `undefined` says why. `low` and `high` are the number if, on
    the key frames with boxes that were not scored, every box were wrong in every class with the
    highest scores, or all of the truth were found first.
    """

    frame_map: FrameMap
    by_rules: Mapping[str, float | None]
    undefined: Mapping[str, str]
    low: float
    high: float


def score_boxes(boxes: ScoredBoxes, truth: FrameTruth, *, skip: bool = False) -> BoxScore:
    """Score boxes against the ground truth.

    Where a box was not scored nothing is found on its key frame, or with `skip` the key frame is
    left out, with its truth and its other boxes.

    Raises:
        DataError: the rules of the truth give no number.
    """
    lost = FrameIndex([boxes.frames.at(~boxes.scored)])
    given, wanted = compared_boxes(boxes, truth, skip=skip)
    own = frame_map(wanted, given, RULES[truth.rules])
    by_rules: dict[str, float | None] = {}
    undefined = {}
    for name, rules in RULES.items():
        try:
            found = own if name == truth.rules else frame_map(wanted, given, rules)
            by_rules[name] = found.mean_ap
        except DataError as error:
            by_rules[name], undefined[name] = None, str(error)
    low = high = own.mean_ap
    if len(lost):
        elsewhere = _without(detections_of(boxes), lost)
        low, high = _lowest(boxes, elsewhere, truth, lost), _highest(elsewhere, truth, lost)
    return BoxScore(
        frame_map=own,
        by_rules=by_rules,
        undefined=undefined,
        low=low,
        high=high,
    )


def compared_boxes(
    boxes: ScoredBoxes, truth: FrameTruth, *, skip: bool = False
) -> tuple[Boxes, FrameTruth]:
    """Return the detections and the truth that a number is of, see `score_boxes`."""
    lost = FrameIndex([boxes.frames.at(~boxes.scored)])
    given = detections_of(boxes)
    if not (skip and len(lost)):
        return given, truth
    return _without(given, lost), replace(truth, boxes=_without(truth.boxes, lost))


def detections_of(boxes: ScoredBoxes) -> Boxes:
    """Return a detection for every scored box and class: box by box, classes by rising id."""
    return in_every_class(boxes, np.flatnonzero(boxes.scored))


def in_every_class(boxes: ScoredBoxes, rows: IntArray) -> Boxes:
    """Return a detection for each of these rows and every class, in the same order."""
    num_classes = len(boxes.classes)
    ids = np.fromiter(boxes.classes, dtype=np.int32, count=num_classes)
    return Boxes(
        frames=boxes.frames.at(np.repeat(rows, num_classes)),
        corners=np.repeat(boxes.corners[rows], num_classes, axis=0),
        action=np.tile(ids, len(rows)),
        last=boxes.scores[rows].ravel().astype(np.float64),
        declared=boxes.frames.at(np.empty(0, dtype=np.int64)),
    )


def _without(boxes: Boxes, lost: FrameIndex) -> Boxes:
    kept = boxes.at(lost.number(boxes.frames) < 0)
    return replace(kept, declared=kept.declared.at(lost.number(kept.declared) < 0))


# ------------------------------------------------------------------------------------------- bounds
def _highest(elsewhere: Boxes, truth: FrameTruth, lost: FrameIndex) -> float:
    """Find all of the truth on the lost key frames before anything else."""
    number = lost.number(truth.boxes.frames)
    found = truth.boxes.at(_findable(truth.boxes, number))
    found = replace(found, last=np.full(len(found), FIRST))
    return frame_map(truth, _joined([found, elsewhere]), RULES[truth.rules]).mean_ap


def _findable(truth: Boxes, number: IntArray) -> IntArray:
    """Return the rows on numbered frames, of equal boxes of a class one: no rules find the second.

    Boxes without area, which nothing can find, are left out.
    """
    x1, y1, x2, y2 = truth.corners.T
    rows = np.flatnonzero((number >= 0) & (x1 < x2) & (y1 < y2))
    same = np.column_stack([number[rows], truth.action[rows], truth.corners[rows]])
    _, firsts = np.unique(same, axis=0, return_index=True)
    return rows[np.sort(firsts)]


def _lowest(boxes: ScoredBoxes, elsewhere: Boxes, truth: FrameTruth, lost: FrameIndex) -> float:
    """Make every box of the lost key frames wrong in every class, before anything else.

    All of these count, though a frame may have a limited number of places: which of them would take
    the places cannot be known.
    """
    rules = RULES[truth.rules]
    kept = elsewhere.at(compared_detections(elsewhere, Scope.of(truth, rules)).rows)
    wrong = in_every_class(boxes, np.flatnonzero(lost.number(boxes.frames) >= 0))
    wrong = replace(
        wrong,
        corners=np.tile(np.array(NOWHERE), (len(wrong), 1)),
        last=np.full(len(wrong), FIRST),
    )
    return frame_map(truth, _joined([wrong, kept]), replace(rules, best_of_frame=None)).mean_ap


def _joined(parts: Sequence[Boxes]) -> Boxes:
    """Put boxes one after the other; the frames that they declare are left out."""
    frames = joined_frames([part.frames for part in parts])
    return Boxes(
        frames=frames,
        corners=np.concatenate([part.corners for part in parts]),
        action=np.concatenate([part.action for part in parts]),
        last=np.concatenate([part.last for part in parts]),
        declared=frames.at(np.empty(0, dtype=np.int64)),
    )
