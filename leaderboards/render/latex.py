"""A table as LaTeX: a `table` with a booktabs `tabular` per section, to be put into a paper.

It needs `\\usepackage{booktabs,graphicx}` and nothing else; a table that is wider than the text is
made smaller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.rows.layout import Grid, difference_text, grids, is_empty, margin, printed
from leaderboards.rows.sections import kept_out, legend
from leaderboards.rows.table import Cell, Row, Table, percent

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
LAST_LATIN = 0x17F  # what every LaTeX sets without a further package
PLAIN_ENDS = 0x7F


@dataclass(frozen=True, kw_only=True)
class Tabular:
    """What a LaTeX table holds; every text is LaTeX already.

    `spec` are the columns of `tabular`, `head` and the lines of `groups` their cells, `above` what
    stands over how many columns in turn, and `rules` the first and last column below each of these.
    """

    caption: str
    label: str
    spec: str
    above: Sequence[tuple[int, str]]
    head: Sequence[str]
    groups: Sequence[Sequence[Sequence[str]]]
    below: Sequence[str]


def latex_text(table: Table) -> str:
    """Return the tables of all sections; of a table with facts one."""
    if is_empty(table):
        said = ["No records yet.", *kept_out(table)]
        return "\n".join([f"% {one_line(table.title)}", *(f"% {one_line(s)}" for s in said), ""])
    texts = [set_table(_tabular(table, grid, n)) for n, grid in enumerate(grids(table), start=1)]
    return "\n".join([NEEDS, *texts])


def set_table(own: Tabular) -> str:
    """Return a floating table with its caption above and what is to be said below it."""
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{own.caption}}}",
        rf"\label{{{own.label}}}",
        SHRUNK,
        rf"\begin{{tabular}}{{{own.spec}}}",
        r"\toprule",
    ]
    if any(text for _, text in own.above):
        lines += [_spanned(own.above), _rules(own.above)]
    lines.append(_line(own.head))
    for group in own.groups:
        lines += [r"\midrule", *map(_line, group)]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if own.below:
        lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}\footnotesize"]
        lines += [rf"{sentence}\par" for sentence in own.below]
        lines.append(r"\end{minipage}")
    return "\n".join([*lines, r"\end{table}", ""])


def escaped(text: str) -> str:
    """Return a text as LaTeX sets it; a sign that needs a package stands there as its number."""
    apart = re.sub("-(?=-)", "-\0", one_line(text))  # two hyphens would be set as a dash
    return "".join(map(_sign, apart))


def one_line(text: str) -> str:
    """Return a text without line breaks, which would end a comment or a paragraph."""
    return " ".join(text.split())


def tab_label(name: str, number: int) -> str:
    """Return the label of the n-th table of a board, for references."""
    return f"tab:{''.join(s if s.isascii() and s.isalnum() else '-' for s in name)}-{number}"


def bold(text: str, is_best: bool) -> str:
    """Return a number, in bold print if it is the best."""
    return rf"\textbf{{{text}}}" if is_best else text


def raised(notes: Sequence[int]) -> str:
    """Return the numbers of footnotes, raised."""
    return f"$^{{{','.join(map(str, notes))}}}$" if notes else ""


def listed(notes: Sequence[str], used: Sequence[int]) -> list[str]:
    """Return the footnotes that are used in a table, with their numbers."""
    return [f"$^{{{n}}}$ {escaped(notes[n - 1])}" for n in sorted(set(used))]


def _sign(sign: str) -> str:
    if sign in SPECIAL:
        return SPECIAL[sign]
    code = ord(sign)
    return sign if 31 < code < PLAIN_ENDS or 0xA0 < code <= LAST_LATIN else f"[U+{code:04X}]"


def _tabular(table: Table, grid: Grid, number: int) -> Tabular:
    told = " ".join(escaped(f"{s.title}: {s.facts}.") for s in grid.sections)
    before = [r"\#"] * grid.has_places
    facts = [escaped(title) for title in table.facts]
    titles = [escaped(table.heads[i].column.title) for i in grid.columns]
    rows = [row for _, group in grid.groups for row in group]
    used = [n for row in rows for i in grid.columns for n in row.cells[i].notes]
    groups = []
    for heading, group in grid.groups:
        lines = [_row(grid, row) for row in group]
        if heading:
            empty = [""] * (len(facts) + len(titles))
            lines.insert(0, ["" for _ in before] + [rf"\emph{{{heading}}}", *empty])
        groups.append(lines)
    return Tabular(
        caption=f"{escaped(table.title)}. {told}",
        label=tab_label(table.name, number),
        spec="r" * len(before) + "l" + "r" * (len(facts) + len(titles)),
        above=[(len(before) + 1 + len(facts), "")]
        + [(len(s.columns), escaped(s.title)) for s in grid.sections],
        head=[*before, "Encoder", *facts, *titles],
        groups=groups,
        below=[*listed(table.notes, used), *map(escaped, legend(table))],
    )


def _row(grid: Grid, row: Row) -> list[str]:
    name = escaped(row.name)
    name = name if row.kind in ("encoder", "published") else rf"\emph{{{name}}}"
    place = [grid.place(row).replace("-", "--")] if grid.has_places else []
    facts = [escaped(fact.text) for fact in row.facts]
    return [*place, name, *facts, *(cell_text(row.cells[i]) for i in grid.columns)]


def cell_text(cell: Cell) -> str:
    """Return a cell as LaTeX: number, footnotes, interval, spread, and what a paper says."""
    published, notes = cell.published, raised(cell.notes)
    dagger = r"$^\dagger$"
    own = bold(printed(published.value), cell.published_is_best) if published else ""
    if cell.value is None:
        std = "" if published is None or published.std is None else _small(printed(published.std))
        return f"{own}{dagger}{notes}{std}" if published else "--"
    wide = margin(cell)
    text = bold(percent(cell.value) or "", cell.is_best) + notes
    text += "" if wide is None else _small(percent(wide) or "")
    if cell.seeds:
        text += f" ({cell.seeds.count} {cell.seeds.over}{_small(percent(cell.seeds.std) or '')})"
    if published:
        text += f" ({own}{dagger}, {difference_text(cell).replace('-', '$-$').replace('+', '$+$')})"
    return text


def _small(text: str) -> str:
    return rf"{{\scriptsize\,$\pm$\,{text}}}"


def _line(cells: Sequence[str]) -> str:
    # After a line break or a rule a bracket or an asterisk would be read as its option.
    first = f"{{}}{cells[0]}" if cells[0].startswith(("[", "*")) else cells[0]
    return " & ".join([first, *cells[1:]]) + r" \\"


def _spanned(above: Sequence[tuple[int, str]]) -> str:
    cells = [rf"\multicolumn{{{count}}}{{c}}{{{text}}}" for count, text in above]
    return " & ".join(cells) + r" \\"


def _rules(above: Sequence[tuple[int, str]]) -> str:
    rules, start = [], 1
    for count, text in above:
        if text:
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    return " ".join(rules)
