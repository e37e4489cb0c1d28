"""Parse one line of an AVA file at a time, and explain what is wrong with it.

Whole files are read as columns (`bench.data.boxes.ava_csv`), which comes here for the few lines of
another width, and to find the culprit among millions.
"""

from __future__ import annotations

import csv
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from bench.errors import DataError

What = Literal["ground truth", "detections"]
WIDTHS = (2, 7, 8)
CORNERS = ("x1", "y1", "x2", "y2")
MAX_SECONDS = 1e6  # eleven days; a later second is a date and would not fit next to a video number
MAX_ACTION = 2**31 - 1
ROUNDING = 1e-6  # how far a corner may be beyond the frame, where it is clipped and counted
PEEK_BYTES = 4096
_FRACTIONS = "coordinates are fractions of the frame's width and height, from 0 to 1"
# mmaction2's results: a dict per frame, with a list of the boxes and scores of every class.
_CONVERSION = (
    "import pickle, sys; [print(r['video_id'], r['timestamp'], *b[:4], c, b[4], sep=',')"
    " for r in pickle.load(open(sys.argv[1], 'rb'))"
    " for c, boxes in enumerate(r['outputs'], 1) for b in boxes]"
)


def parse_row(cells: Sequence[str], what: What) -> tuple[str, int, tuple[float, ...]]:
    """Return video, microseconds and (x1, y1, x2, y2, action, last) of the cells of one line.

    A missing last column reads as 1; a line of two columns declares a frame without boxes, and has
    no numbers.

    Raises:
        ValueError: what is wrong, phrased to follow the line number.
    """
    if len(cells) not in WIDTHS:
        raise ValueError(
            f"{len(cells)} columns where 2, 7 or 8 are expected: video, second, x1, y1, x2, y2,"
            " action, and the score or person"
        )
    if not cells[0]:
        raise ValueError("the video has no name; write its id in the first column")
    micros = parse_micros(cells[1])
    if len(cells) == 2:
        return cells[0], micros, ()
    box = tuple(map(_fraction, CORNERS, cells[2:6]))
    if what == "ground truth" and (box[0] > box[2] or box[1] > box[3]):
        raise ValueError(
            f"the box {', '.join(cells[2:6])} is inverted; corners are x1, y1, x2, y2 with x1 <= x2"
            " and y1 <= y2"
        )
    action = _action(cells[6])
    score = 1.0 if len(cells) == 7 else number_of(cells[7])
    if not math.isfinite(score):
        last = "score" if what == "detections" else "person"
        raise ValueError(
            f"the {last} {cells[7]!r} is not a number; write a number, or leave the column out"
        )
    return cells[0], micros, (*box, action, score)


def parse_micros(text: str) -> int:
    """Return the microseconds of a timestamp in seconds: `0902`, `902` and `902.0` agree.

    Raises:
        ValueError: not a number, or not a second of a video.
    """
    seconds = number_of(text)
    if not 0 <= seconds < MAX_SECONDS:
        why = "is not a second of a video" if math.isfinite(seconds) else "is not a number"
        raise ValueError(
            f"the timestamp {text!r} {why}; write the key frame's second, such as 0902"
        )
    return round(seconds * 1e6)


def numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of every line that is not empty.

    Raises:
        DataError: the file is missing, unreadable, a pickle, or not UTF-8 text.
    """
    refuse_unreadable(path)
    reader = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    except csv.Error as error:
        line = reader.line_num if reader else 0
        raise DataError(f"{path}, line {line}: {error}; check the double quotes.") from error


def refuse_unreadable(path: Path) -> None:
    """Raise `DataError` if a file is missing, cannot be opened, or is a pickle."""
    source, target = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".csv")))
    first_bytes(
        path,
        "convert mmaction2's results to rows and score those:"
        f' python -c "{_CONVERSION}" {source} > {target}',
    )


def first_bytes(path: Path, unpickled: str) -> bytes:
    """Return the first bytes of a file; `unpickled` says how to convert a trusted pickle.

    Raises:
        DataError: no such file, one that cannot be opened, or a pickle.
    """
    try:
        with path.open("rb") as file:
            first = file.read(PEEK_BYTES)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}; check the path.") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the path.") from error
    # Every protocol since 2 begins like this; older pickles are text, recognised by their name.
    if first[:1] == b"\x80" or path.suffix in (".pkl", ".pickle"):
        raise DataError(
            f"{path} is a pickle, and reading one runs whatever code it contains. If you trust it,"
            f" {unpickled}"
        )
    return first


def first_fault(
    path: Path, parse: Callable[[Sequence[str]], object], files: str, reason: str
) -> DataError:
    """Return the error for the first line of a file that `parse` refuses with a `ValueError`.

    `files` is the name of such files, `reason` the error of the column reader, used if no line is
    to blame.
    """
    for number, cells in numbered_rows(path):
        try:
            parse(cells)
        except ValueError as error:
            return fault(path, number, cells, error, files)
    return DataError(f"{path} cannot be read as comma-separated values: {reason}.")


def fault(
    path: Path, number: int, cells: Sequence[str], error: ValueError, files: str = "AVA files"
) -> DataError:
    """Return the error for one line; a first line without numbers is taken for a header."""
    is_header = number == 1 and all(math.isnan(number_of(text)) for text in cells)
    header = f"; {files} have no header" if is_header else ""
    return DataError(f"{path}, line {number}: {error}{header}.")


def number_of(value: Any) -> float:
    """Return a value as a float, NaN if it is not a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _fraction(name: str, text: str) -> float:
    value = number_of(text)
    if not -ROUNDING <= value <= 1 + ROUNDING:
        why = "is not a number" if math.isnan(value) else "is outside the frame"
        raise ValueError(f"{name} {text!r} {why}; {_FRACTIONS}")
    return value


def _action(text: str) -> int:
    value = number_of(text)
    if not (abs(value) <= MAX_ACTION and value == int(value)):
        hint = "write a class id" if text.strip() else "person boxes alone cannot be scored"
        raise ValueError(f"the action {text!r} is not a whole number; {hint}")
    return int(value)
