"""A table as LaTeX: a `table` with a booktabs `tabular` per section, to paste into a paper.

It needs only `\\usepackage{booktabs,graphicx}`; tables wider than the text are scaled down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from leaderboards.rows.layout import PrintedGrid, Sheet, difference_text, margin, printed
from leaderboards.rows.table import TableCell, percent

NEEDS = "% Needs \\usepackage{booktabs,graphicx}."
SHRUNK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
SPECIAL = {
    "\0": "{}",
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "–": "--", "—": "---", "−": "$-$", "·": r"$\cdot$", "±": r"$\pm$", "×": r"$\times$",  # noqa: RUF001
    "†": r"$^\dagger$", "≤": r"$\leq$", "≥": r"$\geq$", "²": "$^2$", "³": "$^3$", "…": r"\ldots{}",
}  # fmt: skip
LAST_LATIN = 0x17F  # the last letter that LaTeX prints without further packages
PLAIN_ENDS = 0x7F


def latex_of(sheet: Sheet) -> str:
    """Return a floating table per grid, with its caption above and notes and legend below."""
    if not sheet.grids:
        return "".join(f"% {_one_line(text)}\n" for text in [sheet.title, *sheet.legend])
    name = "".join(s if s.isascii() and s.isalnum() else "-" for s in sheet.name)
    numbered = enumerate(sheet.grids, start=1)
    return "\n".join([NEEDS, *(_table(sheet, grid, f"tab:{name}-{n}") for n, grid in numbered)])


def _table(sheet: Sheet, grid: PrintedGrid, label: str) -> str:
    sections = " ".join(escaped(f"{s.title}: {s.facts}.") for s in grid.sections)
    before = [r"\#"] * grid.has_places
    rest = [*map(escaped, grid.facts), *map(escaped, grid.titles)]
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escaped(sheet.title)}. {sections}}}",
        rf"\label{{{label}}}",
        SHRUNK,
        rf"\begin{{tabular}}{{{'r' * len(before)}l{'r' * len(rest)}}}",
        r"\toprule",
    ]
    if grid.is_spanned:
        lines += _spanned(grid, 1 + len(before) + len(grid.facts))
    lines.append(_line([*before, "Encoder", *rest]))
    for heading, group in grid.groups:
        lines.append(r"\midrule")
        if heading:
            lines.append(
                _line([*("" for _ in before), rf"\emph{{{heading}}}", *("" for _ in rest)])
            )
        for row in group:
            name, *facts = (escaped(text) for text in (row.name, *(f.text for f in row.facts)))
            name = name if row.kind in ("encoder", "published") else rf"\emph{{{name}}}"
            places = [text.replace("-", "--") for text in grid.before(row)]
            lines.append(_line([*places, name, *facts, *map(_cell, row.cells)]))
    lines += [r"\bottomrule", r"\end{tabular}}"]
    used = sorted({n for row in grid.rows for cell in row.cells for n in cell.notes})
    below = [f"$^{{{n}}}$ {escaped(sheet.notes[n - 1])}" for n in used]
    below += map(escaped, sheet.legend)
    if below:
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
        lines += [rf"{sentence}\par" for sentence in below]
        lines.append(r"\end{minipage}")
    return "\n".join([*lines, r"\end{table}", ""])


def escaped(text: str) -> str:
    """Escape a text for LaTeX; characters that need a package are printed as `[U+...]`."""
    split = re.sub("-(?=-)", "-\0", _one_line(text))  # two hyphens would become a dash
    return "".join(map(_character, split))


def _one_line(text: str) -> str:
    """Return a text without line breaks, which would end a comment or paragraph."""
    return " ".join(text.split())


def _bold(text: str, is_best: bool) -> str:
    return rf"\textbf{{{text}}}" if is_best else text


def _character(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    code = ord(char)
    return char if 31 < code < PLAIN_ENDS or 0xA0 < code <= LAST_LATIN else f"[U+{code:04X}]"


def _cell(cell: TableCell) -> str:
    published = cell.published
    notes = f"$^{{{','.join(map(str, cell.notes))}}}$" if cell.notes else ""
    if cell.text:
        return _bold(escaped(cell.text), cell.is_best) + notes
    dagger = r"$^\dagger$"
    paper = _bold(printed(published.value), cell.published_is_best) if published else ""
    if cell.value is None:
        std = "" if published is None or published.std is None else _small(printed(published.std))
        return f"{paper}{dagger}{notes}{std}" if published else "--"
    wide = margin(cell)
    text = _bold(percent(cell.value) or "", cell.is_best) + notes
    text += "" if wide is None else _small(percent(wide) or "")
    if cell.seeds:
        text += f" ({cell.seeds.count} {cell.seeds.over}{_small(percent(cell.seeds.std) or '')})"
    if published:
        text += (
            f" ({paper}{dagger}, {difference_text(cell).replace('-', '$-$').replace('+', '$+$')})"
        )
    return text


def _small(text: str) -> str:
    return rf"{{\scriptsize\,$\pm$\,{text}}}"


def _line(cells: Sequence[str]) -> str:
    # After a line break or rule, a bracket or asterisk would be parsed as its option.
    first = f"{{}}{cells[0]}" if cells[0].startswith(("[", "*")) else cells[0]
    return " & ".join([first, *cells[1:]]) + r" \\"


def _spanned(grid: PrintedGrid, start: int) -> list[str]:
    """Return the titles of the sections above their columns, with a rule below each."""
    cells, rules = [rf"\multicolumn{{{start}}}{{c}}{{}}"], []
    for section in grid.sections:
        count = len(section.columns)
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{escaped(section.title)}}}")
        rules.append(rf"\cmidrule(lr){{{start + 1}-{start + count}}}")
        start += count
    return [" & ".join(cells) + r" \\", " ".join(rules)]
