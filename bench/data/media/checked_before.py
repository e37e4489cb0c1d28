"""What a check found when it decoded a medium, remembered so that a killed check goes on.

One sqlite file for all data sets. A look is remembered for (what was decoded: plan and decoders;
which medium) together with the state of the files, and forgotten when they change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.data.media.content_digest import State, state_of
from bench.data.media.digest_cache import open_notes
from bench.data.media.media import Media, place
from bench.errors import DataError

Look = tuple[str, str]  # outcome and reason

_TABLE = """CREATE TABLE IF NOT EXISTS looks (
    what TEXT, medium TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (what, medium)) WITHOUT ROWID"""


class Looks:
    """The remembered looks for one way of decoding (`what`)."""

    def __init__(self, database: sqlite3.Connection, what: str) -> None:
        self._database, self._what = database, what

    def known(self, names: Sequence[str], states: Mapping[str, State]) -> dict[str, Look]:
        """Return (outcome, reason) of those media whose files are as they were."""
        query = (
            "SELECT outcome, reason FROM looks WHERE what = ? AND medium = ?"
            " AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ?"
        )
        rows = {
            name: self._database.execute(query, (self._what, name, *states[name])).fetchone()
            for name in names
            if name in states
        }
        return {name: row for name, row in rows.items() if row is not None}

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
    advice = "delete the file, or choose a folder that can be written to with --home"
    with open_notes(file, _TABLE, f"the notes of earlier checks, {file},", advice) as database:
        yield Looks(database, what)


def states_of(media: Sequence[Media]) -> list[State | None]:
    """Return the state of the files behind media, None where they cannot be looked at.

    An archive is looked at once.
    """
    places = [str(place(medium)) for medium in media]
    known: dict[str, State | None] = dict.fromkeys(places)
    for where, medium in dict(zip(places, media, strict=True)).items():
        with suppress(DataError):  # decoding it will say what is wrong
            known[where] = state_of(medium, where)
    return [known[where] for where in places]
