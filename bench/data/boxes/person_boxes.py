"""Person boxes on key frames, from detectors and ground truths, in one form.

video,second,x1,y1,x2,y2,[action or -1],score                    SlowFast's CSV, fractions
[{"image_id": 1, "bbox": [x, y, width, height], "score": 0.9}]     AlphAction's JSON, pixels
{"images": [{"id": 1, "movie": .., "timestamp": .., "width": .., "height": ..}],
 "annotations": [{"image_id": 1, "bbox": [..], "action_ids": [12]}]}   its *_min.json
{"video,0902": [[x1, y1, x2, y2, score]]}                        mmaction2's proposals, fractions

The format is detected from the content. Corners are rounded to a millionth of the frame, so that
equal boxes compare equal; boxes of one frame with the same corners are one box with all labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.boxes import person_box_json, person_box_rows
from bench.data.boxes.ava_csv import Boxes, FloatArray, KeyFrames, joined_frames, read_boxes
from bench.data.boxes.person_box_rows import ListedBoxes
from bench.errors import DataError
from bench.types import IntArray

MILLIONTHS = 1_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonBoxes:
    """Unique boxes in file order, each of positive area within its frame.

    `corners` are x1, y1, x2, y2 as fractions of the frame, whole millionths, float64 `[N, 4]`;
    `score` float64 `[N]`, 1 in a ground truth. Box `label_row[i]` has the action `label[i]`, int64
    `[M]`, pairs unique. `counts` accounts for the `rows` of the file: `repeated` rows are of an
    earlier box, `without_area` rows were dropped, `clipped` ones extended beyond the frame,
    `of_several_scores` boxes had rows with different scores (the highest is kept). `images` is the
    list of key frames that was read along with the file.
    """

    frames: KeyFrames
    corners: FloatArray
    score: FloatArray
    label_row: IntArray
    label: IntArray
    format: str
    counts: Mapping[str, int]
    images: Path | None = None

    def __len__(self) -> int:
        return len(self.score)

    def at(self, rows: npt.NDArray[Any]) -> PersonBoxes:
        """Return some boxes with their labels, by a mask or by numbers in any order."""
        kept = np.arange(len(self), dtype=np.int64)[rows]
        place = np.full(len(self), -1, dtype=np.int64)
        place[kept] = np.arange(len(kept), dtype=np.int64)
        new = place[self.label_row]
        return replace(
            self,
            frames=self.frames.at(kept),
            corners=self.corners[kept],
            score=self.score[kept],
            label_row=new[new >= 0],
            label=self.label[new >= 0],
        )

    @property
    def without_labels(self) -> PersonBoxes:
        """The same boxes without their actions."""
        none = np.zeros(0, dtype=np.int64)
        return replace(self, label_row=none, label=none)


def read_person_boxes(path: Path, *, images: Path | None = None) -> PersonBoxes:
    """Read boxes in any of the formats above; a million rows take seconds.

    `images` is the `*_min.json` that lists the key frames of AlphAction's detections, by default
    the only one next to them.

    Raises:
        DataError: a missing file, a pickle, another format, a box that is inverted or extends far
            beyond its frame, a score outside [0, 1]; with the line, if there are lines.
    """
    if person_box_rows.first_character(path) not in (b"[", b"{"):
        return merge_equal(person_box_rows.read_rows(path))
    return merge_equal(person_box_json.read_json(path, images=images))


def read_truth(path: Path) -> tuple[Boxes, PersonBoxes]:
    """Read a ground truth, CSV or AlphAction's JSON: its rows, and its boxes with their labels.

    Raises:
        DataError: a file that cannot be read as a ground truth, see `read_boxes`.
    """
    if person_box_rows.first_character(path) in (b"[", b"{"):
        boxes = read_person_boxes(path)
        if not len(boxes.label):
            raise DataError(f"{path} has boxes without labels, so it is not a ground truth.")
        # One row per label of every box, as in a ground truth CSV; the person is 1.
        truth = Boxes(
            frames=boxes.frames.at(boxes.label_row),
            corners=boxes.corners[boxes.label_row],
            action=boxes.label.astype(np.int32),
            last=np.ones(len(boxes.label)),
            declared=boxes.frames.at(np.zeros(0, dtype=np.int64)),
        )
        return truth, boxes
    truth = read_boxes(path, "ground truth")
    listed = ListedBoxes(
        frames=truth.frames,
        corners=truth.corners,
        score=np.ones(len(truth)),
        row=np.arange(len(truth), dtype=np.int64),
        action=truth.action.astype(np.int64),
        format="ground truth CSV",
        clipped=truth.clipped,
    )
    return truth, merge_equal(listed)


def together(parts: Sequence[PersonBoxes]) -> PersonBoxes:
    """Merge the boxes of several files; equal boxes become one with all labels."""
    ends = np.cumsum([len(part) for part in parts])
    return merge_equal(
        ListedBoxes(
            frames=joined_frames([part.frames for part in parts]),
            corners=np.concatenate([part.corners for part in parts]),
            score=np.concatenate([part.score for part in parts]),
            row=np.concatenate(
                [part.label_row + end - len(part) for part, end in zip(parts, ends, strict=True)]
            ),
            action=np.concatenate([part.label for part in parts]),
            format=" and ".join(part.format for part in parts),
        )
    )


def merge_equal(listed: ListedBoxes) -> PersonBoxes:
    """Round the corners, drop boxes without area, and merge equal ones."""
    millionths = np.rint(listed.corners * MILLIONTHS).astype(np.int64)
    x1, y1, x2, y2 = millionths.T
    has_area = (x2 > x1) & (y2 > y1)
    kept = np.flatnonzero(has_area)
    keys = (
        listed.frames.video[kept].astype(np.int64),
        listed.frames.micros[kept],
        x1[kept] * (MILLIONTHS + 1) + y1[kept],
        x2[kept] * (MILLIONTHS + 1) + y2[kept],
    )
    first, box = _first_of_equals(keys)
    score = np.full(len(first), -np.inf)
    np.maximum.at(score, box, listed.score[kept])
    lowest = np.full(len(first), np.inf)
    np.minimum.at(lowest, box, listed.score[kept])
    of_row = np.full(len(listed.score), -1, dtype=np.int64)
    of_row[kept] = box
    label_box = of_row[listed.row]
    pairs, at = (label_box[label_box >= 0], listed.action[label_box >= 0]), kept[first]
    once, _ = _first_of_equals(pairs)
    return PersonBoxes(
        frames=listed.frames.at(at),
        corners=millionths[at] / MILLIONTHS,
        score=score,
        label_row=pairs[0][once],
        label=pairs[1][once],
        format=listed.format,
        images=listed.images,
        counts={
            "rows": len(listed.score),
            "clipped": listed.clipped,
            "without_area": int((~has_area).sum()),
            "repeated": len(kept) - len(first),
            "of_several_scores": int((score > lowest).sum()),
            "boxes": len(first),
        },
    )


def _first_of_equals(keys: tuple[IntArray, ...]) -> tuple[IntArray, IntArray]:
    """Return the first row of every distinct key, in order, and each row's key number."""
    if not len(keys[0]):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.lexsort(keys[::-1])  # stable: among equal keys the first row stays first
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    first = order[is_new]
    rank = np.argsort(np.argsort(first))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = rank[np.cumsum(is_new) - 1]
    return np.sort(first), number
