"""SHA-256 of the content of media, cached so that unchanged media are read once.

A file or archive counts as unchanged while real path, size, modification time, change time and
inode are the same, a folder of frames while those of all its pictures are. The change time is
needed because tools that copy data restore the modification time. Parts of archives are read in
archive order, whatever the order of the rows.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from bench.data.media.content_digest import (
    MISSING,
    SPECIAL,
    UNREADABLE,
    State,
    cell_digest,
    content_name,
    file_state,
    folder_digest,
    folder_state,
    member_digest,
    real_path,
    stat_state,
    state_of,
)
from bench.data.media.media import FrameFolder, Media, MediaColumn, Member, ParquetCell
from bench.errors import DataError
from bench.files import is_read_only
from bench.types import IntArray, Progress

FILES_PER_COMMIT = 256
THREADS = 4
BUSY_SECONDS = 120.0
# A second write within the time resolution of a file system leaves no trace, so the digest of a
# file that was modified a moment ago is returned but not cached.
SETTLED_SECONDS = 2.0

_TABLE = """CREATE TABLE IF NOT EXISTS media (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    sha256 TEXT NOT NULL) WITHOUT ROWID"""


def media_digests(media: Sequence[Media], *, cache: Path, progress: Progress) -> list[str]:
    """Return the SHA-256 (hex) of every medium's content, `"missing"` if it does not exist.

    For a part missing from its archive, or what is not a regular file, it is `"unreadable"`.
    Digests are committed to the sqlite file `cache` every 256 media, so that a killed run resumes
    where it stopped; several processes may share the cache.

    Raises:
        DataError: a file that exists but cannot be read, or an unusable cache.
    """
    order = _reading_order(media)
    digests = [MISSING] * len(order)
    known: dict[str, str] = {}  # links resolved
    progress.start("media digests", len(order))
    try:
        advice = "delete it, or choose a writable folder"
        with (
            open_database(cache, _TABLE, f"the digest cache {cache}", advice) as database,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            for start in range(0, len(order), FILES_PER_COMMIT):
                rows = order[start : start + FILES_PER_COMMIT].tolist()
                chunk = [media[row] for row in rows]
                places = [real_path(medium, known) for medium in chunk]
                found = _digest_chunk(chunk, places, database, pool)
                for row, digest in zip(rows, found, strict=True):
                    digests[row] = digest
                progress.advance(len(rows))
    finally:
        progress.stop()
    return digests


def _reading_order(media: Sequence[Media]) -> IntArray:
    """Return the rows with parts in archive order and files in their given order."""
    if isinstance(media, MediaColumn):
        return np.lexsort((media.offset, media.archive)).astype(np.int64)
    places = np.tile(np.array([-1, 0], dtype=np.int64), (len(media), 1))  # archive and offset
    numbers: dict[Path, int] = {}
    for row, medium in enumerate(media):
        if isinstance(medium, Member | ParquetCell):
            offset = medium.offset if isinstance(medium, Member) else medium.row
            places[row] = numbers.setdefault(medium.archive, len(numbers)), offset
    return np.lexsort(places.T[::-1]).astype(np.int64)


def _digest_chunk(
    media: list[Media], places: list[str], database: sqlite3.Connection, pool: ThreadPoolExecutor
) -> list[str]:
    """Return the digests of media with these real paths; the state of each path is read once."""
    names = [content_name(medium, real) for medium, real in zip(media, places, strict=True)]
    looks = dict(zip(places, media, strict=True))
    states = dict(zip(looks, pool.map(state_of, looks.values(), looks), strict=True))
    known: dict[str, str] = {}
    todo: dict[str, tuple[Media, str, State]] = {}
    query = (
        "SELECT sha256 FROM media WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?"
        " AND inode = ?"
    )
    for name, medium, real in zip(names, media, places, strict=True):
        state = states[real]
        if state is None:
            known[name] = MISSING
        elif state == SPECIAL:
            known[name] = UNREADABLE
        elif noted := _noted(database.execute(query, (name, *state)).fetchone(), name):
            known[name] = noted
        else:
            todo[name] = (medium, real, state)
    archives: dict[str, int] = {}  # each is opened once and read by several threads
    with ExitStack() as stack:
        for medium, real, _ in todo.values():
            if isinstance(medium, Member | ParquetCell) and real not in archives:
                try:
                    file = stack.enter_context(open(real, "rb"))  # noqa: PTH123 (as below)
                except OSError as error:
                    raise DataError(f"cannot read {real}: {error.strerror}; check it.") from error
                archives[real] = file.fileno()
        fresh = list(pool.map(lambda what: _content(what, archives), todo.values()))
    # Whether an archive changed meanwhile is checked once, not for each of its parts.
    changed = {real for real in archives if file_state(real) != states[real]}
    settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    rows = []
    for (name, (_, real, _)), (digest, seen) in zip(todo.items(), fresh, strict=True):
        known[name] = digest
        if seen is not None and seen[1] <= settled and real not in changed:
            rows.append((name, *seen, f"{digest}{_check(name, digest)}"))
    if rows:
        keep_rows(database, "INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?, ?)", rows)
    return [known[name] for name in names]


def _noted(row: tuple[str] | None, name: str) -> str | None:
    """Return the digest that a row holds, None if there is none or it is damaged."""
    digest, check = ("", "") if row is None else (row[0][:64], row[0][64:])
    is_whole = check in ("", _check(name, digest))  # rows of earlier versions have no check
    return digest if digest and is_whole else None


def _check(name: str, digest: str) -> str:
    return f"{zlib.crc32(f'{name} {digest}'.encode(errors='surrogateescape')):08x}"


def _content(
    what: tuple[Media, str, State], archives: Mapping[str, int]
) -> tuple[str, State | None]:
    """Return the digest and the state it belongs to, None if it is not to be cached."""
    medium, real, state = what
    if isinstance(medium, Path):
        return _read(real)
    if isinstance(medium, FrameFolder):
        return folder_digest(real), state if folder_state(real) == state else None
    if isinstance(medium, Member):
        digest = member_digest(archives[real], medium)
    else:
        digest = cell_digest(real, medium, state)
    return digest, None if digest == UNREADABLE else state


def _read(path: str) -> tuple[str, State | None]:
    """Return the digest and the state it belongs to, None if the file changed while it was read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a million files: no Path object for each)
            before = stat_state(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = stat_state(os.fstat(file.fileno()))
    except FileNotFoundError:
        return MISSING, None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the file.") from error
    return digest, before if before == after else None


@contextmanager
def open_database(file: Path, table: str, what: str, advice: str) -> Iterator[sqlite3.Connection]:
    """Open a sqlite file that several processes may share, creating its `table` if needed.

    In a read-only folder, what the file holds is served, and nothing is kept. `what` and `advice`
    are used in the error message.

    Raises:
        DataError: the file is damaged or cannot be created.
    """
    try:
        if is_read_only(file.parent):
            place = (
                f"{file.absolute().as_uri()}?mode=ro&immutable=1" if file.exists() else ":memory:"
            )
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            place = file.absolute().as_uri()
        with closing(sqlite3.connect(place, timeout=BUSY_SECONDS, uri=True)) as database:
            if not place.endswith("immutable=1"):
                _prepare(database, table)
            yield database
    except (sqlite3.DatabaseError, OSError) as error:
        raise DataError(f"{what} cannot be used ({error}); {advice}.") from error


def keep_rows(
    database: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Commit rows; a read-only file is left as it is."""
    try:
        with database:
            database.executemany(statement, rows)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
            raise


def _prepare(database: sqlite3.Connection, table: str) -> None:
    """Create the table, and a write-ahead log so that readers continue while a process commits."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(table)
            return
        except sqlite3.OperationalError as error:
            # Sqlite does not wait when two processes switch to the write-ahead log at once.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
