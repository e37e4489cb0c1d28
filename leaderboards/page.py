"""One self-contained HTML page for a table: sortable, with how each number came about below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from bench.result import Result
from bench.result_metrics import FrameMapPart
from leaderboards.provenance import facts_of
from leaderboards.sections import Section, legend, sections
from leaderboards.table import Cell, Fact, Head, Row, Table, percent

LEAD = (
    "Encoders stay frozen; a probe is trained on their features. Numbers in percent; the bar below"
    " one shows it on a scale of 0 to 100, its tick is chance. Choose a column heading to sort, a"
    " number to see how it came about."
)


def html_page(table: Table) -> str:
    """Return the page as text; it loads nothing from anywhere."""
    parts = {
        "title": escape(table.title),
        "lead": escape(LEAD if table.heads else "No records yet."),
        "figure": "",
        "table": _table(table) if table.heads else "",
        "notes": listed_notes(table.notes),
        "legend": escape(" ".join(legend(table))),
        "records": _records(table),
    }
    return filled_page(parts)


def filled_page(parts: Mapping[str, str]) -> str:
    """Put each part in the place of its `{{name}}`, once: a part may contain braces of its own."""
    pieces = Path(__file__).with_name("page.html").read_text(encoding="utf-8").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        filled += [parts[name], rest]
    return "".join(filled)


def _table(table: Table) -> str:
    cut = sections(table)
    starts = {section.columns[0] for section in cut}
    ranked = [row for row in table.rows if row.kind == "encoder"]
    floors = [row for row in table.rows if row.kind != "encoder"]
    first = 1 + len(table.facts)
    top = f'<th class="start" colspan="{len(table.facts)}"></th>' if table.facts else ""
    top += "".join(_section_head(section) for section in cut)
    heads = "".join(_fact_head(i, title) for i, title in enumerate(table.facts, start=1))
    heads += "".join(
        _column_head(i + first, head, i in starts) for i, head in enumerate(table.heads)
    )
    rest = f'<td class="start" colspan="{len(table.facts) + len(table.heads)}"></td>'
    apart = f'<tr class="apart"><th class="who" scope="rowgroup">Floors</th>{rest}</tr>'
    return "\n".join(
        [
            '<div class="scroll" role="region" aria-labelledby="title" tabindex="0">',
            '<table class="board">',
            f"<caption>{escape(table.title)}: encoders by task and probe.</caption>",
            "<thead>",
            f'<tr><th class="who" aria-hidden="true"></th>{top}</tr>',
            '<tr><th class="who" scope="col" data-column="0" data-label="encoder">'
            f'<button type="button">Encoder</button></th>{heads}</tr>',
            "</thead>",
            '<tbody class="ranked">',
            *(_row(row, starts) for row in ranked),
            "</tbody>",
            '<tbody class="floors">',
            apart,
            *(_row(row, starts) for row in floors),
            "</tbody>",
            "</table>",
            "</div>",
        ]
    )


def _section_head(section: Section) -> str:
    return (
        f'<th class="task start" scope="colgroup" colspan="{len(section.columns)}">'
        f"{escape(section.title)}<small>{escape(section.facts)}</small></th>"
    )


def _column_head(place: int, head: Head, is_start: bool) -> str:
    start = ' class="start"' if is_start else ""
    return (
        f'<th{start} scope="col" data-column="{place}" data-label="{escape(head.label)}">'
        f'<button type="button">{escape(head.column.title)}</button></th>'
    )


def _fact_head(place: int, title: str) -> str:
    start = ' class="start"' if place == 1 else ""
    return (
        f'<th{start} scope="col" data-column="{place}" data-label="{escape(title)}">'
        f'<button type="button">{escape(title)}</button></th>'
    )


def _fact(fact: Fact, is_start: bool) -> str:
    start = ' class="start"' if is_start else ""
    value = "" if fact.value is None else repr(fact.value)
    return f'<td{start} data-value="{value}">{escape(fact.text)}<sup></sup></td>'


def _row(row: Row, starts: Iterable[int]) -> str:
    small = f"<small>{size_of(row.record)}</small>" if row.record and not row.facts else ""
    cells = "".join(_fact(fact, i == 0) for i, fact in enumerate(row.facts))
    cells += "".join(
        _cell(cell, "start" if i in starts else "") for i, cell in enumerate(row.cells)
    )
    name = escape(row.name)
    told = f"{breakable(row.name)}{small}"
    return f'<tr><th class="who" scope="row" data-value="{name}">{told}</th>{cells}</tr>'


def _cell(cell: Cell, css: str) -> str:
    opening = f'<td class="{css}"' if css else "<td"
    value, shown = cell.value, percent(cell.value)
    if value is None or shown is None:
        return f'{opening} data-value=""><span class="none">–</span></td>'  # noqa: RUF001
    opening += f' data-value="{100 * value!r}">'
    if cell.record is None:
        return f"{opening}{shown}<sup></sup></td>"
    css = "number best" if cell.is_best else "number"
    return (
        f'{opening}<a class="{css}" href="#record-{cell.record.id}"'
        f' style="{bar(value, cell.record.chance)}"'
        f' title="{escape(_tooltip(cell, cell.record))}">{shown}</a>'
        f"<sup>{marks(cell.notes)}</sup></td>"
    )


def bar(value: float, chance: float | None) -> str:
    """Return the style of the bar below a number, with a tick at chance if there is one."""
    tick = "" if chance is None else f";--chance:{100 * chance:.1f}%"
    return f"--value:{100 * value:.1f}%{tick}"


def _tooltip(cell: Cell, record: Result) -> str:
    metrics = record.metrics
    parts = [f"n = {metrics.scored:,} scored of {metrics.expected:,}"]
    if isinstance(metrics, FrameMapPart):
        parts.append(f"{metrics.rules} rules")
    else:
        chance, majority = percent(metrics.chance), percent(metrics.majority)
        parts.append(f"chance {chance}, majority class {majority}")
    if cell.others:
        parts.append(f"newest of {cell.others + 1} records that fit")
    return " · ".join([*parts, f"record {record.id}"])


def listed_notes(notes: Iterable[str]) -> str:
    """Return footnotes as a numbered list that cells link to."""
    items = [f'<li id="note-{i}">{escape(note)}</li>' for i, note in enumerate(notes, start=1)]
    return "\n".join(
        ['<ol class="notes" aria-label="Footnotes">', *items, "</ol>"] if items else []
    )


def _records(table: Table) -> str:
    """Return a foldable list of facts for every record shown, grouped by encoder."""
    lines, told = [], set()
    for row in table.rows:
        cells = [cell for cell in row.cells if cell.record and cell.record.id not in told]
        if cells:
            lines.append(f"<h3>{escape(row.name)}</h3>")
        for cell in cells:
            assert cell.record
            told.add(cell.record.id)
            lines.append(_record(cell.record))
    heading = "<h2>How each number came about</h2>"
    return "\n".join([heading, *lines]) if lines else ""


def _record(record: Result) -> str:
    facts = described(facts_of(record))
    return (
        f'<details id="record-{record.id}"><summary><span>{escape(record.task.title)}</span>'
        f'<span class="dim">{escape(record.probe.name)} · {escape(record.protocol.name)}</span>'
        f"<b>{percent(record.headline)}</b></summary>{facts}</details>"
    )


def described(facts: Mapping[str, Iterable[str]]) -> str:
    """Return headings and lines as a description list."""
    told = (
        f"<dt>{escape(name)}</dt><dd>{'<br>'.join(map(escape, lines))}</dd>"
        for name, lines in facts.items()
    )
    return f"<dl>{''.join(told)}</dl>"


def marks(notes: Iterable[int]) -> str:
    """Return links to footnotes."""
    return " ".join(f'<a href="#note-{n}" aria-label="footnote {n}">{n}</a>' for n in notes)


def breakable(name: str) -> str:
    """Return a name that a narrow screen may break at its signs."""
    broken = escape(name)
    for sign in "_:/":
        broken = broken.replace(sign, f"{sign}<wbr>")
    return broken


def size_of(record: Result) -> str:
    """Return parameters and input of an encoder, such as `303 M · 16 x 224²`."""
    encoder = record.encoder
    parts = [millions(encoder.num_parameters)] if encoder.num_parameters else []
    return " · ".join([*parts, f"{encoder.num_frames} x {encoder.image_size}²"])


def millions(count: int) -> str:
    """Spell a number of parameters, such as `303 M`."""
    return f"{count / 1e6:.0f} M" if count >= 10_000_000 else f"{count / 1e6:.1f} M"
