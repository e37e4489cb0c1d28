"""Which numbers of a column compare without a mark, and the highest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leaderboards.rows.notes import measured
from leaderboards.rows.table import Cell, Head, Row, percent


def competes(cell: Cell, head: Head) -> bool:
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


def with_best(rows: Sequence[Row], heads: Sequence[Head]) -> list[Row]:
    """Mark the highest comparable number of every column, and its equals as they are printed."""
    fields = [[competes(row.cells[i], head) for row in rows] for i, head in enumerate(heads)]
    tops: list[str | None] = []
    for i, field in enumerate(fields):
        values = [row.cells[i].value for row, is_in in zip(rows, field, strict=True) if is_in]
        tops.append(percent(max((v for v in values if v is not None), default=None)))
    marked = []
    for r, row in enumerate(rows):
        cells = tuple(
            replace(cell, is_best=field[r] and percent(cell.value) == top)
            for cell, field, top in zip(row.cells, fields, tops, strict=True)
        )
        marked.append(replace(row, cells=cells))
    return marked
