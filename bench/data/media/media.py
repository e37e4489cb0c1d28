"""The media that pixels are read from: files, folders of frames, and parts of archives.

A `MediaColumn` holds millions of them as arrays and makes each object on access. Decoders take a
`Source`: the path of a file, or the bytes of a part of an archive.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from bench.data.media.archive_parts import NoBytes, cell_bytes, member_bytes
from bench.errors import MissingMedia, UnreadableMedia
from bench.types import IntArray


@dataclass(frozen=True)
class FrameFolder:
    """An extracted video: pictures in a folder, ordered by the numbers in their names."""

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
class ParquetCell:
    """The bytes of a picture or video in a row of a parquet file (column struct{bytes, path})."""

    archive: Path
    row: int
    column: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.column}[{self.row}]"


Media = Path | FrameFolder | Member | ParquetCell


SPECIAL = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class InMemory(io.BytesIO):
    """The bytes of a part of an archive as a file; errors call it by the name of its `media`."""

    def __init__(self, media: Member | ParquetCell, content: bytes) -> None:
        super().__init__(content)
        self.media, self.size = media, len(content)
        # FFmpeg uses the extension when it guesses the format, as it does for a file.
        self.name = posixpath.basename(media.name) if isinstance(media, Member) else "cell"

    def __str__(self) -> str:
        return str(self.media)


Source = Path | InMemory


def place(media: Media) -> Path:
    """Return the file or folder on disk that holds the pixels."""
    if isinstance(media, Path):
        return media
    return media.path if isinstance(media, FrameFolder) else media.archive


def opened(media: Media) -> Source:
    """Return what a decoder opens: the path of a file, or the bytes of a part.

    Raises:
        MissingMedia: there is no such file or archive.
        UnreadableMedia: it is not a regular file (opening a pipe would block), or a link that leads
            nowhere; the archive has no such bytes, or is damaged there.
    """
    _refuse_special(media)
    try:
        if isinstance(media, Member):
            return InMemory(media, member_bytes(media.archive, media.offset, media.size))
        if isinstance(media, ParquetCell):
            return InMemory(media, cell_bytes(str(media.archive), media.column, media.row))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(media) from error
    except OSError as error:
        raise unreadable(media, error.strerror or str(error)) from error
    except NoBytes as error:
        raise unreadable(media, str(error)) from error
    return place(media)


def has_frame_folders(media: Sequence[Media]) -> bool:
    """Whether some of the media are folders of frames."""
    if isinstance(media, MediaColumn):
        return bool((media.form == FRAMES).any())
    return any(isinstance(medium, FrameFolder) for medium in media)


def is_empty(media: Media) -> bool:
    """Whether a file, or a part of an archive, has zero bytes; a folder is never empty here.

    Raises:
        MissingMedia: it does not exist.
        UnreadableMedia: it is not a regular file; the archive has no such bytes.
        OSError: it cannot be accessed.
    """
    _refuse_special(media)
    if isinstance(media, ParquetCell):
        cell = opened(media)
        return isinstance(cell, InMemory) and not cell.size
    try:
        size = place(media).stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(media) from error
    size = media.size if isinstance(media, Member) else size
    return not isinstance(media, FrameFolder) and size == 0


def _refuse_special(media: Media) -> None:
    """Refuse a missing file, a link that leads nowhere, and what is not a regular file."""
    if isinstance(media, FrameFolder):
        return
    path = os.fspath(place(media))
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (for every medium)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):  # noqa: PTH114
            target = os.readlink(path)  # noqa: PTH115
            reason = f"it is a link to {target}, which does not exist"
            raise unreadable(media, reason, "fetch that file, or remove the link") from error
        raise missing(media) from error
    except OSError as error:
        is_circle = error.errno == errno.ELOOP
        why = "it is a link in a circle" if is_circle else error.strerror or str(error)
        raise unreadable(media, why) from error
    if not stat.S_ISREG(mode):
        what = next((word for is_one, word in SPECIAL if is_one(mode)), "a special file")
        raise unreadable(media, f"it is {what}, not a regular file", "remove or replace it")


def unreadable(media: Media | InMemory, reason: str, advice: str = "") -> UnreadableMedia:
    """Return the error for a medium that exists but cannot be decoded.

    `advice` is the next step, if it is not to fetch or extract the medium again.
    """
    return UnreadableMedia(_sentence(media, reason, advice))


def missing(media: Media | InMemory) -> MissingMedia:
    """Return the error for a medium that does not exist."""
    medium = media.media if isinstance(media, InMemory) else media
    words = {FrameFolder: "folder", Member: "archive", ParquetCell: "archive"}
    return MissingMedia(_sentence(media, f"there is no such {words.get(type(medium), 'file')}"))


def without_folder(error: Exception, media: Media) -> str:
    """Return the text of an error without the folder of its medium, so that it is portable."""
    return str(error).replace(str(place(media)), place(media).name)


def _sentence(media: Media | InMemory, reason: str, better: str = "") -> str:
    medium = media.media if isinstance(media, InMemory) else media
    advice = "check the path"
    # The methods of Path raise an error if a parent folder is not accessible.
    if isinstance(medium, FrameFolder) and os.path.isdir(medium.path):  # noqa: PTH112
        advice = "extract its frames again"
    elif os.path.isfile(place(medium)):  # noqa: PTH113
        advice = f"fetch the {'file' if isinstance(medium, Path) else 'archive'} again"
    return f"{media} cannot be decoded: {reason}; {better or advice}."


FILE, FRAMES, MEMBER, CELL = range(4)


@dataclass(frozen=True, kw_only=True, eq=False)
class MediaColumn(Sequence[Media]):
    """Media below `root`, row by row, as arrays.

    `names` are relative to `root`; for a part of an archive the name inside it (for a parquet cell
    the name of the column). `form` is int8 `[rows]`, one of FILE, FRAMES, MEMBER and CELL.
    `archive` int32 `[rows]` indexes `archives` (-1: none); `offset` and `size` int64 `[rows]` are
    bytes of a tar member; for a cell, `offset` is its row.
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
            return ParquetCell(archive, int(self.offset[row]), self.names[row])
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
