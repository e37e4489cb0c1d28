"""What a check found when it decoded a medium, remembered so that a killed check goes on.

One sqlite file for all data sets. A look is remembered for (what was decoded: plan and decoders;
which medium) together with the state of the files, and forgotten when they change.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.data.media import Cell, FrameFolder, Media, Member
from bench.errors import DataError

Look = tuple[str, str]  # outcome and reason
State = tuple[int, int]  # size and modification time; of a folder, pictures and the latest time

_TABLE = """CREATE TABLE IF NOT EXISTS looks (
    what TEXT, medium TEXT, size INTEGER, mtime_ns INTEGER, outcome TEXT NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (what, medium)) WITHOUT ROWID"""
BUSY_SECONDS = 120.0


class Looks:
    """The remembered looks for one way of decoding (`what`)."""

    def __init__(self, database: sqlite3.Connection, what: str) -> None:
        self._database, self._what = database, what

    def known(self, names: Sequence[str], states: Mapping[str, State]) -> dict[str, Look]:
        """Return (outcome, reason) of those media whose files are as they were."""
        found = {}
        for name in names:
            row = self._database.execute(
                "SELECT outcome, reason, size, mtime_ns FROM looks WHERE what = ? AND medium = ?",
                (self._what, name),
            ).fetchone()
            if row is not None and name in states and tuple(row[2:]) == states[name]:
                found[name] = (str(row[0]), str(row[1]))
        return found

    def remember(self, looks: Mapping[str, Look], states: Mapping[str, State]) -> None:
        """Commit the outcomes of media that are there."""
        rows = [
            (self._what, name, *states[name], outcome, reason)
            for name, (outcome, reason) in looks.items()
            if name in states
        ]
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?)", rows
            )


@contextmanager
def remembered_looks(file: Path, what: str) -> Iterator[Looks]:
    """Open the sqlite `file`; several processes may share it.

    Raises:
        DataError: the file is damaged or its folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as database:
            database.execute(_TABLE)
            yield Looks(database, what)
    except (sqlite3.DatabaseError, OSError) as error:
        raise DataError(
            f"the notes of earlier checks, {file}, cannot be used ({error}); delete the file, or"
            " choose a folder that can be written to with --home."
        ) from error


def states_of(media: Sequence[Media]) -> list[State | None]:
    """Return the state of the files behind media; an archive is looked at once."""
    archives: dict[Path, State | None] = {}
    states = []
    for medium in media:
        if not isinstance(medium, Member | Cell):
            states.append(state_of(medium))
            continue
        if medium.archive not in archives:
            archives[medium.archive] = state_of(medium.archive)
        states.append(archives[medium.archive])
    return states


def state_of(medium: Path | FrameFolder) -> State | None:
    """Return the state of the files behind a medium, None if they are not there."""
    try:
        if isinstance(medium, FrameFolder):
            with os.scandir(medium.path) as entries:
                times = [entry.stat().st_mtime_ns for entry in entries]
            return len(times), max(times, default=0)
        found = medium.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
