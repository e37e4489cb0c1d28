"""What printed tables have in common, Markdown and LaTeX alike: grids, their rows, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.rows.sections import Section, sections
from leaderboards.rows.table import Cell, Row, Table, percent

NONE = "–"  # noqa: RUF001 (an en dash, as printed tables have it)
FLOORS = "floors"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A printed table: its sections side by side, and groups of rows that stand apart.

    A group may have a heading. `has_places` says that the first column places the rows, which does
    not go with the order of a paper.
    """

    sections: tuple[Section, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    has_places: bool

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns of the table that stand in the grid."""
        return tuple(i for section in self.sections for i in section.columns)

    def place(self, row: Row) -> str:
        """Return the places that the data leave open to a row in the first column: `2-3`."""
        return place_text(row.cells[self.columns[0]])


def grids(table: Table) -> list[Grid]:
    """Return a grid per section; of a table with facts one grid, whose rows keep their order.

    Rows without any number in a section are left out of its grid, whose own are best first.
    """
    cut = sections(table)
    if table.facts and cut:
        return [_grid(tuple(cut), table.rows)]
    return [_grid((section,), _ordered(table, section)) for section in cut]


def ordered(rows: Sequence[Row], kind: str, column: int) -> list[Row]:
    """Return the rows of a kind, best first by a column; rows without a number there come last."""

    def key(row: Row) -> tuple[float, str]:
        cell = row.cells[column] if column < len(row.cells) else Cell()
        value = cell.value
        if value is None and cell.published is not None:
            value = cell.published.value / 100
        return (1.0 if value is None else -value, row.name)

    return sorted((row for row in rows if row.kind == kind), key=key)


def is_empty(table: Table) -> bool:
    """Say whether no row has a number, or none could have one."""
    columns = range(len(table.heads))
    return not any(has_number(row, columns) for row in table.rows if row.kind != "chance")


def has_number(row: Row, columns: Sequence[int]) -> bool:
    """Say whether a row has a measured or a published number in some column."""
    cells = [row.cells[i] for i in columns]
    return any(cell.value is not None or cell.published is not None for cell in cells)


def margin(cell: Cell) -> float | None:
    """Return how far the interval reaches from the number, on its wider side, as a fraction."""
    if cell.interval is None or cell.value is None:
        return None
    return max(cell.interval.high - cell.value, cell.value - cell.interval.low)


def place_text(cell: Cell) -> str:
    """Return `2`, or `2-3` where the data leave several places open; empty without any."""
    if cell.rank is None:
        return ""
    best, worst = cell.rank
    return str(best) if best == worst else f"{best}-{worst}"


def difference_text(cell: Cell) -> str:
    """Return how far the measured number is above the published one, with its sign: `-0.9`."""
    difference = cell.difference
    assert difference is not None
    text = percent(difference)
    return "0.0" if text in ("0.0", "-0.0") else f"{100 * difference:+.1f}"


def printed(value: float) -> str:
    """Return a published number as a paper prints it, in percent."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.10g}"


def _ordered(table: Table, section: Section) -> list[Row]:
    kinds = ("encoder", "published", "floor", "chance")
    return [
        row
        for kind in kinds
        for row in ordered(table.rows, kind, section.columns[0])
        if has_number(row, section.columns)
    ]


def _grid(cut: tuple[Section, ...], rows: Sequence[Row]) -> Grid:
    """Set floors and chance apart."""
    first = cut[0].columns[0]
    groups = [
        (FLOORS if kind == "floor" else "", tuple(row for row in rows if _apart(row) == kind))
        for kind in ("", "floor", "chance")
    ]
    return Grid(
        sections=cut,
        groups=tuple((heading, own) for heading, own in groups if own),
        has_places=any(row.cells[first].rank for row in rows)
        and not any(row.kind == "published" for row in rows),
    )


def _apart(row: Row) -> str:
    """Return the kind of a row that stands apart, nothing for an encoder."""
    return row.kind if row.kind in ("floor", "chance") else ""
