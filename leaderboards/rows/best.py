"""Which numbers of a column compete, and the highest of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from leaderboards.rows.low_shot_parts import Draws
from leaderboards.rows.notes import measured
from leaderboards.rows.table import TableCell, TableHead, TableRow, percent

Cell = TypeVar("Cell", TableCell, Draws)


def competes(cell: TableCell, head: TableHead) -> bool:
    """Whether a cell can be the best in its column, or have a place in it.

    It cannot if its record measured something else than the column or is not complete, nor in a
    column that shows how heads were chosen, where a high number is not a merit.
    """
    if cell.record is None or head.reference is None or cell.value is None:
        return False
    if head.column.shows != "metric" or cell.record.status != "complete":
        return False
    same = cell.record.protocol.name == head.protocol
    return same and measured(cell.record) == measured(head.reference)


def highest(rows: Sequence[Sequence[float | None]]) -> list[list[bool]]:
    """Return whether each number is the highest of its column; None does not compete."""
    columns = zip(*rows, strict=True)
    tops = [max((v for v in column if v is not None), default=None) for column in columns]
    return [[v is not None and v == top for v, top in zip(row, tops, strict=True)] for row in rows]


def as_printed(value: float | None) -> float | None:
    """Return a fraction in percent as printed, so that numbers that read the same tie."""
    text = percent(value)
    return None if text is None else float(text)


def with_best(rows: Sequence[TableRow], heads: Sequence[TableHead]) -> list[TableRow]:
    """Mark the highest competing number of every column, and those that print the same."""
    values = [
        [
            as_printed(cell.value) if competes(cell, head) else None
            for cell, head in zip(row.cells, heads, strict=True)
        ]
        for row in rows
    ]
    pairs = zip(rows, highest(values), strict=True)
    return [replace(row, cells=marked(row.cells, is_best)) for row, is_best in pairs]


def marked(cells: Iterable[Cell], is_best: Iterable[bool]) -> tuple[Cell, ...]:
    """Return the cells of a row, each marked as best or not."""
    return tuple(replace(c, is_best=best) for c, best in zip(cells, is_best, strict=True))
