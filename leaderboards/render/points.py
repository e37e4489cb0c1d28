"""The points of the figures of a page: numbers against the size or computation of an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.records.record import Record
from leaderboards.render.encoder_facts import gflops_of
from leaderboards.rows.notes import measured
from leaderboards.rows.paper_facts import USUAL_RESOLUTION
from leaderboards.rows.table import Table, TableCell, TableHead, TableRow

Kind = Literal["encoder", "floor", "published", "other"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A number in percent at `x`, with the ends of its interval; `href` links to its entry."""

    name: str
    kind: Kind
    x: float
    y: float
    low: float
    high: float
    href: str


def parameters(row: TableRow, cell: TableCell) -> float | None:
    """Return the millions of parameters of the encoder of a cell; None if it has none."""
    if cell.value is None and cell.published:
        return cell.published.params_m or None
    record = cell.record or row.record
    return record.encoder.num_parameters / 1e6 or None if record else None


def gflops(row: TableRow, cell: TableCell) -> float | None:
    """Return the GFLOPs per clip of the encoder of a cell; None if they were not counted."""
    record = cell.record or row.record
    return gflops_of(record) if record else None


def points_of(
    table: Table, column: int, x_of: Callable[[TableRow, TableCell], float | None]
) -> list[Point]:
    """Return the points of a column, highest first."""
    head = table.heads[column]
    points = []
    for r, row in enumerate(table.rows):
        cell = row.cells[column]
        x = x_of(row, cell)
        if x is None or row.kind == "chance":
            continue
        name, paper = row.name, cell.published
        if paper:
            is_usual = paper.resolution in (None, USUAL_RESOLUTION)
            name += f" {paper.arch}" if is_usual else f" {paper.arch} {paper.resolution}"
        if cell.value is not None and cell.record is not None:
            ends = (cell.interval.low, cell.interval.high) if cell.interval else (cell.value,) * 2
            points.append(
                Point(
                    name=name,
                    kind=_kind(row, cell.record, head),
                    x=x,
                    y=100 * cell.value,
                    low=100 * ends[0],
                    high=100 * ends[1],
                    href=f"#record-{cell.record.id}",
                )
            )
        if paper:
            y, key = paper.value, f"#paper-{r}-{column}"
            if cell.record is not None:
                name, key = "", f"#record-{cell.record.id}"
            points.append(Point(name=name, kind="published", x=x, y=y, low=y, high=y, href=key))
    return sorted(points, key=lambda point: (-point.y, point.x, point.name))


def _kind(row: TableRow, record: Record, head: TableHead) -> Kind:
    base = head.reference
    if not base or record.protocol.name != head.protocol or measured(record) != measured(base):
        return "other"
    return "floor" if row.kind == "floor" else "encoder"


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that are higher than all to their left."""
    best, kept = float("-inf"), []
    for point in sorted(points, key=lambda p: (p.x, -p.y, p.name)):
        if point.y > best:
            kept.append(point)
            best = point.y
    return kept
