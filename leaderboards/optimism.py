"""What choosing a head on the scored rows would add: honest and best-on-validation side by side.

Many published evaluations report the best of a sweep of heads on the validation set itself. Here
both numbers come from the same fits, on the training rows that were not held out; the honest head
was chosen on the held-out rows before any row was scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from bench.publish.leaderboard import Leaderboard, Shows
from bench.records.record import Record
from bench.registry import board
from leaderboards.render.write_all import write
from leaderboards.rows.join import columns_of, join
from leaderboards.rows.table import Table, TableHead

TITLES: Mapping[Shows, str] = {"honest": "{}: honest", "best_on_score": "best", "gap": "gap"}


@board
def optimism() -> Leaderboard:
    """Honest selection against the best head on the scored rows, for every task and probe."""
    return Leaderboard(
        name="optimism",
        title="What choosing on the scored rows would add",
        columns=(),
        write=partial(write, make=with_gaps),
    )


def with_gaps(
    board: Leaderboard, records: Sequence[Record], *, include_unreportable: bool = False
) -> Table:
    """Return the table of all records that know the gap: head chosen honestly among several."""
    known = [record for record in records if record.optimism]
    shown = [r for r in known if include_unreportable or r.status != "not_reportable"]
    columns = [
        replace(column, title=title.format(column.probe), shows=shows)
        for column in columns_of(shown)
        for shows, title in TITLES.items()
    ]
    made = replace(board, columns=columns)
    table = join(made, known, include_unreportable=include_unreportable)
    heads = tuple(_counted(table, i) for i in range(len(table.heads)))
    return replace(table, heads=heads)


def _counted(table: Table, place: int) -> TableHead:
    """Return the head of a column; the title of `best` gets the number of heads in the sweeps."""
    head = table.heads[place]
    records = [row.cells[place].record for row in table.rows]
    counts = {record.optimism.heads for record in records if record and record.optimism}
    if head.column.shows != "best_on_score" or not counts:
        return head
    least, most = min(counts), max(counts)
    heads = f"{most}" if least == most else f"{least} to {most}"
    return replace(head, column=replace(head.column, title=f"best of {heads}"))
