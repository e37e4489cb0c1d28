"""The CSV files of AVA as columns: ground truth, detections and excluded frames.

video,second,x1,y1,x2,y2,action,person    ground truth (ava_val_v2.2.csv)
video,second,x1,y1,x2,y2,action,score     detections, the layout that evaluators share
video,second,x1,y1,x2,y2,action           either, with 1 for the person or score
video,second                              a frame without boxes; a line of a list of exclusions

Corners are fractions of the frame from 0 to 1. There is no header. Lines of 2, 7 and 8 columns may
be mixed.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.data.boxes import ava_csv_lines
from bench.data.boxes.ava_csv_lines import CORNERS, MAX_ACTION, MAX_SECONDS, WIDTHS, Row, What
from bench.errors import DataError
from bench.types import IntArray

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

BLOCK_BYTES = 8 << 20
PEEK = 1000  # lines whose widths decide which one is usual
_NAMES = ("video", "second", *CORNERS, "action", "last")


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Key frames: row i is `videos[video[i]]` at `micros[i]` microseconds; int32, int64 `[N]`."""

    videos: Sequence[str]
    video: Codes
    micros: IntArray

    def __len__(self) -> int:
        return len(self.video)

    def at(self, rows: npt.NDArray[Any]) -> Frames:
        """Return the frames of some rows: numbers or a mask."""
        return Frames(videos=self.videos, video=self.video[rows], micros=self.micros[rows])


def joined_frames(parts: Sequence[Frames]) -> Frames:
    """Return the key frames of several parts, one after the other."""
    codes: dict[str, int] = {}
    own = [np.array([codes.setdefault(v, len(codes)) for v in p.videos], np.int32) for p in parts]
    return Frames(
        videos=tuple(codes),
        video=np.concatenate([o[p.video] for o, p in zip(own, parts, strict=True)]),
        micros=np.concatenate([p.micros for p in parts]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """Boxes with an action each, in the order of their file.

    `corners` are x1, y1, x2, y2 as fractions, float64 `[N, 4]`, `action` ids int32 `[N]`, and
    `last` the last column, float64 `[N]`: scores, or the persons of a ground truth. `declared` are
    the frames that lines of two columns name.
    """

    frames: Frames
    corners: FloatArray
    action: Codes
    last: FloatArray
    declared: Frames

    def __len__(self) -> int:
        return len(self.action)

    def at(self, rows: npt.NDArray[Any]) -> Boxes:
        """Return some rows: numbers or a mask; the declared frames stay."""
        return replace(
            self,
            frames=self.frames.at(rows),
            corners=self.corners[rows],
            action=self.action[rows],
            last=self.last[rows],
        )


def read_boxes(path: Path, what: What) -> Boxes:
    """Read a ground truth or a file of detections; 10 million rows are 600 MB.

    Detections may be inverted (evaluators have rules for them), ground truth may not.

    Raises:
        DataError: missing or empty file, a pickle, another number of columns, what should be a
            number and is none, coordinates outside of [0, 1], inverted ground truth; with the line.
    """
    import pyarrow as pa  # heavy, and only files of boxes need it
    from pyarrow import csv as arrow_csv

    width = _usual_width(path)
    names = list(_NAMES[:width])
    odd: list[tuple[int, str]] = []

    def keep_odd(row: Any) -> str:
        if row.actual_columns not in WIDTHS:
            return "error"
        odd.append((row.number - 1, row.text))
        return "skip"

    numbers = {name: pa.float64() for name in names[1:]}
    videos: dict[str, int] = {}
    parts = []
    try:
        with arrow_csv.open_csv(
            path,
            # Threads would lose the numbers of the odd rows, and with them their places.
            read_options=arrow_csv.ReadOptions(
                use_threads=False, block_size=BLOCK_BYTES, column_names=names
            ),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=keep_odd),
            convert_options=arrow_csv.ConvertOptions(
                column_types={"video": pa.dictionary(pa.int32(), pa.string()), **numbers},
                null_values=[],
            ),
        ) as reader:
            for batch in reader:
                part = _columns(batch, videos)
                if not _is_sound(part, what):
                    raise ava_csv_lines.first_fault(path, what, "a value is out of its range.")
                parts.append(part)
    except pa.ArrowException as error:
        raise ava_csv_lines.first_fault(path, what, f"{error}.") from error
    return _joined(parts, _odd_rows(path, what, odd), videos)


def read_excluded(path: Path) -> Frames:
    """Read a list of excluded frames; an empty file excludes none.

    Raises:
        DataError: missing file, a pickle, not two columns, a timestamp that is no number.
    """
    rows = []
    for number, cells in ava_csv_lines.numbered_rows(path):
        try:
            if len(cells) != 2:
                raise ValueError(f"{len(cells)} columns where 2 are expected: video, second")
            rows.append((cells[0], ava_csv_lines.parse_micros(cells[1])))
        except ValueError as error:
            raise ava_csv_lines.fault(path, number, cells, error) from error
    return _frames(rows, {})


# ------------------------------------------------------------------------------------------ columns
@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """The columns of one block, numbers as they stand in the file."""

    video: Codes
    seconds: FloatArray
    corners: FloatArray
    action: FloatArray
    last: FloatArray
    has_names: bool


def _usual_width(path: Path) -> int:
    rows = list(islice(ava_csv_lines.numbered_rows(path), PEEK))
    if not rows:
        raise DataError(f"{path} is empty: there is nothing to score; check the file.")
    return 7 if next((len(cells) for _, cells in rows if len(cells) != 2), 8) == 7 else 8


def _columns(batch: pa.RecordBatch, videos: dict[str, int]) -> _Part:
    names = batch.column(0).dictionary.to_pylist()
    codes = np.array([videos.setdefault(name, len(videos)) for name in names], dtype=np.int32)
    floats = [batch.column(i).to_numpy(zero_copy_only=False) for i in range(1, batch.num_columns)]
    return _Part(
        video=codes[batch.column(0).indices.to_numpy(zero_copy_only=False)],
        seconds=floats[0],
        corners=np.stack(floats[1:5], axis=1),
        action=floats[5],
        last=floats[6] if len(floats) > 6 else np.ones(batch.num_rows),
        has_names="" not in names,
    )


def _is_sound(part: _Part, what: What) -> bool:
    """Say whether `ava_rows.parse_row` would take every row."""
    x1, y1, x2, y2 = part.corners.T
    return bool(
        part.has_names
        and ((part.seconds >= 0) & (part.seconds < MAX_SECONDS)).all()
        and ((part.corners >= 0) & (part.corners <= 1)).all()
        and ((np.abs(part.action) <= MAX_ACTION) & (part.action == np.rint(part.action))).all()
        and np.isfinite(part.last).all()
        and (what == "detections" or ((x1 <= x2) & (y1 <= y2)).all())
    )


# ------------------------------------------------------------------------------------------ joining
def _odd_rows(path: Path, what: What, odd: Sequence[tuple[int, str]]) -> list[tuple[int, Row]]:
    rows = []
    for place, text in odd:
        [cells] = csv.reader([text])
        try:
            rows.append((place, ava_csv_lines.parse_row(cells, what)))
        except ValueError as error:
            raise ava_csv_lines.first_fault(path, what, f"{error}.") from error
    return rows


def _joined(
    parts: Sequence[_Part], odd: Sequence[tuple[int, Row]], videos: dict[str, int]
) -> Boxes:
    """Join the blocks, and put the odd rows where they stood in the file."""
    placed = [row for _, row in odd if row.box is not None]
    places = [place - before for before, (place, row) in enumerate(odd) if row.box is not None]
    bare = [(row.video, row.micros) for _, row in odd if row.box is None]
    extra = _frames([(row.video, row.micros) for row in placed], videos)
    every = [
        *parts,
        _Part(
            video=extra.video,
            seconds=extra.micros / 1e6,
            corners=np.array([row.box for row in placed], dtype=np.float64).reshape(-1, 4),
            action=np.array([row.action for row in placed], dtype=np.float64),
            last=np.array([row.score for row in placed], dtype=np.float64),
            has_names=True,
        ),
    ]
    usual = sum(len(part.video) for part in parts)
    order: Any = slice(None)
    if placed:
        order = np.insert(np.arange(usual), places, np.arange(usual, usual + len(placed)))
    declared = _frames(bare, videos)  # the last to name videos
    micros = [np.rint(part.seconds * 1e6).astype(np.int64) for part in every]
    return Boxes(
        frames=Frames(
            videos=declared.videos,
            video=np.concatenate([part.video for part in every])[order],
            micros=np.concatenate(micros)[order],
        ),
        corners=np.concatenate([part.corners for part in every])[order],
        action=np.concatenate([part.action.astype(np.int32) for part in every])[order],
        last=np.concatenate([part.last for part in every])[order],
        declared=declared,
    )


def _frames(rows: Sequence[tuple[str, int]], videos: dict[str, int]) -> Frames:
    """Return frames as columns; videos that are new get the next number."""
    codes = [videos.setdefault(video, len(videos)) for video, _ in rows]
    return Frames(
        videos=tuple(videos),
        video=np.array(codes, dtype=np.int32),
        micros=np.array([micros for _, micros in rows], dtype=np.int64),
    )
