"""SlowFast's CSV of person boxes as columns, and explanations of what is wrong with a line.

video,second,x1,y1,x2,y2,,0.995518         a box without labels; the empty cell may also be -1
video,second,x1,y1,x2,y2,12,0.995518       one row per label of a box
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.boxes.ava_csv import COLUMNS, FloatArray, KeyFrames, read_table, video_codes
from bench.data.boxes.ava_csv_lines import (
    MAX_ACTION,
    MAX_SECONDS,
    first_bytes,
    first_fault,
    number_of,
    parse_micros,
)
from bench.errors import DataError
from bench.types import IntArray

# A box may extend beyond its frame by this much: detectors regress and round, and are clipped.
OVERHANG = 0.05
NO_LABEL = -1
# mmaction2's proposals are a dict "video,0902" -> array [N, 5]; the JSON is then read here.
CONVERSION = (
    "import json, pickle, sys; json.dump({k: [list(map(float, b)) for b in v]"
    " for k, v in pickle.load(open(sys.argv[1], 'rb'), encoding='latin1').items()},"
    " open(sys.argv[2], 'w'))"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ListedBoxes:
    """Boxes as a file lists them, row by row, clipped to their frames.

    `corners` are fractions, float64 `[N, 4]`, `score` float64 `[N]`. Row `row[i]` has the action
    `action[i]`, int64 `[M]`. `clipped` counts boxes that extended beyond the frame. `images` is the
    list of key frames that was read along with the file.
    """

    frames: KeyFrames
    corners: FloatArray
    score: FloatArray
    row: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    action: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    format: str
    clipped: int = 0
    images: Path | None = None

    def clipped_to_frame(self) -> ListedBoxes:
        """Clip the boxes to their frames and count those that extended beyond."""
        inside = np.clip(self.corners, 0.0, 1.0)
        changed = int((self.corners != inside).any(axis=1).sum())
        return replace(self, corners=inside, clipped=changed)


def first_character(path: Path) -> bytes:
    """Return the first non-blank character of a file, empty for an empty file.

    Raises:
        DataError: no such file, one that cannot be opened, or a pickle.
    """
    source, target = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".json")))
    raw = first_bytes(
        path,
        "convert mmaction2's proposals to JSON and pass that file:"
        f' python -c "{CONVERSION}" {source} {target}',
    )
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def read_rows(path: Path) -> ListedBoxes:
    """Read SlowFast's CSV of 8 columns.

    Raises:
        DataError: an empty file, another number of columns, a value out of range; with the line.
    """
    fault = partial(first_fault, path, _check_row, "files of boxes")
    table = read_table(path, COLUMNS, fault)[0] if first_character(path) else None
    if table is None or not table.num_rows:
        raise DataError(f"{path} is empty: it lists no boxes; check the file.")
    videos, video = video_codes(table)
    seconds, *edges, actions, score = (table.column(name).to_numpy() for name in COLUMNS[1:])
    corners, action = np.stack(edges, axis=1), np.nan_to_num(actions, nan=NO_LABEL)
    typed_nan = np.isnan(actions).sum() - table.column("action").null_count
    is_action = (action == NO_LABEL) | ((action >= 1) & (action <= MAX_ACTION))
    if not (
        "" not in videos
        and not typed_nan
        and ((seconds >= 0) & (seconds < MAX_SECONDS)).all()
        and are_boxes(corners).all()
        and (is_action & (action == np.rint(action))).all()
        and are_scores(score).all()
    ):
        raise fault("a value is out of its range")
    rows = np.flatnonzero(action != NO_LABEL)
    listed = ListedBoxes(
        frames=KeyFrames(
            videos=tuple(videos), video=video, micros=np.rint(seconds * 1e6).astype(np.int64)
        ),
        corners=corners,
        score=score,
        row=rows,
        action=action[rows].astype(np.int64),
        format="SlowFast CSV",
    )
    return listed.clipped_to_frame()


def are_boxes(corners: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark boxes that are not inverted and extend at most slightly beyond their frame."""
    x1, y1, x2, y2 = corners.T
    is_near = np.all((corners >= -OVERHANG) & (corners <= 1 + OVERHANG), axis=1)
    return np.asarray((x1 <= x2) & (y1 <= y2) & is_near)


def are_scores(score: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark scores in [0, 1]."""
    return np.asarray((score >= 0) & (score <= 1))


def box_fault(corners: Sequence[Any], score: Any) -> str:
    """Describe what is wrong with four corners as fractions and a score; empty if nothing is."""
    box = np.array([number_of(value) for value in corners])
    spelled = ", ".join(str(value) for value in corners)
    if len(box) != 4:
        return f"the box {spelled} has {len(box)} numbers; write x1, y1, x2, y2"
    if not np.isfinite(box).all():
        return f"the box {spelled} does not consist of four numbers"
    if box[0] > box[2] or box[1] > box[3]:
        return (
            f"the box {spelled} is inverted; corners are x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
        )
    if not are_boxes(box[None])[0]:
        return (
            f"the box {spelled} extends far beyond its frame; corners are fractions of the frame's"
            " width and height, from 0 to 1"
        )
    if not are_scores(np.array([number_of(score)]))[0]:
        return (
            f"the score {str(score)!r} is not between 0 and 1; a detector's score is the last"
            " column (in a ground truth it is a person)"
        )
    return ""


def _check_row(cells: Sequence[str]) -> None:
    if len(cells) != len(COLUMNS):
        raise ValueError(
            f"{len(cells)} columns instead of 8: video, second, x1, y1, x2, y2, action (or nothing,"
            " or -1), score"
        )
    if not cells[0]:
        raise ValueError("the video has no name; write its id in the first column")
    parse_micros(cells[1])
    action = number_of(cells[6]) if cells[6] else NO_LABEL
    if not (action == NO_LABEL or (1 <= action <= MAX_ACTION and action == int(action))):
        raise ValueError(
            f"the action {cells[6]!r} is not a class id (from 1); write -1 if there is none"
        )
    if problem := box_fault(cells[2:6], cells[7]):
        raise ValueError(problem)
