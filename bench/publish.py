"""From records to the files of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import registry
from bench.errors import UsageError
from bench.records import read_records
from bench.types import Leaderboard, Settings


def write_board(
    name: str,
    home: Path,
    out: Path | None,
    *,
    include_all: bool,
    options: Settings | None = None,
) -> Sequence[Path]:
    """Write the table `name` from the records under `home`; return the files made.

    `options` are those of the table, such as the targets of `low_shot`.

    Raises:
        UsageError: no such table, or no record yet.
    """
    board: Leaderboard = registry.build("boards", name, options or {})
    records = read_records(home / "records")
    if not records:
        raise UsageError(f"there is no record in {home / 'records'} yet: make one with bench run.")
    return board.write(board, records, out or home / "tables", include_unreportable=include_all)
