"""Which numbers of a column compare without a mark, and the highest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leaderboards.rows.notes import measured
from leaderboards.rows.table import TableCell, TableHead, TableRow, percent


def competes(cell: TableCell, head: TableHead) -> bool:
    """Say whether a cell may be the best of its column, or hold a place in it.

    It does not if its record measured something else than the column or is not complete, nor in a
    column that shows how heads were chosen: there a high number is no merit.
    """
    if cell.record is None or head.reference is None or cell.value is None:
        return False
    if head.column.shows != "metric" or cell.record.status != "complete":
        return False
    same = cell.record.protocol.name == head.protocol
    return same and measured(cell.record) == measured(head.reference)


def highest(rows: Sequence[Sequence[float | None]]) -> list[list[bool]]:
    """Say of every number whether it is the highest of its column; None does not compete."""
    columns = zip(*rows, strict=True)
    tops = [max((v for v in column if v is not None), default=None) for column in columns]
    return [[v is not None and v == top for v, top in zip(row, tops, strict=True)] for row in rows]


def as_printed(value: float | None) -> float | None:
    """Return a fraction in percent as it is printed: what reads the same is equally good."""
    text = percent(value)
    return None if text is None else float(text)


def with_best(rows: Sequence[TableRow], heads: Sequence[TableHead]) -> list[TableRow]:
    """Mark the highest comparable number of every column, and its equals as they are printed."""
    values = [
        [
            as_printed(cell.value) if competes(cell, head) else None
            for cell, head in zip(row.cells, heads, strict=True)
        ]
        for row in rows
    ]
    marked = []
    for row, own in zip(rows, highest(values), strict=True):
        pairs = zip(row.cells, own, strict=True)
        marked.append(replace(row, cells=tuple(replace(c, is_best=b) for c, b in pairs)))
    return marked
