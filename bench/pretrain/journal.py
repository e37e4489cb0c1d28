"""The log of a pretraining run on disk, written by rank 0.

RUN/log.jsonl       one JSON object per line, in order
RUN/tensorboard/    the same numbers for TensorBoard
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.files import parse_json, write_whole

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class Journal:
    """Appends entries to `folder`, flushed before `write` returns so that they survive a kill.

    `step` is the last finished step at the start or resume: entries of later steps, whose work was
    lost, are dropped (at step 0: all), and so is a line cut short by a kill.

    Raises:
        DataError: the log has an invalid line.
        BenchError: the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        # Takes seconds to import, and only rank 0 needs it.
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOG_FILE
        keep_lines(path, (line for line, entry in _entries(path) if step and entry["step"] <= step))
        self._file = path.open("a", encoding="utf-8")
        # The event files cannot be cut; purge_step makes TensorBoard hide later steps.
        self._board = SummaryWriter(
            str(folder / TENSORBOARD_FOLDER), purge_step=step + 1 if step else 0
        )

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; it needs an int `step`, and non-finite numbers become null."""
        step = entry["step"]
        self._file.write(json.dumps(_jsonable(entry), allow_nan=False) + "\n")
        self._file.flush()
        for name, value in _scalars(entry):
            if isinstance(value, str):
                self._board.add_text(name, value, step)
            else:
                self._board.add_scalar(name, value, step)
        self._board.flush()

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of a run, in order; none if there is no log.

    An unfinished last line, left by a killed writer, is dropped.

    Raises:
        DataError: any other invalid line.
    """
    return [entry for _, entry in _entries(folder / LOG_FILE)]


def complete_lines(path: Path) -> list[bytes]:
    """Return the lines of a log without an unfinished last one; none if there is no such file."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def keep_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Rewrite a log with only these lines, if it has others.

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    kept = b"".join(line + b"\n" for line in lines)
    if path.exists() and kept != path.read_bytes():
        write_whole(path, kept)


def _entries(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, line in enumerate(complete_lines(path), start=1):
        try:
            entry = parse_json(line.decode())
            if not isinstance(entry["step"], int):
                raise TypeError("its step is not a whole number")
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: not a log entry (a JSON object with a step); remove the"
                " line, or move the file away."
            ) from error
        yield line, entry


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _scalars(value: Any, name: str = "") -> Iterator[tuple[str, float | str]]:
    """Yield the leaves of an entry under names such as `health/feature_std`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if name or key not in ("step", "num_steps"):
                yield from _scalars(inner, f"{name}/{key}" if name else key)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value):
            yield from _scalars(inner, f"{name}/{number}")
    elif isinstance(value, (int, float, str)):
        yield name, value
