"""What the pixels of a row are read from: a file, a folder of frames, or a part of an archive.

A `MediaColumn` holds millions of them as arrays and makes each object on access.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from bench.types import IntArray


@dataclass(frozen=True)
class FrameFolder:
    """A video that was extracted: pictures in a folder, in the order of the numbers they carry."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path}/"


@dataclass(frozen=True)
class Member:
    """A file inside an uncompressed tar archive: `size` bytes from `offset` on."""

    archive: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


@dataclass(frozen=True)
class Cell:
    """The bytes of a picture or video in a row of a parquet file (column struct{bytes, path})."""

    archive: Path
    row: int
    column: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.column}[{self.row}]"


Media = Path | FrameFolder | Member | Cell

FILE, FRAMES, MEMBER, CELL = range(4)


@dataclass(frozen=True, kw_only=True, eq=False)
class MediaColumn(Sequence[Media]):
    """Media below `root`, row by row, as arrays.

    `names` are relative to `root`; of a part of an archive the name inside it (of a parquet cell
    the name of the column). `form` is int8 `[rows]`, one of FILE, FRAMES, MEMBER and CELL.
    `archive` int32 `[rows]` counts in `archives` (-1: none); `offset` and `size` int64 `[rows]` are
    bytes of a tar member, `offset` is the row of a cell.
    """

    root: Path
    names: Sequence[str]
    form: npt.NDArray[np.int8]
    archives: Sequence[str]
    archive: npt.NDArray[np.int32]
    offset: IntArray
    size: IntArray

    @classmethod
    def of_files(cls, root: Path, names: Sequence[str], form: int = FILE) -> MediaColumn:
        """Return plain files (or folders of frames) as a column."""
        rows = len(names)
        return cls(
            root=root,
            names=names,
            form=np.full(rows, form, dtype=np.int8),
            archives=(),
            archive=np.full(rows, -1, dtype=np.int32),
            offset=np.zeros(rows, dtype=np.int64),
            size=np.zeros(rows, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, row: int) -> Media: ...
    @overload
    def __getitem__(self, row: slice) -> MediaColumn: ...
    def __getitem__(self, row: int | slice) -> Media | MediaColumn:
        if isinstance(row, slice):
            return self.take(np.arange(len(self), dtype=np.int64)[row])
        form = self.form[row]
        if form == FILE:
            return self.root / self.names[row]
        if form == FRAMES:
            return FrameFolder(self.root / self.names[row])
        archive = self.root / self.archives[self.archive[row]]
        if form == CELL:
            return Cell(archive, int(self.offset[row]), self.names[row])
        return Member(archive, self.names[row], int(self.offset[row]), int(self.size[row]))

    def take(self, rows: IntArray) -> MediaColumn:
        """Return the given rows, in the given order."""
        return MediaColumn(
            root=self.root,
            names=[self.names[row] for row in rows],
            form=self.form[rows],
            archives=self.archives,
            archive=self.archive[rows],
            offset=self.offset[rows],
            size=self.size[rows],
        )
