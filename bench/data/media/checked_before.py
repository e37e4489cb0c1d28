"""What a check found when it decoded a medium, remembered so that a killed check goes on.

One sqlite file for all data sets. A look is remembered for (what was decoded: plan and decoders;
which medium) together with the state of the files, and forgotten when they change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.data.media.content_digest import State, state_of
from bench.data.media.media import Media, place
from bench.errors import DataError

Look = tuple[str, str]  # outcome and reason

_TABLE = """CREATE TABLE IF NOT EXISTS looks (
    what TEXT, medium TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (what, medium)) WITHOUT ROWID"""
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
                "SELECT outcome, reason, size, mtime_ns, ctime_ns, inode FROM looks"
                " WHERE what = ? AND medium = ?",
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
                "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
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
    """Return the state of the files behind media, None where they cannot be looked at.

    An archive is looked at once.
    """
    known: dict[str, State | None] = {}
    states = []
    for medium in media:
        where = str(place(medium))
        if where not in known:
            try:
                known[where] = state_of(medium, where)
            except DataError:  # decoding it will say what is wrong
                known[where] = None
        states.append(known[where])
    return states
