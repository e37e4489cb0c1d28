"""The layout that Markdown and LaTeX share: grids, their rows and cell texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from leaderboards.rows.sections import Section, kept_out, legend, sections
from leaderboards.rows.table import Table, TableCell, TableRow, percent

NONE = "–"  # noqa: RUF001 (an en dash, as printed tables have it)
FLOORS = "floors"


@dataclass(frozen=True, kw_only=True)
class PrintedGrid:
    """A printed table: sections side by side, and separate groups of rows with optional headings.

    Rows have one cell per title; `descriptions` say what the columns measure if the sections do
    not. `has_places`: the first column has places, which tables in the order of a paper do not
    show. `is_spanned`: sections have titles above their columns.
    """

    sections: tuple[Section, ...]
    titles: tuple[str, ...]
    groups: tuple[tuple[str, tuple[TableRow, ...]], ...]
    facts: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    has_places: bool = False
    is_spanned: bool = True

    @property
    def rows(self) -> list[TableRow]:
        """The rows of all groups."""
        return [row for _, group in self.groups for row in group]

    def before(self, row: TableRow) -> list[str]:
        """Return the places of a row in the first column, if the grid shows them: `2-3`."""
        return [place_text(row.cells[0])] * self.has_places


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What Markdown and LaTeX print: grids, footnotes, and a legend; without any grid its first
    sentence says why.
    """

    name: str
    title: str
    grids: tuple[PrintedGrid, ...]
    notes: tuple[str, ...]
    legend: tuple[str, ...]


def sheet_of(table: Table) -> Sheet:
    """Return a sheet with a grid per section, rows without a number omitted and the best first; a
    table with facts becomes one grid in its own order.
    """
    cut = [] if is_empty(table) else sections(table)
    if table.facts and cut:
        grids = [_grid(table, tuple(cut), table.rows)]
    else:
        grids = [_grid(table, (section,), _ordered(table.rows, section.columns)) for section in cut]
    empty = ["No records yet.", *kept_out(table.hidden, table.refused)]
    return Sheet(
        name=table.name,
        title=table.title,
        grids=tuple(grids),
        notes=table.notes,
        legend=tuple(legend(table) if grids else empty),
    )


def ordered(rows: Sequence[TableRow], kind: str, column: int) -> list[TableRow]:
    """Return the rows of a kind, best first by a column, rows without a number last."""

    def key(row: TableRow) -> tuple[float, str]:
        cell = row.cells[column] if column < len(row.cells) else TableCell()
        value = cell.value
        if value is None and cell.published is not None:
            value = cell.published.value / 100
        return (1.0 if value is None else -value, row.name)

    return sorted((row for row in rows if row.kind == kind), key=key)


def is_empty(table: Table) -> bool:
    """Whether no row except chance has a number."""
    columns = range(len(table.heads))
    return not any(has_number(row, columns) for row in table.rows if row.kind != "chance")


def has_number(row: TableRow, columns: Sequence[int]) -> bool:
    """Whether a row has a measured or published number in some column."""
    cells = [row.cells[i] for i in columns]
    return any(cell.value is not None or cell.published is not None for cell in cells)


def margin(cell: TableCell) -> float | None:
    """Return the width of the wider side of the interval, as a fraction."""
    if cell.interval is None or cell.value is None:
        return None
    return max(cell.interval.high - cell.value, cell.value - cell.interval.low)


def place_text(cell: TableCell) -> str:
    """Return `2`, or `2-3` if the data allow several places; empty without any."""
    if cell.rank is None:
        return ""
    best, worst = cell.rank
    return str(best) if best == worst else f"{best}-{worst}"


def difference_text(cell: TableCell) -> str:
    """Return measured minus published number with its sign: `-0.9`."""
    difference = cell.difference
    assert difference is not None
    text = percent(difference)
    return "0.0" if text in ("0.0", "-0.0") else f"{100 * difference:+.1f}"


def printed(value: float) -> str:
    """Return a published number in percent as printed."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:.10g}"


def _ordered(rows: Sequence[TableRow], columns: Sequence[int]) -> list[TableRow]:
    kinds = ("encoder", "published", "floor", "chance")
    by_kind = (row for kind in kinds for row in ordered(rows, kind, columns[0]))
    return [row for row in by_kind if has_number(row, columns)]


def _grid(table: Table, cut: tuple[Section, ...], rows: Sequence[TableRow]) -> PrintedGrid:
    places = [(section, i) for section in cut for i in section.columns]
    cut_rows = [replace(row, cells=tuple(row.cells[i] for _, i in places)) for row in rows]
    columns = [(section, table.heads[i].column) for section, i in places]
    return PrintedGrid(
        sections=cut,
        titles=tuple(column.title for _, column in columns),
        groups=groups_of(cut_rows),
        facts=table.facts,
        descriptions=tuple(f"{c.title}: {s.title} · {c.probe} · {s.facts}" for s, c in columns)
        if table.facts
        else (),
        has_places=any(row.cells[0].rank for row in cut_rows)
        and not any(row.kind == "published" for row in cut_rows),
    )


def groups_of(rows: Sequence[TableRow]) -> tuple[tuple[str, tuple[TableRow, ...]], ...]:
    """Separate floors and chance, each in the given order."""
    groups = [
        (heading, tuple(row for row in rows if row.kind in kinds))
        for heading, kinds in (
            ("", ("encoder", "published")), (FLOORS, ("floor",)), ("", ("chance",)),
        )
    ]  # fmt: skip
    return tuple((heading, members) for heading, members in groups if members)
