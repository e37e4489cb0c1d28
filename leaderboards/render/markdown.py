"""A table as Markdown, padded so that columns also line up in a terminal.

A cell is `61.3¹ ±3.8, 3 seeds ±0.4 (60.9, +0.4)`: the number and its footnote, the wider side of
its interval, the spread over seeds, the published number and the difference to it. A number that is
published alone is `80.8†`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from leaderboards.rows.layout import NONE, Grid, difference_text, grids, is_empty, margin, printed
from leaderboards.rows.sections import kept_out, legend
from leaderboards.rows.table import Cell, Row, Table, percent

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
DAGGER = "†"
# Of what is markup the signs that texts here may hold; a single one within a word is none.
MARKUP = re.compile(r"[|<`*]|\](?=\()|\\(?=[!-/:-@\[-`{-~])|(?<!\w)_|_(?!\w)")


def markdown(table: Table) -> str:
    """Return a table per section, or one in all where encoders have facts before their numbers."""
    lines = [f"# {table.title}", ""]
    if is_empty(table):
        return "\n".join([*lines, "No records yet.", *_said(table)]) + "\n"
    for grid in grids(table):
        if table.facts:
            lines += [*_lines(table, grid), "", *_told(table, grid), ""]
        else:
            [section] = grid.sections
            lines += [f"## {section.title}", "", section.facts, "", *_lines(table, grid), ""]
    lines += [f"{superscript(i)} {spoken(note)}  " for i, note in enumerate(table.notes, start=1)]
    lines += [""] if table.notes else []
    lines += [f"{spoken(sentence)}  " for sentence in legend(table)]
    return "\n".join(lines) + "\n"


def _said(table: Table) -> list[str]:
    """Return what is to be said below a table without numbers: what was kept out of it."""
    return (
        ["", *(f"{spoken(sentence)}  " for sentence in kept_out(table))] if kept_out(table) else []
    )


def aligned(cells: Sequence[Cell]) -> list[str]:
    """Return the texts of a column, in which digits stand below digits and ± below ±."""
    parts = [(_number(cell), _marks(cell), _behind(cell)) for cell in cells]
    marked = max((len(marks) for _, marks, _ in parts), default=0)
    behind = max((len(rest) for _, _, rest in parts), default=0)
    return [f"{own}{marks.ljust(marked)}{rest.ljust(behind)}" for own, marks, rest in parts]


def padded_line(texts: Sequence[str], widths: Sequence[int], left: int = 1) -> str:
    """Return a line of a Markdown table, the first columns to the left, the others to the right."""
    padded = [
        text.ljust(width) if i < left else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def padded_table(lines: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return heading, rule and body of a Markdown table, of which the first line is the heading."""
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    rule = [
        ":" + "-" * (width - 1) if i < left else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    return [padded_line(line, widths, left) for line in [lines[0], rule, *lines[1:]]]


def escaped(text: str) -> str:
    """Return a text that stands there as it is: it ends no cell and is no markup."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def spoken(text: str) -> str:
    """Return a sentence on one line, in which no name opens an HTML element."""
    return " ".join(text.split()).replace("<", "\\<")


def superscript(number: int) -> str:
    """Return a number in raised digits."""
    return str(number).translate(SUPERSCRIPTS)


def _lines(table: Table, grid: Grid) -> list[str]:
    rows = [row for _, group in grid.groups for row in group]
    columns = [aligned([row.cells[i] for row in rows]) for i in grid.columns]
    numbers = iter(zip(*columns, strict=True))
    before = ["#"] * grid.has_places
    titles = [escaped(table.heads[i].column.title) for i in grid.columns]
    lines = [[*before, "encoder", *table.facts, *titles]]
    for heading, group in grid.groups:
        if heading:
            rest = len(table.facts) + len(titles)
            lines.append([*("" for _ in before), f"*{heading}*", *[""] * rest])
        for row in group:
            place = [grid.place(row)] if grid.has_places else []
            facts = [escaped(fact.text) for fact in row.facts]
            lines.append([*place, name_text(row), *facts, *next(numbers)])
    return padded_table(lines, left=1 + len(before))


def _told(table: Table, grid: Grid) -> list[str]:
    """Return a line per column that says what it measures."""
    return [
        f"{head.column.title}: {section.title} · {head.column.probe} · {section.facts}  "
        for section in grid.sections
        for head in (table.heads[i] for i in section.columns)
    ]


def name_text(row: Row) -> str:
    """Return the name of a row, in italics if it is a floor or chance."""
    name = escaped(row.name)
    return name if row.kind in ("encoder", "published") else f"*{name}*"


def _number(cell: Cell) -> str:
    """Return what stands before the marks: the number, or the published one, and bold print."""
    if cell.value is None and cell.published is not None:
        return f"{'**' if cell.published_is_best else ''}{printed(cell.published.value)}"
    return f"{'**' if cell.is_best else ''}{percent(cell.value) or NONE}"


def _marks(cell: Cell) -> str:
    """Return the end of bold print, the dagger of a published number, and footnotes."""
    is_published = cell.value is None and cell.published is not None
    is_best = cell.published_is_best if is_published else cell.is_best
    notes = ",".join(superscript(number) for number in cell.notes)
    return f"{'**' if is_best else ''}{DAGGER if is_published else ''}{notes}"


def _behind(cell: Cell) -> str:
    """Return what the number is surrounded by: interval, spread, and what a paper says."""
    published = cell.published
    if cell.value is None:
        return f" ±{printed(published.std)}" if published and published.std is not None else ""
    wide = margin(cell)
    text = "" if wide is None else f" ±{percent(wide)}"
    if cell.seeds:
        spread = f"{cell.seeds.count} {cell.seeds.over} ±{percent(cell.seeds.std)}"
        text += f", {spread}" if text else f" {spread}"
    if published:
        own = printed(published.value)
        own = f"**{own}**" if cell.published_is_best else own
        text += f" ({own}{DAGGER}, {difference_text(cell)})"
    return text
