"""The content of a medium: its name in caches, its state for detecting changes, and its SHA-256.

The same bytes have the same digest in a file, a tar archive and a parquet file. The digest of a
folder of frames is that of the names and digests of its pictures, sorted by name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from collections.abc import MutableMapping

from bench.data.media.archive_parts import NoBytes, cell_bytes
from bench.data.media.frame_names import frame_entries
from bench.data.media.media import FrameFolder, Media, Member, ParquetCell, place
from bench.errors import DataError

MISSING = "missing"
# A part missing from its archive, or not a regular file: the row cannot be decoded.
UNREADABLE = "unreadable"
PIECE = 1 << 20

SPECIAL = (-1, 0, 0, 0)  # the state of what is not a regular file, or a link in a circle

# Size, mtime_ns, ctime_ns, inode. For a folder of frames: bytes, latest mtime_ns, and two halves
# of a hash over the names, sizes, times and inodes of its pictures.
State = tuple[int, int, int, int]


def real_path(media: Media, known: MutableMapping[str, str]) -> str:
    """Resolve links with one lookup; `known` caches the folders and archives that media share."""
    spelling = os.fspath(place(media))
    if isinstance(media, Member | ParquetCell):
        if spelling not in known:
            known[spelling] = os.path.realpath(spelling)
        return known[spelling]
    if os.path.islink(spelling):  # noqa: PTH114 (a million files: no Path object for each)
        return os.path.realpath(spelling)
    folder, name = os.path.split(spelling)
    if folder not in known:
        known[folder] = os.path.realpath(folder or ".")
    return os.path.join(known[folder], name)  # noqa: PTH118


def content_name(media: Media, real: str) -> str:
    """Name a medium's content by its real path; media with equal names hold the same bytes.

    Names of parts differ from those of files, because a real path has no `//` in it.
    """
    if isinstance(media, Member):
        return f"{real}//{media.offset}+{media.size}"
    if isinstance(media, ParquetCell):
        return f"{real}//{media.column}[{media.row}]"
    return f"{real}//" if isinstance(media, FrameFolder) else real


def state_of(media: Media, real: str) -> State | None:
    """Return the state of the file or folder at a medium's real path; raises like `file_state`."""
    return folder_state(real) if isinstance(media, FrameFolder) else file_state(real)


def file_state(path: str) -> State | None:
    """Return the state of a file: None if it does not exist, `SPECIAL` if it is never opened.

    Raises:
        DataError: it cannot be accessed.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (as above)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return SPECIAL
        raise DataError(
            f"cannot access {path}: {error.strerror}; check its permissions."
        ) from error
    return stat_state(found) if stat.S_ISREG(found.st_mode) else SPECIAL


def stat_state(found: os.stat_result) -> State:
    """Return the facts that reveal whether a file was rewritten."""
    # Inode numbers of some network file systems exceed sqlite's signed 64 bits.
    inode = found.st_ino - (1 << 64) if found.st_ino >= 1 << 63 else found.st_ino
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode


def folder_state(path: str) -> State | None:
    """Return the state of a folder of frames, None if it is missing; raises like `file_state`."""
    entries = _entries(path)
    if entries is None:
        return None
    num_bytes = latest = 0
    fold = hashlib.sha256()
    for entry in entries:
        try:
            found = stat_state(entry.stat())
        except FileNotFoundError:  # a link to nothing
            found = (0, 0, 0, 0)
        except OSError as error:
            raise DataError(f"cannot access {entry.path}: {error.strerror}.") from error
        num_bytes, latest = num_bytes + found[0], max(latest, found[1])
        fold.update(os.fsencode(entry.name) + b"\0%d %d %d %d\0" % found)
    first, second = struct.unpack_from(">qq", fold.digest())
    return num_bytes, latest, first, second


def folder_digest(path: str) -> str:
    """Return the digest of a folder of frames, `missing` if it does not exist.

    Raises:
        DataError: a picture that cannot be read.
    """
    entries = _entries(path)
    if entries is None:
        return MISSING
    state = hashlib.sha256()
    for entry in entries:
        try:
            with open(entry.path, "rb") as file:  # noqa: PTH123 (as above)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            digest = MISSING
        except OSError as error:
            raise DataError(f"cannot read {entry.path}: {error.strerror}; check it.") from error
        state.update(os.fsencode(entry.name) + b"\0" + digest.encode() + b"\0")
    return state.hexdigest()


def member_digest(archive: int, media: Member) -> str:
    """Return the digest of a member of an archive, given as an open file descriptor.

    Raises:
        DataError: the archive cannot be read.
    """
    state = hashlib.sha256()
    start, end = media.offset, media.offset + media.size
    try:
        while start < end:
            piece = os.pread(archive, min(PIECE, end - start), start)
            if not piece:
                return UNREADABLE
            state.update(piece)
            start += len(piece)
    except OSError as error:
        raise DataError(f"cannot read {media}: {error.strerror}; check the file.") from error
    return state.hexdigest()


def cell_digest(real: str, media: ParquetCell, state: State) -> str:
    """Return the digest of a cell of a parquet file with the given state.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        content = cell_bytes(real, media.column, media.row, state)
    except NoBytes:
        return UNREADABLE
    except OSError as error:
        raise DataError(f"cannot read {media}: {error.strerror}; check the file.") from error
    return hashlib.sha256(content).hexdigest()


def _entries(path: str) -> list[os.DirEntry[str]] | None:
    try:
        return sorted(frame_entries(path), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.exists(path):  # noqa: PTH110
            raise DataError(f"{path} is not a folder of frames; list folders only.") from error
        return None
    except OSError as error:
        raise DataError(
            f"cannot access {path}: {error.strerror}; check its permissions."
        ) from error
