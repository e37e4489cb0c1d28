"""SlowFast's CSV of person boxes as columns, and in words what is wrong with a line of it.

video,second,x1,y1,x2,y2,,0.995518         a box without labels; -1 for the empty cell is the same
video,second,x1,y1,x2,y2,12,0.995518       a row for every label of a box
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.boxes.ava_csv import FloatArray, Frames
from bench.data.boxes.ava_csv_lines import (
    CORNERS,
    MAX_ACTION,
    MAX_SECONDS,
    first_bytes,
    numbered_rows,
    parse_micros,
)
from bench.errors import DataError
from bench.types import IntArray

# A box may reach out of its frame by this much: detectors regress and round, and are clipped.
OVERHANG = 0.05
COLUMNS = ("video", "second", *CORNERS, "action", "score")
NO_LABEL = -1
# mmaction2's proposals are a dict "video,0902" -> array [N, 5]; what comes out is read here.
CONVERSION = (
    "import json, pickle, sys; json.dump({k: [list(map(float, b)) for b in v]"
    " for k, v in pickle.load(open(sys.argv[1], 'rb'), encoding='latin1').items()},"
    " open(sys.argv[2], 'w'))"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Listed:
    """Boxes as a file lists them, row by row, within their frames.

    `corners` are fractions, float64 `[N, 4]`, `score` float64 `[N]`. Row `row[i]` has the action
    `action[i]`, int64 `[M]`. `clipped` boxes reached out of the frame. `images` is the list of key
    frames that was read beside it.
    """

    frames: Frames
    corners: FloatArray
    score: FloatArray
    row: IntArray
    action: IntArray
    format: str
    clipped: int
    images: Path | None = None


def beginning(path: Path) -> bytes:
    """Return the first sign of a file that is no blank, empty for an empty file.

    Raises:
        DataError: no such file, one that cannot be opened, or a pickle.
    """
    source, target = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".json")))
    raw = first_bytes(
        path,
        "turn the proposals of mmaction2 into JSON and name that file:"
        f' python -c "{CONVERSION}" {source} {target}',
    )
    return raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def read_rows(path: Path) -> Listed:
    """Read SlowFast's CSV of 8 columns.

    Raises:
        DataError: an empty file, another number of columns, a value out of its range; the line.
    """
    import pyarrow as pa  # heavy, and only files of boxes need it
    from pyarrow import csv as arrow_csv

    if not beginning(path):
        raise DataError(f"{path} is empty: it lists no box; check the file.")
    numbers = {name: pa.float64() for name in COLUMNS[1:]}
    try:
        table = arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(column_names=list(COLUMNS)),
            convert_options=arrow_csv.ConvertOptions(
                column_types={"video": pa.dictionary(pa.int32(), pa.string()), **numbers},
                null_values=[""],
            ),
        ).unify_dictionaries()
    except pa.ArrowException as error:
        raise _first_fault(path, f"{error}") from error
    if not table.num_rows:
        raise DataError(f"{path} is empty: it lists no box; check the file.")
    video = table.column("video").combine_chunks()
    names = video.dictionary.to_pylist()
    seconds, *floats = (table.column(name).to_numpy() for name in COLUMNS[1:])
    corners = np.stack(floats[:4], axis=1)
    action, score = np.nan_to_num(floats[4], nan=NO_LABEL), floats[5]
    typed_nan = np.isnan(floats[4]).sum() - table.column("action").null_count
    is_action = (action == NO_LABEL) | ((action >= 1) & (action <= MAX_ACTION))
    if not (
        "" not in names
        and not typed_nan
        and ((seconds >= 0) & (seconds < MAX_SECONDS)).all()
        and are_boxes(corners).all()
        and (is_action & (action == np.rint(action))).all()
        and are_scores(score).all()
    ):
        raise _first_fault(path, "a value is out of its range")
    inside = np.clip(corners, 0.0, 1.0)
    rows = np.flatnonzero(action != NO_LABEL)
    return Listed(
        frames=Frames(
            videos=tuple(names),
            video=video.indices.to_numpy().astype(np.int32),
            micros=np.rint(seconds * 1e6).astype(np.int64),
        ),
        corners=inside,
        score=score,
        row=rows,
        action=action[rows].astype(np.int64),
        format="SlowFast CSV",
        clipped=num_changed(corners, inside),
    )


def are_boxes(corners: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark boxes that are not inverted and reach out of their frame a little at most."""
    x1, y1, x2, y2 = corners.T
    is_box: npt.NDArray[np.bool_] = (x1 <= x2) & (y1 <= y2)
    is_box &= np.all((corners >= -OVERHANG) & (corners <= 1 + OVERHANG), axis=1)
    return is_box


def are_scores(score: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark scores within 0 and 1."""
    is_score: npt.NDArray[np.bool_] = (score >= 0) & (score <= 1)
    return is_score


def num_changed(corners: FloatArray, inside: FloatArray) -> int:
    """Count the boxes that clipping changed."""
    return int((corners != inside).any(axis=1).sum())


def box_fault(corners: Sequence[Any], score: Any) -> str:
    """Say what is wrong with four corners as fractions and a score; empty if nothing is."""
    box = np.array([_number(value) for value in corners])
    spelled = ", ".join(str(value) for value in corners)
    if len(box) != 4:
        return f"the box {spelled} has {len(box)} numbers; write x1, y1, x2, y2"
    if not np.isfinite(box).all():
        return f"the box {spelled} is not made of four numbers"
    if box[0] > box[2] or box[1] > box[3]:
        return (
            f"the box {spelled} is inverted; corners are x1, y1, x2, y2 with x1 <= x2 and y1 <= y2"
        )
    if not are_boxes(box[None])[0]:
        return (
            f"the box {spelled} reaches far out of its frame; corners are fractions of the frame's"
            " width and height, from 0 to 1"
        )
    if not are_scores(np.array([_number(score)]))[0]:
        return (
            f"the score {str(score)!r} is not between 0 and 1; a detector's score is the last"
            " column (in a ground truth it is a person)"
        )
    return ""


def _first_fault(path: Path, reason: str) -> DataError:
    """Return the error for the first line that cannot be read, else what the columns said."""
    for number, cells in numbered_rows(path):
        said = _fault(cells)
        if said:
            is_header = number == 1 and all(math.isnan(_number(text)) for text in cells)
            header = "; files of boxes have no header" if is_header else ""
            return DataError(f"{path}, line {number}: {said}{header}.")
    return DataError(f"{path} cannot be read as comma-separated values: {reason}.")


def _fault(cells: Sequence[str]) -> str:
    if len(cells) != len(COLUMNS):
        return (
            f"{len(cells)} columns where 8 are expected: video, second, x1, y1, x2, y2, action (or"
            " nothing, or -1), score"
        )
    if not cells[0]:
        return "the video has no name; write its id in the first column"
    try:
        parse_micros(cells[1])
    except ValueError as error:
        return str(error)
    action = _number(cells[6]) if cells[6] else NO_LABEL
    if not (action == NO_LABEL or (1 <= action <= MAX_ACTION and action == int(action))):
        return (
            f"the action {cells[6]!r} is no id of a class, from 1 on; write -1 where there is none"
        )
    return box_fault(cells[2:6], cells[7])


def _number(value: Any) -> float:
    """Return a number, not-a-number where a value is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
