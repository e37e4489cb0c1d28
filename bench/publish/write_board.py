"""From records to the files of a table: all are verified first, and those that fail left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench import registry
from bench.contracts import TEXT, Members, check_members, is_many, takes
from bench.errors import UsageError
from bench.files import is_read_only
from bench.publish.leaderboard import Column, Leaderboard, TableWriter
from bench.types import Settings
from bench.verify.verify_records import marked, verify_folder

BOARD: Members = {
    **dict.fromkeys(("name", "title"), TEXT),
    "columns": (lambda value: not value or is_many(Column)(value), "a sequence of bench.Column"),
}

WRITER: Members = {
    "write": (
        takes(None, None, None, include_unreportable=None),
        "a function (board, records, folder, *, include_unreportable)",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """The files of a table, and one sentence per record that failed verification."""

    paths: Sequence[Path]
    refused: tuple[str, ...]


def write_board(
    name: str,
    home: Path,
    out: Path | None,
    *,
    include_all: bool,
    options: Settings | None = None,
) -> Published:
    """Write the table `name` from the verified records under `home`.

    A record that fails verification is left out, and the table says so; one that fails a control is
    marked as suspect. `options` are those of the table, such as the targets of `low_shot`. Without
    `out` the files are in `home/tables`, or in a new temporary folder if `home` is read-only.

    Raises:
        UsageError: no such table, or no records for one without published rows.
    """
    board: Leaderboard = registry.build("boards", name, options or {})
    require_board(name, board)
    folder = home / "records"
    verdicts = verify_folder(folder, home / "cache") if folder.is_dir() else []
    if not verdicts and not board.has_published:
        raise UsageError(f"there are no records in {folder}: run an evaluation first.")
    refused = tuple(
        f"{verdict.path.name} failed verification: {'; '.join(verdict.reasons('failed'))}"
        for verdict in verdicts
        if verdict.status == "failed"
    )
    records = [marked(verdict) for verdict in verdicts if verdict.status != "failed"]
    records.sort(key=lambda record: (record.created, record.id))
    board = replace(board, records=folder, refused=refused)
    write = writer_of(board)
    if out is None:
        out = Path(mkdtemp(prefix="bench-tables-")) if is_read_only(home) else home / "tables"
    paths = write(board, records, out, include_unreportable=include_all)
    return Published(paths=paths, refused=refused)


def require_board(name: str, board: Any) -> None:
    """Check a table; its writer is optional.

    Raises:
        UsageError: a member is missing or of the wrong type.
    """
    check_members(f"board {name!r}", board, BOARD, kind=Leaderboard)
    if getattr(board, "write", None) is not None:
        check_members(f"board {name!r}", board, WRITER)


def writer_of(board: Leaderboard) -> TableWriter:
    """Return the writer of a board: its own, or that of the board `runs`."""
    default: Leaderboard = registry.build("boards", "runs", {})
    write = board.write or default.write
    assert write
    return write
