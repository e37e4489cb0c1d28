"""The CSV files of AVA as columns: ground truth, detections and excluded frames.

video,second,x1,y1,x2,y2,action,person    ground truth (ava_val_v2.2.csv)
video,second,x1,y1,x2,y2,action,score     detections, the layout that evaluators share
video,second,x1,y1,x2,y2,action           either, with 1 for the person or score
video,second                              a frame without boxes, or one excluded from scoring

Corners are fractions of the frame from 0 to 1; what exceeds them by a millionth at most, as float32
arithmetic may, is clipped and counted. There is no header. Lines with 2, 7 and 8 columns
may be mixed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.data.boxes import ava_csv_lines
from bench.data.boxes.ava_csv_lines import (
    CORNERS,
    MAX_ACTION,
    MAX_SECONDS,
    ROUNDING,
    WIDTHS,
    What,
)
from bench.errors import DataError
from bench.types import IntArray

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

BLOCK_BYTES = 8 << 20
PEEK = 1000  # lines that decide the usual number of columns
COLUMNS = ("video", "second", *CORNERS, "action", "last")


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyFrames:
    """Key frames: row i is `videos[video[i]]` at `micros[i]` microseconds; int32, int64 `[N]`."""

    videos: Sequence[str]
    video: Codes
    micros: IntArray

    def __len__(self) -> int:
        return len(self.video)

    def at(self, rows: npt.NDArray[Any]) -> KeyFrames:
        """Return the frames of some rows, given as numbers or a mask."""
        return KeyFrames(videos=self.videos, video=self.video[rows], micros=self.micros[rows])


def frames_of(rows: Sequence[tuple[str, int]], codes: dict[str, int] | None = None) -> KeyFrames:
    """Return (video, microseconds) pairs as columns; new videos are appended to `codes`."""
    codes = {} if codes is None else codes
    video = [codes.setdefault(name, len(codes)) for name, _ in rows]
    return KeyFrames(
        videos=tuple(codes),
        video=np.array(video, dtype=np.int32),
        micros=np.array([micros for _, micros in rows], dtype=np.int64),
    )


def joined_frames(parts: Sequence[KeyFrames]) -> KeyFrames:
    """Concatenate the key frames of several parts."""
    codes: dict[str, int] = {}
    new = [np.array([codes.setdefault(v, len(codes)) for v in p.videos], np.int32) for p in parts]
    return KeyFrames(
        videos=tuple(codes),
        video=np.concatenate([n[p.video] for n, p in zip(new, parts, strict=True)]),
        micros=np.concatenate([p.micros for p in parts]),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """Boxes with one action each, in file order.

    `corners` are x1, y1, x2, y2 as fractions, float64 `[N, 4]`, `action` ids int32 `[N]`, and
    `last` the last column, float64 `[N]`: scores, or the persons of a ground truth. `declared` are
    the frames listed on lines with two columns. `clipped` counts boxes that exceeded their frame by
    rounding.
    """

    frames: KeyFrames
    corners: FloatArray
    action: Codes
    last: FloatArray
    declared: KeyFrames
    clipped: int = 0

    def __len__(self) -> int:
        return len(self.action)

    def at(self, rows: npt.NDArray[Any]) -> Boxes:
        """Return some rows, given as numbers or a mask; the declared frames stay."""
        return replace(
            self,
            frames=self.frames.at(rows),
            corners=self.corners[rows],
            action=self.action[rows],
            last=self.last[rows],
        )


def read_boxes(path: Path, what: What) -> Boxes:
    """Read a ground truth or a file of detections; 10 million rows take 600 MB.

    Detections may be inverted (evaluators have rules for them), ground truth may not.

    Raises:
        DataError: missing or empty file, a pickle, another number of columns, a value that is not a
            number, coordinates more than a millionth outside [0, 1], inverted ground truth; with
            the line.
    """
    names = COLUMNS[: _usual_width(path)]
    parse = partial(ava_csv_lines.parse_row, what=what)
    fault = partial(ava_csv_lines.first_fault, path, parse, "AVA files")
    table, odd = read_table(path, names, fault, widths=WIDTHS)
    try:
        rows = [(place, *parse(next(csv.reader([text])))) for place, text in odd]
    except ValueError as error:
        raise fault(f"{error}") from error
    columns = [table.column(name).to_numpy() for name in names[1:]]
    columns += [np.ones(table.num_rows)] * (len(COLUMNS) - len(names))
    videos, video = video_codes(table)
    if not _are_sound(columns, what) or "" in videos:
        raise fault("a value is out of its range")
    codes = {name: code for code, name in enumerate(videos)}
    extra = frames_of([(name, micros) for _, name, micros, box in rows if box], codes)
    declared = frames_of([(name, micros) for _, name, micros, box in rows if not box], codes)
    if len(extra):  # the odd rows go back to where they were in the file
        places = [place - before for before, (place, _, _, box) in enumerate(rows) if box]
        numbers = np.array([box for _, _, _, box in rows if box])
        added = [extra.micros / 1e6, *numbers.T]
        columns = [np.insert(c, places, new) for c, new in zip(columns, added, strict=True)]
        video = np.insert(video, places, extra.video)
    seconds, *edges, action, last = columns
    corners = np.stack(edges, axis=1)
    beyond = ((corners < 0) | (corners > 1)).any(axis=1)
    return Boxes(
        frames=KeyFrames(
            videos=declared.videos,  # the last to add to `codes`
            video=video,
            micros=np.rint(seconds * 1e6).astype(np.int64),
        ),
        corners=np.clip(corners, 0, 1),
        action=action.astype(np.int32),
        last=last,
        declared=declared,
        clipped=int(beyond.sum()),
    )


def read_table(
    path: Path,
    names: Sequence[str],
    fault: Callable[[str], DataError],
    *,
    widths: Sequence[int] = (),
) -> tuple[pa.Table, list[tuple[int, str]]]:
    """Return the rows of a CSV file as columns, videos as a dictionary and numbers as float64.

    An empty cell is null. Rows of another width, which must be one of `widths`, are returned as
    text with their positions among all rows. `fault` builds the error from a reason.
    """
    import pyarrow as pa  # heavy, and only files of boxes need it
    from pyarrow import csv as arrow_csv

    odd: list[tuple[int, str]] = []

    def keep_odd(row: Any) -> str:
        if row.actual_columns not in widths:
            return "error"
        odd.append((row.number - 1, row.text))
        return "skip"

    try:
        table = arrow_csv.read_csv(
            path,
            # Threads would lose the row numbers of the odd rows.
            read_options=arrow_csv.ReadOptions(
                use_threads=not widths, block_size=BLOCK_BYTES, column_names=list(names)
            ),
            parse_options=arrow_csv.ParseOptions(invalid_row_handler=keep_odd),
            convert_options=arrow_csv.ConvertOptions(
                column_types={
                    "video": pa.dictionary(pa.int32(), pa.string()),
                    **dict.fromkeys(names[1:], pa.float64()),
                },
                null_values=[""],
            ),
        )
    except pa.ArrowException as error:
        raise fault(f"{error}") from error
    return table.unify_dictionaries(), odd


def video_codes(table: pa.Table) -> tuple[list[str], Codes]:
    """Return the names of a table's videos, and the video number of each row, int32 `[rows]`."""
    video = table.column("video").combine_chunks()
    return video.dictionary.to_pylist(), video.indices.to_numpy().astype(np.int32)


def read_excluded(path: Path) -> KeyFrames:
    """Read a list of excluded frames; an empty file excludes none.

    Raises:
        DataError: missing file, a pickle, not two columns, a timestamp that is not a number.
    """
    rows = []
    for number, cells in ava_csv_lines.numbered_rows(path):
        try:
            if len(cells) != 2:
                raise ValueError(f"{len(cells)} columns where 2 are expected: video, second")
            rows.append((cells[0], ava_csv_lines.parse_micros(cells[1])))
        except ValueError as error:
            raise ava_csv_lines.fault(path, number, cells, error) from error
    return frames_of(rows)


def _usual_width(path: Path) -> int:
    rows = list(islice(ava_csv_lines.numbered_rows(path), PEEK))
    if not rows:
        raise DataError(f"{path} is empty: there is nothing to score; check the file.")
    return 7 if next((len(cells) for _, cells in rows if len(cells) != 2), 8) == 7 else 8


def _are_sound(columns: Sequence[FloatArray], what: What) -> bool:
    """Whether `ava_csv_lines.parse_row` would accept every row."""
    seconds, x1, y1, x2, y2, action, last = columns
    return bool(
        ((seconds >= 0) & (seconds < MAX_SECONDS)).all()
        and all(((e >= -ROUNDING) & (e <= 1 + ROUNDING)).all() for e in (x1, y1, x2, y2))
        and ((np.abs(action) <= MAX_ACTION) & (action == np.rint(action))).all()
        and np.isfinite(last).all()
        and (what == "detections" or ((x1 <= x2) & (y1 <= y2)).all())
    )
