"""Which rows of a ground truth and of detections are compared, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data.boxes.ava_csv import Boxes, Frames
from bench.data.boxes.ava_csv_lines import MAX_SECONDS
from bench.errors import DataError
from bench.metrics.frame_matching import BoolArray, best_of_frames
from bench.metrics.frame_rules import Rules
from bench.types import IntArray

_VIDEO = int(MAX_SECONDS * 1e6)  # a frame's key is one number: its video's times this + its time


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of the rows of a file; each counts at the first rule that drops it, in order."""

    rows: int
    excluded: int
    other_classes: int
    frames_without_truth: int = 0
    beyond_best: int = 0
    without_area: int = 0
    scored: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Rows that are compared, in the order of their file, int64 `[R]` each.

    `frame` counts the annotated frames, -1 on any other; `place` counts the classes.
    """

    rows: IntArray
    frame: IntArray
    place: IntArray
    fate: Fate


class FrameIndex:
    """Numbers the distinct frames of some rows."""

    def __init__(self, parts: Sequence[Frames]) -> None:
        self._videos: dict[str, int] = {}
        for part in parts:
            for name in part.videos:
                self._videos.setdefault(name, len(self._videos))
        self._keys = np.unique(np.concatenate([np.empty(0, np.int64), *map(self._key, parts)]))

    def __len__(self) -> int:
        return len(self._keys)

    def number(self, frames: Frames) -> IntArray:
        """Return the number of every row's frame, -1 where it is none of them, int64 `[N]`."""
        if not len(self):
            return np.full(len(frames), -1, dtype=np.int64)
        keys = self._key(frames)
        numbers = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        numbers[self._keys[numbers] != keys] = -1
        return numbers

    def _key(self, frames: Frames) -> IntArray:
        codes = [self._videos.get(name, -1) for name in frames.videos]
        return np.array(codes, dtype=np.int64)[frames.video] * _VIDEO + frames.micros


def annotated_frames(
    truth: Boxes, ids: IntArray, excluded: FrameIndex | None, rules: Rules
) -> FrameIndex:
    """Return the frames on which a detection can be right or wrong."""
    places = _places(truth, ids)
    boxes = truth.frames if rules.any_row_annotates else truth.frames.at(places >= 0)
    parts = [boxes, truth.declared] if rules.any_row_annotates else [boxes]
    if excluded is not None:
        parts = [part.at(excluded.number(part) < 0) for part in parts]
    return FrameIndex(parts)


def compared_truth(
    truth: Boxes, ids: IntArray, annotated: FrameIndex, excluded: FrameIndex | None, rules: Rules
) -> Compared:
    """Choose the boxes of the ground truth that count; one on frame -1 can never be found."""
    place = _places(truth, ids)
    out = _is_excluded(truth.frames, excluded)
    if rules.excluded_truth_counts:
        out[:] = False
    other = ~out & (place < 0)
    rows = np.flatnonzero(~out & ~other)
    fate = Fate(
        rows=len(truth), excluded=int(out.sum()), other_classes=int(other.sum()), scored=len(rows)
    )
    frame = annotated.number(truth.frames.at(rows))
    return Compared(rows=rows, frame=frame, place=place[rows], fate=fate)


def compared_detections(
    detections: Boxes,
    ids: IntArray,
    annotated: FrameIndex,
    excluded: FrameIndex | None,
    rules: Rules,
) -> Compared:
    """Choose the detections that are right or wrong.

    Raises:
        DataError: an inverted box under rules that stop at them.
    """
    place = _places(detections, ids)
    out = _is_excluded(detections.frames, excluded)
    other = ~out & (place < 0)
    rows = np.flatnonzero(~out & ~other)
    frame = annotated.number(detections.frames.at(rows))
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
    """Return the place of every row's class among the sorted `ids`, -1 for other classes."""
    places = np.minimum(np.searchsorted(ids, boxes.action), len(ids) - 1)
    places[ids[places] != boxes.action] = -1
    return places


def _is_excluded(frames: Frames, excluded: FrameIndex | None) -> BoolArray:
    if excluded is None:
        return np.zeros(len(frames), dtype=np.bool_)
    return excluded.number(frames) >= 0


def _with_area(boxes: Boxes, rows: IntArray, rules: Rules) -> BoolArray:
    x1, y1, x2, y2 = (boxes.corners[:, i][rows] for i in range(4))
    if not rules.stops_at_inverted:
        return np.asarray((x1 < x2) & (y1 < y2))
    inverted = np.flatnonzero((x1 > x2) | (y1 > y2))
    if len(inverted):
        row = rows[inverted[0]]
        frames = boxes.frames
        raise DataError(
            f"inverted boxes among the detections: {len(inverted):,}, and the evaluator of"
            f" {rules.name} stops at them; the first is"
            f" {', '.join(map(str, boxes.corners[row].tolist()))} in"
            f" {frames.videos[frames.video[row]]} at second {frames.micros[row] / 1e6:g}. Remove"
            " them, or use the official rules, which drop them."
        )
    return np.ones(len(rows), dtype=np.bool_)
