"""What choosing a head on the scored rows would add: honest and best-on-validation side by side.

Many published evaluations report the best of a sweep of heads on the validation set itself. Here
both numbers are of the same fits: those on the training rows that were not held out, of which one
head was chosen on the held-out rows before any row was scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.registry import board
from bench.result import Result
from bench.types import Column, Leaderboard, Shows
from leaderboards.join import columns_of, join
from leaderboards.render import write_table
from leaderboards.table import Table


@board
def optimism() -> Leaderboard:
    """Honest selection against the best head on the scored rows, for every task and probe."""
    return Leaderboard(
        name="optimism",
        title="What choosing on the scored rows would add",
        columns=(),
        write=write,
    )


def write(
    board: Leaderboard,
    records: Sequence[Result],
    folder: Path,
    *,
    include_unreportable: bool = False,
) -> list[Path]:
    """Write the files of `write_table` with honest, best and gap of every task and probe."""
    table = with_gaps(board, records, include_unreportable=include_unreportable)
    return write_table(table, folder, kept=board.records, records=records)


def with_gaps(
    board: Leaderboard, records: Sequence[Result], *, include_unreportable: bool = False
) -> Table:
    """Return the table of all records whose head was chosen honestly among several.

    Records that say nothing of the gap have no place in it.
    """
    known = [record for record in records if record.optimism]
    shown = [r for r in known if include_unreportable or r.status != "not_reportable"]
    columns = [column for own in columns_of(shown) for column in _three(own, shown)]
    if not columns:
        return Table(
            name=board.name,
            title=board.title,
            heads=(),
            rows=(),
            notes=(),
            hidden=len(known),
            refused=board.refused,
        )
    made = replace(board, columns=columns)
    return join(made, known, include_unreportable=include_unreportable)


def _three(column: Column, records: Sequence[Result]) -> list[Column]:
    """Return the columns of one task, protocol and probe; the best one's title counts the heads."""
    counts = {
        record.optimism.heads
        for record in records
        if record.optimism
        and (record.task.name, record.probe.name, record.protocol.name)
        == (column.task, column.probe, column.protocol)
    }
    least, most = min(counts), max(counts)
    heads = f"{most}" if least == most else f"{least} to {most}"
    titles: dict[Shows, str] = {
        "honest": f"{column.probe}: honest",
        "best_on_score": f"best of {heads}",
        "gap": "gap",
    }
    return [replace(column, title=title, shows=shows) for shows, title in titles.items()]
