"""Select the rows of a ground truth and of detections that are compared, and count the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, Field

from bench.data.boxes.ava_csv import Boxes, KeyFrames
from bench.data.boxes.ava_csv_lines import MAX_SECONDS
from bench.data.boxes.regions import FrameTruth
from bench.errors import DataError
from bench.metrics.frame_matching import best_of_frames
from bench.metrics.frame_rules import Rules
from bench.types import BoolArray, IntArray

Count = Annotated[int, Field(ge=0, lt=2**63)]
_VIDEO = int(MAX_SECONDS * 1e6)  # a frame's key is one number: its video's times this + its time


class Fate(BaseModel, frozen=True, extra="forbid"):
    """What became of the rows of a file, for records: each counts at the first rule to drop it."""

    rows: Count
    excluded: Count
    other_classes: Count
    frames_without_truth: Count = 0
    beyond_best: Count = 0
    without_area: Count = 0
    scored: Count


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Compared rows in file order, int64 `[R]` each.

    `frame` is the index of the annotated frame (-1: none), `place` the index of the class.
    """

    rows: IntArray
    frame: IntArray
    place: IntArray
    fate: Fate


class FrameIndex:
    """Numbers distinct frames."""

    def __init__(self, parts: Sequence[KeyFrames]) -> None:
        self._videos: dict[str, int] = {}
        for part in parts:
            for name in part.videos:
                self._videos.setdefault(name, len(self._videos))
        self._keys = np.unique(np.concatenate([np.empty(0, np.int64), *map(self._key, parts)]))

    def __len__(self) -> int:
        return len(self._keys)

    def number(self, frames: KeyFrames) -> IntArray:
        """Return the number of every row's frame, -1 if unknown, int64 `[N]`."""
        if not len(self):
            return np.full(len(frames), -1, dtype=np.int64)
        keys = self._key(frames)
        numbers = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        numbers[self._keys[numbers] != keys] = -1
        return numbers

    def _key(self, frames: KeyFrames) -> IntArray:
        codes = [self._videos.get(name, -1) for name in frames.videos]
        return np.array(codes, dtype=np.int64)[frames.video] * _VIDEO + frames.micros


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """The sorted ids of the evaluated classes, scored and excluded frames, and rules."""

    ids: IntArray
    annotated: FrameIndex
    excluded: FrameIndex
    rules: Rules

    @classmethod
    def of(cls, truth: FrameTruth, rules: Rules) -> Self:
        """Return the scope of a ground truth."""
        ids = np.array(sorted(truth.classes), dtype=np.int64)
        excluded = FrameIndex([truth.excluded] if truth.excluded else [])
        parts = [truth.boxes.frames, truth.boxes.declared]
        if not rules.any_row_annotates:
            parts = [truth.boxes.frames.at(_places(truth.boxes, ids) >= 0)]
        annotated = FrameIndex([part.at(excluded.number(part) < 0) for part in parts])
        return cls(ids=ids, annotated=annotated, excluded=excluded, rules=rules)


def compared_truth(truth: Boxes, scope: Scope) -> Compared:
    """Select the boxes of the ground truth that count; those on frame -1 can never be found."""
    place = _places(truth, scope.ids)
    out = (scope.excluded.number(truth.frames) >= 0) & (not scope.rules.excluded_truth_counts)
    other = ~out & (place < 0)
    rows = np.flatnonzero(~out & ~other)
    fate = Fate(
        rows=len(truth), excluded=int(out.sum()), other_classes=int(other.sum()), scored=len(rows)
    )
    frame = scope.annotated.number(truth.frames.at(rows))
    return Compared(rows=rows, frame=frame, place=place[rows], fate=fate)


def compared_detections(detections: Boxes, scope: Scope) -> Compared:
    """Select the detections that count as right or wrong.

    Raises:
        DataError: an inverted box that the rules do not allow.
    """
    rules, place = scope.rules, _places(detections, scope.ids)
    out = scope.excluded.number(detections.frames) >= 0
    other = ~out & (place < 0)
    rows = np.flatnonzero(~out & ~other)
    frame = scope.annotated.number(detections.frames.at(rows))
    ignored = 0
    if not rules.unannotated_are_wrong:
        ignored = int((frame < 0).sum())
        rows, frame = rows[frame >= 0], frame[frame >= 0]
    beyond = 0
    if rules.best_of_frame is not None:
        best = best_of_frames(
            frame,
            detections.last[rows],
            detections.action[rows].astype(np.int64),
            detections.corners[rows],
            rules.best_of_frame,
        )
        beyond = int((~best).sum())
        rows, frame = rows[best], frame[best]
    solid = _with_area(detections, rows, rules)
    fate = Fate(
        rows=len(detections),
        excluded=int(out.sum()),
        other_classes=int(other.sum()),
        frames_without_truth=ignored,
        beyond_best=beyond,
        without_area=int((~solid).sum()),
        scored=int(solid.sum()),
    )
    return Compared(rows=rows[solid], frame=frame[solid], place=place[rows[solid]], fate=fate)


def _places(boxes: Boxes, ids: IntArray) -> IntArray:
    """Return the index of every row's class among the sorted `ids`, -1 for other classes."""
    places = np.minimum(np.searchsorted(ids, boxes.action), len(ids) - 1)
    places[ids[places] != boxes.action] = -1
    return places


def _with_area(boxes: Boxes, rows: IntArray, rules: Rules) -> BoolArray:
    x1, y1, x2, y2 = (boxes.corners[:, i][rows] for i in range(4))
    if not rules.stops_at_inverted:
        return np.asarray((x1 < x2) & (y1 < y2))
    inverted = np.flatnonzero((x1 > x2) | (y1 > y2))
    if len(inverted):
        row = rows[inverted[0]]
        frames = boxes.frames
        raise DataError(
            f"inverted boxes among the detections: {len(inverted):,}, which the evaluator of"
            f" {rules.name} refuses; first {', '.join(map(str, boxes.corners[row].tolist()))} in"
            f" {frames.videos[frames.video[row]]} at second {frames.micros[row] / 1e6:g}. Remove"
            " them, or use the official rules, which drop them."
        )
    return np.ones(len(rows), dtype=np.bool_)
