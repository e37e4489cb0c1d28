"""The table of a page: cells that link to their provenance, with the data that sorting needs.

`tbody.ranked` has encoders and published rows, `tbody.floors` floors and chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from bench.records.metrics import FrameMapPart
from bench.records.record import Record
from leaderboards.render.markup import (
    bar,
    bodies,
    breakable,
    css_class,
    framed,
    marks,
    millions,
    size_of,
)
from leaderboards.rows.layout import difference_text, margin, place_text, printed
from leaderboards.rows.sections import Section, sections
from leaderboards.rows.table import Fact, Table, TableCell, TableHead, TableRow, percent

KINDS = {"encoder": "Encoders", "published": "Published", "floor": "Floors"}
MINUS = "−"  # noqa: RUF001 (as wide as a digit, unlike a hyphen)
TALL = 30  # above this many rows the table scrolls below its headings


def table_markup(table: Table) -> str:
    """Return the table; every number links to `#record-ID`, or to `#paper-R-C` if published."""
    cut = sections(table)
    starts = {section.columns[0] for section in cut}
    wide = {i for row in table.rows for i, cell in enumerate(row.cells) if has_spread(cell)}
    css = [
        css_class("start" * (i in starts), "wide" * (i in wide)) for i in range(len(table.heads))
    ]
    rows = [(row.kind, _row(row, r, table, css)) for r, row in enumerate(table.rows)]
    num_columns = len(table.facts) + len(table.heads)
    lines = ["<thead>", *_headings(table, cut, css), "</thead>", *bodies(rows, num_columns)]
    caption = f"{table.title}: encoders by task and probe."
    size = "scroll tall" if len(table.rows) > TALL else "scroll"
    return framed(lines, caption, "title", css=size)


def controls_markup(table: Table) -> str:
    """Return the form that filters the table; without a script it stays hidden."""
    cut = sections(table)
    kinds = dict.fromkeys(_shown_as(row) for row in table.rows)
    groups = [
        '<label class="find">Find <input type="search" id="find" placeholder="encoder"'
        ' autocomplete="off" spellcheck="false"></label>'
    ]
    for legend, name, choices in (
        ("Rows", "kind", [(kind, KINDS[kind]) for kind in kinds]),
        ("Columns", "section", [(str(i), title) for i, title in enumerate(_names(table, cut))]),
    ):
        boxes = "".join(
            f'<label><input type="checkbox" name="{name}" value="{value}" checked>'
            f"{escape(label)}</label>"
            for value, label in choices
        )
        if len(choices) > 1:
            groups.append(f"<fieldset><legend>{legend}</legend>{boxes}</fieldset>")
    inner = "\n".join(groups)
    return f'<form class="controls" role="search" hidden>\n{inner}\n</form>\n'


def _names(table: Table, cut: Sequence[Section]) -> list[str]:
    """Return a name per section: its title, with the first column if several share it."""
    times = Counter(section.title for section in cut)
    first = [table.heads[section.columns[0]].column.title for section in cut]
    return [
        section.title if times[section.title] == 1 else f"{section.title} ({title})"
        for section, title in zip(cut, first, strict=True)
    ]


def _shown_as(row: TableRow) -> str:
    return "floor" if row.kind == "chance" else row.kind


def has_spread(cell: TableCell) -> bool:
    """Whether a number is followed by an interval or a published spread."""
    return cell.interval is not None or bool(cell.published and cell.published.std is not None)


# ----------------------------------------------------------------------------------------- headings
def _headings(table: Table, cut: Iterable[Section], css: Sequence[str]) -> list[str]:
    first = 1 + len(table.facts)
    top = f'<td class="fact start" colspan="{len(table.facts)}"></td>' if table.facts else ""
    for place, section in enumerate(cut):
        columns = " ".join(str(i + first) for i in section.columns)
        top += (
            f'<th class="task start" scope="colgroup" colspan="{len(section.columns)}"'
            f' data-section="{place}" data-columns="{columns}">'
            f"{escape(section.title)}<small>{escape(section.facts)}</small></th>"
        )
    heads = _heading(0, "encoder", "Encoder", css_class("who"))
    for i, title in enumerate(table.facts):
        facts = [row.facts[i] for row in table.rows if row.facts]
        is_text = any(fact.plain for fact in facts) and all(fact.value is None for fact in facts)
        column_css = css_class("fact", "start" * (i == 0), "text" * is_text)
        heads += _heading(1 + i, title, title, column_css)
    for i, (head, column_css) in enumerate(zip(table.heads, css, strict=True)):
        heads += _heading(first + i, head.label, head.column.title, column_css)
    return [f'<tr><td class="who"></td>{top}</tr>', f"<tr>{heads}</tr>"]


def _heading(place: int, label: str, title: str, css: str) -> str:
    return (
        f'<th{css} scope="col" data-column="{place}" data-label="{escape(label)}">'
        f'<button type="button">{escape(title)}</button></th>'
    )


# --------------------------------------------------------------------------------------------- rows
def _row(row: TableRow, place: int, table: Table, css: Sequence[str]) -> str:
    small = _facts_line(row) if row.facts else _small(row)
    cells = "".join(_fact(fact, "start" * (i == 0)) for i, fact in enumerate(row.facts))
    for i, (cell, head, column_css) in enumerate(zip(row.cells, table.heads, css, strict=True)):
        cells += _cell(cell, head, column_css, f"paper-{place}-{i}")
    name = f'<span class="place" aria-hidden="true"></span>{breakable(row.name)}{small}'
    return (
        f'<tr data-kind="{_shown_as(row)}"><th class="who" scope="row"'
        f' data-value="{escape(row.name)}">{name}</th>{cells}</tr>'
    )


def _facts_line(row: TableRow) -> str:
    """Return the facts as a line below the name, for screens too narrow for their columns."""
    facts = " · ".join(fact.text for fact in row.facts if any(map(str.isalpha, fact.text)))
    return f'<small class="narrow">{escape(facts)}</small>' if facts else ""


def _small(row: TableRow) -> str:
    if row.record:
        return f"<small>{size_of(row.record)}</small>"
    found = next((cell.published for cell in row.cells if cell.published), None)
    if row.kind != "published" or found is None:
        return ""
    parts = [found.arch, "" if found.params_m is None else millions(round(found.params_m * 1e6))]
    return f"<small>{escape(' · '.join(part for part in parts if part))}</small>"


def _fact(fact: Fact, css: str) -> str:
    is_text = fact.value is None
    value = escape(fact.plain) if is_text else repr(fact.value)
    css = css_class("fact", css, "text" * (is_text and bool(fact.plain)))
    return f'<td{css} data-value="{value}">{escape(fact.text)}</td>'


def _cell(cell: TableCell, head: TableHead, css: str, paper: str) -> str:
    value, published = cell.value, cell.published
    sorted_by = 100 * value if value is not None else published.value if published else None
    place = "" if cell.rank is None else f' data-place="{places(cell)}"'
    opening = f'<td{css} data-value="{"" if sorted_by is None else repr(sorted_by)}"{place}>'
    if value is None and published is None:
        return f'{opening}<span class="none">–</span></td>'  # noqa: RUF001
    if value is None:
        assert published
        link_css = css_class("number", "paper", "best" * cell.published_is_best)
        std = "" if published.std is None else f"±{printed(published.std)}"
        return (
            f'{opening}<a{link_css} href="#{paper}">{printed(published.value)}</a>'
            f'<span class="spread">{std}</span><sup>†{marks(cell.notes)}</sup></td>'
        )
    if cell.record is None:
        return f"{opening}{percent(value)}{_spread(cell)}<sup></sup></td>"
    return (
        f"{opening}{_number(cell, value, cell.record, head)}{_spread(cell)}"
        f"<sup>{marks(cell.notes)}</sup>{_below(cell)}</td>"
    )


def _number(cell: TableCell, value: float, record: Record, head: TableHead) -> str:
    is_gap = head.column.shows == "gap"
    # Not the best in its column, but not significantly worse either.
    is_open = cell.rank is not None and cell.rank[0] == 1 and not cell.is_best
    css = css_class("number", "best" * cell.is_best, "open" * is_open, "gap" * is_gap)
    style = "" if is_gap else f' style="{bar_of(cell, value, record, head)}"'
    return (
        f'<a{css} href="#record-{record.id}"{style}'
        f' title="{escape(_tooltip(cell, record))}">{percent(value)}</a>'
    )


def bar_of(cell: TableCell, value: float, record: Record, head: TableHead) -> str:
    """Return the style of the bar of a number, with its interval and chance level."""
    ends = (cell.interval.low, cell.interval.high) if cell.interval else ()
    return bar(value, None if head.column.metric == "top5" else record.chance, *ends)


def places(cell: TableCell) -> str:
    """Format the places that the data allow: `2` or `2–4`."""
    return place_text(cell).replace("-", "–")  # noqa: RUF001


def signed(fraction: float) -> str:
    """Format a difference in points, with its sign."""
    points = round(100 * fraction, 1)
    return f"{'+' if points > 0 else MINUS if points < 0 else ''}{abs(points):.1f}"


def _spread(cell: TableCell) -> str:
    wider = margin(cell)
    return f'<span class="spread">{"" if wider is None else f"±{percent(wider)}"}</span>'


def _below(cell: TableCell) -> str:
    """Return the second line: the published number and the spread over seeds."""
    lines = []
    if cell.published and cell.difference is not None:
        css = ' class="best"' if cell.published_is_best else ""
        number = f"<b{css}>{printed(cell.published.value)}†</b>"
        lines.append(f"({number}, {difference_text(cell).replace('-', MINUS)})")
    if cell.seeds:
        lines.append(f"{cell.seeds.count} {cell.seeds.over} ±{percent(cell.seeds.std)}")
    return "".join(f'<small class="below">{line}</small>' for line in lines)


def _tooltip(cell: TableCell, record: Record) -> str:
    metrics = record.metrics
    parts = [f"n = {metrics.scored:,} scored of {metrics.expected:,}"]
    if isinstance(metrics, FrameMapPart):
        parts.append(f"{metrics.rules} rules")
    else:
        chance, majority = percent(metrics.chance), percent(metrics.majority)
        parts.append(f"chance {chance}, majority class {majority}")
    if cell.interval:
        parts.append(f"95 % {percent(cell.interval.low)} to {percent(cell.interval.high)}")
    if cell.rank:
        parts.append(f"place {places(cell)}")
    if cell.others:
        parts.append(f"newest of {cell.others + 1} matching records")
    return " · ".join([*parts, f"record {record.id}"])
