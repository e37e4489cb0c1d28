"""SHA-256 of media files, remembered so that an unchanged file is read once.

A file counts as unchanged while real path, size, modification time, change time and inode are the
same. The change time is there because tools that copy data restore the modification time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from bench.errors import DataError
from bench.types import Progress

MISSING = "missing"
FILES_PER_COMMIT = 256
THREADS = 4
BUSY_SECONDS = 120.0
# Within the time resolution of a file system a second write leaves no trace, so the digest of a
# file that was modified a moment ago is given but not remembered.
SETTLED_SECONDS = 2.0

State = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode

_TABLE = """CREATE TABLE IF NOT EXISTS media (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    sha256 TEXT NOT NULL) WITHOUT ROWID"""


def media_digests(paths: Sequence[Path], *, cache: Path, progress: Progress) -> list[str]:
    """Return the SHA-256 (hex) of every file's bytes, `"missing"` for a file that is not there.

    What was read is committed to the sqlite file `cache` every 256 files, so that a killed run
    goes on where it stopped; several processes may share the cache.

    Raises:
        DataError: a file that exists but cannot be read, or a cache that is not usable.
    """
    spellings = [os.fspath(path) for path in paths]
    unique = list(dict.fromkeys(spellings))  # many samples may lie in one archive
    digests: dict[str, str] = {}
    folders: dict[str, str] = {}
    progress.start("media digests", len(unique))
    try:
        with _opened(cache) as database, ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(unique), FILES_PER_COMMIT):
                chunk = unique[start : start + FILES_PER_COMMIT]
                real = [_real_path(path, folders) for path in chunk]
                digests.update(zip(chunk, _digest_chunk(real, database, pool), strict=True))
                progress.advance(len(chunk))
    finally:
        progress.stop()
    return [digests[path] for path in spellings]


def _digest_chunk(
    paths: list[str], database: sqlite3.Connection, pool: ThreadPoolExecutor
) -> list[str]:
    states = list(pool.map(_state, paths))
    digests = [
        MISSING if state is None else _remembered(database, path, state)
        for path, state in zip(paths, states, strict=True)
    ]
    unknown = [i for i, digest in enumerate(digests) if digest is None]
    fresh = list(pool.map(_read, [paths[i] for i in unknown]))
    settled = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    rows = []
    for i, (digest, state) in zip(unknown, fresh, strict=True):
        digests[i] = digest
        if state is not None and state[1] <= settled:
            rows.append((paths[i], *state, digest))
    if rows:
        with database:
            database.executemany("INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?, ?)", rows)
    return [digest for digest in digests if digest is not None]


def _remembered(database: sqlite3.Connection, path: str, state: State) -> str | None:
    query = (
        "SELECT sha256 FROM media WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ?"
        " AND inode = ?"
    )
    row = database.execute(query, (path, *state)).fetchone()
    return None if row is None else str(row[0])


def _state(path: str) -> State | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a million files: no Path object for each)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"cannot look at {path}: {error.strerror}; check its rights.") from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} is not a file, so it has no digest; list media files only.")
    return _facts(found)


def _read(path: str) -> tuple[str, State | None]:
    """Return the digest and the state it belongs to, None if the file changed while it was read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (as above)
            before = _facts(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = _facts(os.fstat(file.fileno()))
    except FileNotFoundError:
        return MISSING, None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check the file.") from error
    return digest, before if before == after else None


def _facts(found: os.stat_result) -> State:
    # Inode numbers of some network file systems exceed sqlite's signed 64 bits.
    inode = found.st_ino - (1 << 64) if found.st_ino >= 1 << 63 else found.st_ino
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode


def _real_path(path: str, folders: dict[str, str]) -> str:
    """Resolve links with one look at the file, for folders are resolved once."""
    if os.path.islink(path):  # noqa: PTH114
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder or ".")
    return os.path.join(folders[folder], name)  # noqa: PTH118


@contextmanager
def _opened(cache: Path) -> Iterator[sqlite3.Connection]:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(cache, timeout=BUSY_SECONDS)) as database:
            _prepare(database)
            yield database
    except (sqlite3.DatabaseError, OSError) as error:
        raise DataError(
            f"the digest cache {cache} cannot be used ({error}); delete it, or choose a folder"
            " that can be written to."
        ) from error


def _prepare(database: sqlite3.Connection) -> None:
    """Make the table, and a write-ahead log so that readers go on while a process commits."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
            return
        except sqlite3.OperationalError as error:
            # Sqlite does not wait when two processes turn to the write-ahead log at once.
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
