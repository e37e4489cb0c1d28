"""A table as Markdown, padded so that columns also line up in a terminal.

A cell is `61.3¹ ±3.8, 3 seeds ±0.4 (60.9, +0.4)`: the number and its footnote, the wider side of
its interval, the spread over seeds, the published number and the difference to it. A number that is
published alone is `80.8†`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from leaderboards.rows.layout import (
    NONE,
    PrintedGrid,
    Sheet,
    difference_text,
    margin,
    printed,
    sheet_of,
)
from leaderboards.rows.table import Table, TableCell, percent

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
DAGGER = "†"
# Of what is markup the signs that texts here may hold; a single one within a word is none.
MARKUP = re.compile(r"[|<`*]|\](?=\()|\\(?=[!-/:-@\[-`{-~])|(?<!\w)_|_(?!\w)")


def markdown(table: Table) -> str:
    """Return a table per section, or one in all where encoders have facts before their numbers."""
    return markdown_of(sheet_of(table))


def markdown_of(sheet: Sheet) -> str:
    """Return a title, the grids, footnotes and legend of a sheet."""
    lines = [f"# {sheet.title}", ""]
    said = [f"{_spoken(sentence)}  " for sentence in sheet.legend]
    if not sheet.grids:
        lines += [sheet.legend[0], *[""] * (len(said) > 1)]
        said = said[1:]
    for grid in sheet.grids:
        if grid.told:
            lines += [*_lines(grid), "", *(f"{line}  " for line in grid.told), ""]
        else:
            [section] = grid.sections
            lines += [f"## {section.title}", "", section.facts, "", *_lines(grid), ""]
    lines += [f"{superscript(i)} {_spoken(note)}  " for i, note in enumerate(sheet.notes, start=1)]
    lines += [""] if sheet.notes else []
    return "\n".join([*lines, *said]) + "\n"


def _aligned(cells: Sequence[TableCell]) -> list[str]:
    """Return the texts of a column, in which digits stand below digits and ± below ±."""
    if all(cell.text for cell in cells):
        return [f"{_number(cell)}{_marks(cell)}" for cell in cells]
    parts = [(_number(cell), _marks(cell), _behind(cell)) for cell in cells]
    marked = max((len(marks) for _, marks, _ in parts), default=0)
    behind = max((len(rest) for _, _, rest in parts), default=0)
    return [f"{own}{marks.ljust(marked)}{rest.ljust(behind)}" for own, marks, rest in parts]


def _padded(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return heading, rule and body of a table whose first `left` columns stand to the left."""
    columns = []
    for i, (title, *texts) in enumerate(zip(*lines, strict=True)):
        pad = str.ljust if i < left else str.rjust
        width = max(3, *map(len, (title, *texts)))
        columns.append([pad(title, width), pad(":", width, "-"), *(pad(t, width) for t in texts)])
    return [f"| {' | '.join(line)} |" for line in zip(*columns, strict=True)]


def escaped(text: str) -> str:
    """Return a text that stands there as it is: it ends no cell and is no markup."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


def _spoken(text: str) -> str:
    """Return a sentence on one line, in which no name opens an HTML element."""
    return " ".join(text.split()).replace("<", "\\<")


def superscript(number: int) -> str:
    """Return a number in raised digits."""
    return str(number).translate(SUPERSCRIPTS)


def _lines(grid: PrintedGrid) -> list[str]:
    columns = zip(*(row.cells for row in grid.rows), strict=True)
    numbers = zip(*map(_aligned, columns), strict=True)
    before = ["#"] * grid.has_places
    rest = [*grid.facts, *map(escaped, grid.titles)]
    lines = [[*before, "encoder", *rest]]
    for heading, group in grid.groups:
        if heading:
            lines.append([*("" for _ in before), f"*{heading}*", *("" for _ in rest)])
        for row in group:
            name, *facts = (escaped(text) for text in (row.name, *(f.text for f in row.facts)))
            name = name if row.kind in ("encoder", "published") else f"*{name}*"
            lines.append([*grid.before(row), name, *facts, *next(numbers)])
    return _padded(lines, left=1 + len(before))


def _number(cell: TableCell) -> str:
    """Return what stands before the marks: the number, or the published one, and bold print."""
    if cell.value is None and cell.published is not None:
        return f"{'**' if cell.published_is_best else ''}{printed(cell.published.value)}"
    return f"{'**' if cell.is_best else ''}{cell.text or percent(cell.value) or NONE}"


def _marks(cell: TableCell) -> str:
    """Return the end of bold print, the dagger of a published number, and footnotes."""
    is_published = cell.value is None and cell.published is not None
    is_best = cell.published_is_best if is_published else cell.is_best
    notes = ",".join(superscript(number) for number in cell.notes)
    return f"{'**' if is_best else ''}{DAGGER if is_published else ''}{notes}"


def _behind(cell: TableCell) -> str:
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
