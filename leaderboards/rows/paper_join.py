"""Published rows and measured ones in one table: a paper's row, and ours of that encoder in it.

Rows come in the order of the paper; encoders that it does not have stand below, then floors and
chance. The best published number of a column and the best measured one are marked apart: they
compete with their own kind alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.publish.leaderboard import Leaderboard, PublishedNumber
from bench.publish.missing_runs import why_not_here
from bench.records.record import Result
from leaderboards.rows.join import join
from leaderboards.rows.paper_encoders import is_of
from leaderboards.rows.paper_facts import facts_of_encoder, facts_of_row, titles_of
from leaderboards.rows.table import Cell, Row, Table

Holds = Callable[[PublishedNumber], bool]


def join_published(
    board: Leaderboard,
    records: Sequence[Result],
    *,
    numbers: Sequence[PublishedNumber],
    places: Sequence[Holds],
    include_unreportable: bool = False,
) -> Table:
    """Return the table of a board in whose columns the published numbers stand that `places` say.

    Raises:
        ValueError: a number that belongs into no column or into several, or two of one cell: the
            board has another layout than the table.
    """
    table = join(board, records, include_unreportable=include_unreportable)
    measured = {i: row for i, row in enumerate(table.rows) if row.kind == "encoder"}
    titles = titles_of(numbers)
    rows = []
    for group in rows_of(numbers):
        found = {
            i: row for i, row in measured.items() if row.record and is_of(row.record, group[0])
        }
        # Of several weights of one name the newest stand in the paper's row, the others below.
        own = max(found, key=lambda i: _age(found[i]), default=None)
        mine = measured.pop(own) if own is not None else None
        rows.append(replace(_row(group, places, mine), facts=facts_of_row(group, titles)))
    below = [row for i, row in enumerate(table.rows) if i in measured or row.kind == "floor"]
    below = [replace(row, facts=facts_of_encoder(row.record, titles)) for row in below]
    below += [
        replace(row, facts=facts_of_encoder(None, titles))
        for row in table.rows
        if row.kind == "chance" and any(cell.value is not None for cell in row.cells)
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
    """Return the numbers of every row, rows in the order of the paper.

    A row is a method, its architecture, resolution and pretraining data.
    """
    rows: dict[tuple[object, ...], list[PublishedNumber]] = {}
    for number in numbers:
        key = (number.method, number.arch, number.resolution, number.pretrain_data)
        rows.setdefault(key, []).append(number)
    return list(rows.values())


def _row(group: Sequence[PublishedNumber], places: Sequence[Holds], measured: Row | None) -> Row:
    """Return a published row, with what was measured of its encoder in the same cells."""
    cells = list(measured.cells) if measured else [Cell() for _ in places]
    for number in group:
        columns = [i for i, holds in enumerate(places) if holds(number)]
        if len(columns) != 1 or cells[columns[0]].published is not None:
            raise ValueError(f"{len(columns)} columns for {number}, or its cell is taken")
        cells[columns[0]] = replace(cells[columns[0]], published=number)
    return Row(
        kind="published",
        name=group[0].method,
        record=measured.record if measured else None,
        cells=tuple(cells),
    )


def _age(row: Row) -> tuple[str, str]:
    assert row.record
    return row.record.created, row.record.id


def _with_best_published(rows: Sequence[Row]) -> list[Row]:
    """Mark the highest published number of every column, and its equals."""
    columns = zip(*(row.cells for row in rows), strict=True)
    tops = [max((c.published.value for c in cs if c.published), default=None) for cs in columns]
    marked = []
    for row in rows:
        cells = tuple(
            replace(
                cell,
                published_is_best=cell.published is not None and cell.published.value == top,
            )
            for cell, top in zip(row.cells, tops, strict=True)
        )
        marked.append(replace(row, cells=cells))
    return marked


def _renumbered(rows: Sequence[Row], notes: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Number the footnotes again in the order in which the rows now stand."""
    numbers: dict[int, int] = {}
    for row in rows:
        for cell in row.cells:
            for note in cell.notes:
                numbers.setdefault(note, len(numbers) + 1)
    renumbered = [
        replace(
            row,
            cells=tuple(
                replace(cell, notes=tuple(numbers[note] for note in cell.notes))
                for cell in row.cells
            ),
        )
        for row in rows
    ]
    return renumbered, [notes[old - 1] for old in numbers]


def _remarks(table: Table, rows: Sequence[Row]) -> list[str]:
    """Say which encoders stand in rows of the paper, and what nothing here measures."""
    remarks = []
    beside = [
        f"{row.record.encoder.name} in the row of {row.name}, {row.facts[0].text}"
        if row.facts
        else f"{row.record.encoder.name} in the row of {row.name}"
        for row in rows
        if row.record
    ]
    if beside:
        remarks.append(f"Measured here: {'; '.join(beside)}.")
    reasons: dict[str, list[str]] = {}
    for head in table.heads:
        if reason := why_not_here(head.column):
            reasons.setdefault(reason, []).append(head.column.title)
    remarks += [f"Published only: {', '.join(t)} ({reason})." for reason, t in reasons.items()]
    return remarks
