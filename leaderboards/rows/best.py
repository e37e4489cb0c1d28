"""Which numbers of a column compete, and which of them are bold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from bench.records.doubts import not_above_chance
from bench.records.record import Record
from leaderboards.rows.low_shot_parts import Draws
from leaderboards.rows.notes import measured
from leaderboards.rows.table import TableCell, TableHead, TableRow, percent

Cell = TypeVar("Cell", TableCell, Draws)


def is_trusted(record: Record) -> bool:
    """Whether a number may compete: it is complete, and above chance unless it is a floor's."""
    is_floor = record.encoder.is_floor
    at_chance = not_above_chance(record.metrics, record.num_counted, is_floor=is_floor)
    return record.status == "complete" and not at_chance


def competes(cell: TableCell, head: TableHead) -> bool:
    """Whether a cell is compared with the others of its column, for bold print and places.

    It is not if its record measured something else than the column or is not trusted, nor in a
    column that shows how heads were chosen, where a high number is not a merit.
    """
    if cell.record is None or head.reference is None or cell.value is None:
        return False
    if head.column.shows != "metric" or not is_trusted(cell.record):
        return False
    same = cell.record.protocol.name == head.protocol
    return same and measured(cell.record) == measured(head.reference)


def highest(rows: Sequence[Sequence[float | None]]) -> list[list[bool]]:
    """Return whether each number is the highest of its column; None does not compete."""
    columns = zip(*rows, strict=True)
    tops = [max((v for v in column if v is not None), default=None) for column in columns]
    return [[v is not None and v == top for v, top in zip(row, tops, strict=True)] for row in rows]


def bold(
    rows: Sequence[Sequence[float | None]],
    is_floor: Sequence[bool],
    is_open: Sequence[Sequence[bool]] = (),
) -> list[list[bool]]:
    """Return which numbers of every column are bold: the highest and all that tie with it.

    `rows` are the competing numbers as printed (None: it does not compete), `is_floor` says which
    rows are floors, `is_open` which numbers the tests of the table do not find worse than any other
    (empty: no tests); they name ties only if the highest is among them. A floor is never bold, and
    where one is among the best nobody has won.
    """
    columns = []
    top_rows = highest(rows)
    tops, opens = zip(*top_rows, strict=True), zip(*(is_open or top_rows), strict=True)
    for top, left_open in zip(tops, opens, strict=True):
        is_tested = all(left for best, left in zip(top, left_open, strict=True) if best)
        tied = [best or (is_tested and left) for best, left in zip(top, left_open, strict=True)]
        is_won = not any(tie and floor for tie, floor in zip(tied, is_floor, strict=True))
        columns.append([tie and is_won for tie in tied])
    return [list(row) for row in zip(*columns, strict=True)] or [[] for _ in rows]


def as_printed(value: float | None) -> float | None:
    """Return a fraction in percent as printed, so that numbers that read the same tie."""
    text = percent(value)
    return None if text is None else float(text)


def with_best(rows: Sequence[TableRow], heads: Sequence[TableHead]) -> list[TableRow]:
    """Mark the bold numbers of every column, by their places if these are known.

    The place of a floor has been taken into account and is removed.
    """
    values = [
        [
            as_printed(cell.value) if competes(cell, head) else None
            for cell, head in zip(row.cells, heads, strict=True)
        ]
        for row in rows
    ]
    is_floor = [row.kind == "floor" for row in rows]
    is_open = [[cell.rank is not None and cell.rank[0] == 1 for cell in r.cells] for r in rows]
    marks = zip(rows, bold(values, is_floor, is_open), strict=True)
    found = [replace(row, cells=marked(row.cells, is_best)) for row, is_best in marks]
    return [
        replace(row, cells=tuple(replace(cell, rank=None) for cell in row.cells)) if floor else row
        for row, floor in zip(found, is_floor, strict=True)
    ]


def marked(cells: Iterable[Cell], is_best: Iterable[bool]) -> tuple[Cell, ...]:
    """Return the cells of a row, each marked as best or not."""
    return tuple(replace(c, is_best=best) for c, best in zip(cells, is_best, strict=True))
