"""The bytes of a part of an archive: a range of an uncompressed tar, or a cell of a parquet file.

Parquet is read by row groups, and each process caches the last ones: sequential rows are read once,
rows in random order cost a row group each.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from bench.types import IntArray

KEPT_FILES = 8
KEPT_BYTES = 128 * 2**20  # of row groups; a larger one is kept alone
# Arrow cannot make a column of more than 2 GB in one piece, so a row group is read in several.
ROWS_AT_ONCE = 64

State = tuple[int, ...]
_Group = tuple[str, State, str, int]  # archive, its state, column, number


class NoBytes(Exception):  # noqa: N818 (a state of the archive; callers turn it into a BenchError)
    """An archive has no such part, or is damaged there; the text is the reason."""


def member_bytes(archive: Path, offset: int, size: int) -> bytes:
    """Return `size` bytes from `offset` on.

    Raises:
        OSError: there is no such file, or it cannot be read.
        NoBytes: the file is too short.
    """
    with archive.open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise NoBytes(f"the archive ends {size - len(content):,} bytes too early")
    return content


def cell_bytes(archive: str, column: str, row: int, state: Sequence[int] | None = None) -> bytes:
    """Return the bytes in a row of a column of type bytes or struct{bytes, ...}.

    Cached row groups are used while the `state` of the file is the same; without one it is read.

    Raises:
        OSError: there is no such file, or it cannot be read.
        NoBytes: it is not a parquet file, has no such column or row, or is damaged.
    """
    import pyarrow as pa  # heavy, and only parquet needs it

    if state is None:
        found = os.stat(archive)  # noqa: PTH116 (for every row)
        state = (found.st_size, found.st_mtime_ns, found.st_ino)
    try:
        content = _row_groups(os.getpid()).cell(archive, tuple(state), column, row).as_py()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # pyarrow reports some damage as an OSError without errno.
        reason = str(error).replace(archive, "the archive").strip() or type(error).__name__
        raise NoBytes(f"parquet: {reason.splitlines()[0].rstrip('.')[:200]}") from error
    if content is None:
        raise NoBytes("the cell is empty")
    if not isinstance(content, bytes):
        raise NoBytes(f"the column {column!r} has {type(content).__name__}, not bytes")
    return content


@lru_cache(maxsize=1)
def _row_groups(process: int) -> _RowGroups:
    """Return the row groups that a process caches: a forked process starts afresh."""
    return _RowGroups()


class _RowGroups:
    """The most recently read parquet files and their row groups; threads take turns."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._file = lru_cache(maxsize=KEPT_FILES)(_open_file)
        self._groups: OrderedDict[_Group, Any] = OrderedDict()

    def cell(self, archive: str, state: State, column: str, row: int) -> Any:
        """Return an Arrow scalar; raises `NoBytes` and pyarrow's errors."""
        import pyarrow as pa

        with self._lock:
            file, starts = self._file(archive, state)
            if not 0 <= row < starts[-1]:
                raise NoBytes(f"the archive has only {starts[-1]:,} rows")
            group = int(np.searchsorted(starts, row, side="right")) - 1
            cells = self._group(file, (archive, state, column, group))
        cell = cells[row - int(starts[group])]
        return cell["bytes"] if isinstance(cell, pa.StructScalar) and cell.is_valid else cell

    def _group(self, file: Any, key: _Group) -> Any:
        if key not in self._groups:
            self._groups[key] = _read_cells(file, *key[2:])
            kept = sum(cells.nbytes for cells in self._groups.values())
            while len(self._groups) > 1 and kept > KEPT_BYTES:
                kept -= self._groups.popitem(last=False)[1].nbytes
        self._groups.move_to_end(key)
        return self._groups[key]


def _open_file(archive: str, state: State) -> tuple[Any, IntArray]:
    """Return an open file and the first row of each row group, followed by the number of rows."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(archive)
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    return file, np.cumsum([0, *(group.num_rows for group in groups)], dtype=np.int64)


def _read_cells(file: Any, column: str, group: int) -> Any:
    import pyarrow as pa

    if column not in file.schema_arrow.names:
        raise NoBytes(f"the archive has no column {column!r}")
    kind = file.schema_arrow.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") < 0:
        raise NoBytes(f"the column {column!r} has no bytes")
    leaf = f"{column}.bytes" if pa.types.is_struct(kind) else column
    pieces = file.iter_batches(
        batch_size=ROWS_AT_ONCE, row_groups=[group], columns=[leaf], use_threads=False
    )
    return pa.Table.from_batches(list(pieces)).column(0)
