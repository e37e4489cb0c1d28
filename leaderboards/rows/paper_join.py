"""Published and measured rows in one table; our numbers of a paper's encoder go into its row.

Rows are in the order of the paper, followed by encoders that it does not have, floors and chance.
The best published and the best measured number of a column are marked separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.publish.leaderboard import Leaderboard, PublishedNumber
from bench.publish.missing_runs import why_not_here
from bench.records.record import Record
from leaderboards.rows.best import highest
from leaderboards.rows.join import join
from leaderboards.rows.paper_encoders import is_of
from leaderboards.rows.paper_facts import facts_of_encoder, facts_of_row, titles_of
from leaderboards.rows.table import Table, TableCell, TableRow, age, grouped

Place = tuple[str, str, str, float, str]


def place_of(number: PublishedNumber) -> Place:
    """Return what the numbers of one column have in common."""
    return number.task, number.views, number.probe, number.train_fraction, number.metric


def join_published(
    board: Leaderboard,
    records: Sequence[Record],
    *,
    numbers: Sequence[PublishedNumber],
    places: Sequence[Place],
    include_unreportable: bool = False,
) -> Table:
    """Return the table of a board whose columns have the published numbers of `places`.

    Raises:
        ValueError: a number belongs to no column or to several, or its cell is taken: the layout
            of the board does not match the paper's table.
    """
    table = join(board, records, include_unreportable=include_unreportable)
    measured = {i: row for i, row in enumerate(table.rows) if row.kind == "encoder"}
    titles = titles_of(numbers)
    rows = []
    for group in rows_of(numbers):
        found = {
            age(row.record): i
            for i, row in measured.items()
            if row.record and is_of(row.record, group[0])
        }
        # Of several weights of one name, the newest go into the paper's row, the others below.
        mine = measured.pop(found[max(found)]) if found else None
        rows.append(replace(_row(group, places, mine), facts=facts_of_row(group, titles)))
    below = [
        replace(row, facts=facts_of_encoder(row.record, titles))
        for i, row in enumerate(table.rows)
        if i in measured or row.kind != "encoder"
    ]
    every, notes = _renumbered([*_with_best_published(rows), *below], table.notes)
    return replace(
        table,
        rows=tuple(every),
        notes=tuple(notes),
        facts=titles,
        remarks=(*_remarks(table, rows), *table.remarks),
    )


def rows_of(numbers: Sequence[PublishedNumber]) -> list[list[PublishedNumber]]:
    """Group numbers by row (method, architecture, resolution, pretraining data), in paper order."""
    rows = grouped(numbers, lambda n: (n.method, n.arch, n.resolution, n.pretrain_data))
    return list(rows.values())


def _row(
    group: Sequence[PublishedNumber], places: Sequence[Place], measured: TableRow | None
) -> TableRow:
    """Return a published row, with our numbers of its encoder in the same cells."""
    cells = list(measured.cells) if measured else [TableCell() for _ in places]
    for number in group:
        columns = [i for i, place in enumerate(places) if place == place_of(number)]
        if len(columns) != 1 or cells[columns[0]].published is not None:
            raise ValueError(f"{number} fits {len(columns)} columns, or its cell is taken")
        cells[columns[0]] = replace(cells[columns[0]], published=number)
    return TableRow(
        kind="published",
        name=group[0].method,
        record=measured.record if measured else None,
        cells=tuple(cells),
    )


def _with_best_published(rows: Sequence[TableRow]) -> list[TableRow]:
    """Mark the highest published number of every column, and its equals."""
    values = [[c.published.value if c.published else None for c in row.cells] for row in rows]
    changed = []
    for row, is_best in zip(rows, highest(values), strict=True):
        pairs = zip(row.cells, is_best, strict=True)
        changed.append(replace(row, cells=tuple(replace(c, published_is_best=b) for c, b in pairs)))
    return changed


def _renumbered(rows: Sequence[TableRow], notes: Sequence[str]) -> tuple[list[TableRow], list[str]]:
    used = dict.fromkeys(note for row in rows for cell in row.cells for note in cell.notes)
    numbers = {note: i for i, note in enumerate(used, start=1)}

    def renumbered(cell: TableCell) -> TableCell:
        return replace(cell, notes=tuple(numbers[note] for note in cell.notes))

    changed = [replace(row, cells=tuple(map(renumbered, row.cells))) for row in rows]
    return changed, [notes[note - 1] for note in used]


def _remarks(table: Table, rows: Sequence[TableRow]) -> list[str]:
    """List our encoders in rows of the paper, and the columns that nothing here measures."""
    remarks = []
    measured = [
        f"{row.record.encoder.name} in the row of {', '.join([row.name, *first])}"
        for row in rows
        for first in [[fact.text for fact in row.facts[:1]]]
        if row.record
    ]
    if measured:
        remarks.append(f"Measured here: {'; '.join(measured)}.")
    reasons: dict[str, list[str]] = {}
    for head in table.heads:
        if reason := why_not_here(head.column):
            reasons.setdefault(reason, []).append(head.column.title)
    remarks += [f"Published only: {', '.join(t)} ({reason})." for reason, t in reasons.items()]
    return remarks
