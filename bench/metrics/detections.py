"""Frame mAP of boxes scored by a probe, with bounds if some boxes were not scored."""

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
    """Boxes on key frames with a score for each of `classes` (id -> name, in ascending id).

    `corners` are fractions of the frame, float64 `[rows, 4]`, `scores` float32 `[rows, C]`; rows
    where `scored` (bool `[rows]`) is false hold zeros.
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
        """Score the boxes of `rows` by `probabilities` `[len(rows), C]`; keep evaluated classes."""
        regions = manifest.regions
        assert regions is not None, manifest.name
        classes = dict(sorted(truth.classes.items()))
        places = {int(key): place for place, key in enumerate(truth.ids)}
        assert classes.keys() <= places.keys(), "an evaluated class is not in the task"
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
    """The frame mAP by the rules of the ground truth, and by those of every evaluator.

    `undefined` gives the reason if an evaluator has no number. `low` and `high` are bounds: on key
    frames with unscored boxes, all boxes are wrong in every class with the highest scores, or the
    whole ground truth is found first.
    """

    frame_map: FrameMap
    by_rules: Mapping[str, float | None]
    undefined: Mapping[str, str]
    low: float
    high: float


def score_boxes(boxes: ScoredBoxes, truth: FrameTruth, *, skip: bool = False) -> BoxScore:
    """Score boxes against the ground truth.

    An unscored box counts as not found; with `skip` its key frame is left out, with all its boxes
    and its ground truth.

    Raises:
        DataError: the rules of the ground truth give no number.
    """
    lost = FrameIndex([boxes.frames.at(~boxes.scored)])
    given, wanted = compared_boxes(boxes, truth, skip=skip)
    score = frame_map(wanted, given, RULES[truth.rules])
    by_rules: dict[str, float | None] = {}
    undefined = {}
    for name, rules in RULES.items():
        try:
            found = score if name == truth.rules else frame_map(wanted, given, rules)
            by_rules[name] = found.mean_ap
        except DataError as error:
            by_rules[name], undefined[name] = None, str(error)
    low = high = score.mean_ap
    if len(lost):
        others = _without(detections_of(boxes), lost)
        low, high = _lowest(boxes, others, truth, lost), _highest(others, truth, lost)
    return BoxScore(
        frame_map=score,
        by_rules=by_rules,
        undefined=undefined,
        low=low,
        high=high,
    )


def compared_boxes(
    boxes: ScoredBoxes, truth: FrameTruth, *, skip: bool = False
) -> tuple[Boxes, FrameTruth]:
    """Return the detections and the ground truth that `score_boxes` compares."""
    lost = FrameIndex([boxes.frames.at(~boxes.scored)])
    given = detections_of(boxes)
    if not (skip and len(lost)):
        return given, truth
    return _without(given, lost), replace(truth, boxes=_without(truth.boxes, lost))


def detections_of(boxes: ScoredBoxes) -> Boxes:
    """Return a detection per scored box and class: box by box, classes in ascending id."""
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
def _highest(others: Boxes, truth: FrameTruth, lost: FrameIndex) -> float:
    """Return the mAP if the ground truth of the lost key frames ranks first."""
    number = lost.number(truth.boxes.frames)
    found = truth.boxes.at(_findable(truth.boxes, number))
    found = replace(found, last=np.full(len(found), FIRST))
    return frame_map(truth, _joined([found, others]), RULES[truth.rules]).mean_ap


def _findable(truth: Boxes, number: IntArray) -> IntArray:
    """Return the rows on numbered frames without duplicate boxes and boxes without area.

    No rules find the second of two equal boxes of a class, or a box without area.
    """
    x1, y1, x2, y2 = truth.corners.T
    rows = np.flatnonzero((number >= 0) & (x1 < x2) & (y1 < y2))
    same = np.column_stack([number[rows], truth.action[rows], truth.corners[rows]])
    _, firsts = np.unique(same, axis=0, return_index=True)
    return rows[np.sort(firsts)]


def _lowest(boxes: ScoredBoxes, others: Boxes, truth: FrameTruth, lost: FrameIndex) -> float:
    """Return the mAP if all boxes of the lost key frames are wrong in every class and rank first.

    All of them count even if a frame may keep only the best boxes, since which of them it would
    keep is unknown.
    """
    rules = RULES[truth.rules]
    kept = others.at(compared_detections(others, Scope.of(truth, rules)).rows)
    wrong = in_every_class(boxes, np.flatnonzero(lost.number(boxes.frames) >= 0))
    wrong = replace(
        wrong,
        corners=np.tile(np.array(NOWHERE), (len(wrong), 1)),
        last=np.full(len(wrong), FIRST),
    )
    return frame_map(truth, _joined([wrong, kept]), replace(rules, best_of_frame=None)).mean_ap


def _joined(parts: Sequence[Boxes]) -> Boxes:
    """Concatenate boxes, without the frames that they declare."""
    frames = joined_frames([part.frames for part in parts])
    return Boxes(
        frames=frames,
        corners=np.concatenate([part.corners for part in parts]),
        action=np.concatenate([part.action for part in parts]),
        last=np.concatenate([part.last for part in parts]),
        declared=frames.at(np.empty(0, dtype=np.int64)),
    )
