"""Outcomes of checks, cached so that a killed check resumes.

One sqlite file for all data sets. An outcome is stored by (what was decoded: plan and decoders;
which medium) with the state of the files, and ignored once they change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.data.media.content_digest import State, state_of
from bench.data.media.digest_cache import keep_rows, open_database
from bench.data.media.media import Media, place
from bench.errors import DataError

Look = tuple[str, str]  # outcome and reason

_TABLE = """CREATE TABLE IF NOT EXISTS looks (
    what TEXT, medium TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    outcome TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (what, medium)) WITHOUT ROWID"""


class Looks:
    """The cached outcomes for one way of decoding (`what`)."""

    def __init__(self, database: sqlite3.Connection, what: str) -> None:
        self._database, self._what = database, what

    def known(self, names: Sequence[str], states: Mapping[str, State]) -> dict[str, Look]:
        """Return the (outcome, reason) of media whose files have not changed."""
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
        """Commit the outcomes of media that exist."""
        rows = [
            (self._what, name, *states[name], outcome, reason)
            for name, (outcome, reason) in looks.items()
            if name in states
        ]
        statement = "INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        keep_rows(self._database, statement, rows)


@contextmanager
def remembered_looks(file: Path, what: str) -> Iterator[Looks]:
    """Open the sqlite `file`, which several processes may share.

    Raises:
        DataError: the file is damaged or its folder cannot be written.
    """
    advice = "delete the file, or choose a writable folder with --home"
    with open_database(file, _TABLE, f"the cache of earlier checks {file}", advice) as database:
        yield Looks(database, what)


def states_of(media: Sequence[Media]) -> list[State | None]:
    """Return the state of the files behind media, None if not accessible; each is read once."""
    places = [str(place(medium)) for medium in media]
    known: dict[str, State | None] = dict.fromkeys(places)
    for where, medium in dict(zip(places, media, strict=True)).items():
        with suppress(DataError):  # decoding will report what is wrong
            known[where] = state_of(medium, where)
    return [known[where] for where in places]
