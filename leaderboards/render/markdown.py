"""A table as Markdown, padded so that columns also align in a terminal.

A cell is `61.3¹ ±3.8, 3 seeds ±0.4 (60.9, +0.4)`: the number and its footnote, the wider side of
its interval, the spread over seeds, the published number and the difference from it. A number that
is only published is `80.8†`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench.errors import visible
from leaderboards.rows.layout import (
    NONE,
    PrintedGrid,
    Sheet,
    difference_text,
    margin,
    printed,
)
from leaderboards.rows.table import TableCell, percent

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
DAGGER = "†"
# Markup characters that our texts may contain; an underscore within a word is not markup.
MARKUP = re.compile(r"[|<`*]|\](?=\()|\\(?=[!-/:-@\[-`{-~])|(?<!\w)_|_(?!\w)")


def markdown_of(sheet: Sheet) -> str:
    """Return title, grids, footnotes and legend of a sheet."""
    lines = [f"# {sheet.title}", ""]
    for grid in sheet.grids:
        if grid.descriptions:
            lines += [*_lines(grid), "", *(f"{line}  " for line in grid.descriptions), ""]
        else:
            [section] = grid.sections
            lines += [f"## {section.title}", "", section.facts, "", *_lines(grid), ""]
    lines += [f"{superscript(i)} {_sentence(n)}  " for i, n in enumerate(sheet.notes, start=1)]
    lines += [""] if sheet.notes else []
    return "\n".join([*lines, *(f"{_sentence(text)}  " for text in sheet.legend)]) + "\n"


def _aligned(cells: Sequence[TableCell]) -> list[str]:
    if all(cell.text for cell in cells):
        return [f"{_number(cell)}{_marks(cell)}" for cell in cells]
    parts = [(_number(cell), _marks(cell), _behind(cell)) for cell in cells]
    marked = max((len(marks) for _, marks, _ in parts), default=0)
    behind = max((len(rest) for _, _, rest in parts), default=0)
    return [f"{number}{marks.ljust(marked)}{rest.ljust(behind)}" for number, marks, rest in parts]


def _padded(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return heading, rule and body of a table; its first `left` columns are left-aligned."""
    columns = []
    for i, (title, *texts) in enumerate(zip(*lines, strict=True)):
        pad = str.ljust if i < left else str.rjust
        width = max(3, *map(len, (title, *texts)))
        columns.append([pad(title, width), pad(":", width, "-"), *(pad(t, width) for t in texts)])
    return [f"| {' | '.join(line)} |" for line in zip(*columns, strict=True)]


def escaped(text: str) -> str:
    """Escape markup, line breaks and control characters, so that a cell shows a text verbatim."""
    return MARKUP.sub(r"\\\g<0>", visible(" ".join(text.split())))


def _sentence(text: str) -> str:
    """Return a sentence on one line, with `<` escaped so that no name opens an HTML element."""
    return " ".join(text.split()).replace("<", "\\<")


def superscript(number: int) -> str:
    """Return a number in superscript digits."""
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
    """Return the measured or else the published number, with the start of bold."""
    if cell.value is None and cell.published is not None:
        return f"{'**' if cell.published_is_best else ''}{printed(cell.published.value)}"
    return f"{'**' if cell.is_best else ''}{cell.text or percent(cell.value) or NONE}"


def _marks(cell: TableCell) -> str:
    """Return the end of bold, the dagger of a published number, and footnotes."""
    is_published = cell.value is None and cell.published is not None
    is_best = cell.published_is_best if is_published else cell.is_best
    notes = ",".join(superscript(number) for number in cell.notes)
    return f"{'**' if is_best else ''}{DAGGER if is_published else ''}{notes}"


def _behind(cell: TableCell) -> str:
    """Return what follows a number: interval, spread and published number."""
    published = cell.published
    if cell.value is None:
        return f" ±{printed(published.std)}" if published and published.std is not None else ""
    wide = margin(cell)
    text = "" if wide is None else f" ±{percent(wide)}"
    if cell.seeds:
        spread = f"{cell.seeds.count} {cell.seeds.over} ±{percent(cell.seeds.std)}"
        text += f", {spread}" if text else f" {spread}"
    if published:
        number = printed(published.value)
        number = f"**{number}**" if cell.published_is_best else number
        text += f" ({number}{DAGGER}, {difference_text(cell)})"
    return text
