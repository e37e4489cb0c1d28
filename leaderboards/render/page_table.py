"""The table of a page: cells that link to how they came about, and what sorting needs to know.

A row of `tbody.ranked` is an encoder or a published one, of `tbody.floors` a floor or chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from html import escape

from bench.records.metrics import FrameMapPart
from bench.records.record import Result
from leaderboards.render.markup import bar, breakable, marks, millions, size_of
from leaderboards.rows.layout import difference_text, margin, place_text, printed
from leaderboards.rows.sections import Section, sections
from leaderboards.rows.table import Cell, Fact, Head, Row, Table, percent

RANKED = ("encoder", "published")
KINDS = {"encoder": "Encoders", "published": "Published", "floor": "Floors"}
MINUS = "−"  # noqa: RUF001 (as wide as a digit, which a hyphen is not)
TALL = 30  # rows from which on the table scrolls below its headings


def table_markup(table: Table) -> str:
    """Return the table; every number links to `#record-ID`, or to `#paper-R-C` if published."""
    cut = sections(table)
    starts = {section.columns[0] for section in cut}
    wide = {i for i in range(len(table.heads)) if any(has_spread(r.cells[i]) for r in table.rows)}
    bodies = []
    for css, kinds in (("ranked", RANKED), ("floors", ("floor", "chance"))):
        rows = [(r, row) for r, row in enumerate(table.rows) if row.kind in kinds]
        lines = [_row(row, r, table, starts, wide) for r, row in rows]
        if css == "floors" and rows:
            lines.insert(0, _apart(len(table.facts) + len(table.heads)))
        bodies += [f'<tbody class="{css}">', *lines, "</tbody>"]
    css = "scroll tall" if len(table.rows) > TALL else "scroll"
    return "\n".join(
        [
            f'<div class="{css}" role="region" aria-labelledby="title" tabindex="0">',
            '<table class="board">',
            f"<caption>{escape(table.title)}: encoders by task and probe.</caption>",
            "<thead>",
            *_headings(table, cut, starts, wide),
            "</thead>",
            *bodies,
            "</table>",
            "</div>",
        ]
    )


def controls_markup(table: Table) -> str:
    """Return what filters the table; it stays hidden where there is no script to answer it."""
    cut = sections(table)
    kinds = dict.fromkeys(_shown_as(row) for row in table.rows)
    groups = [
        '<label class="find">Find <input type="search" id="find" placeholder="encoder"'
        ' autocomplete="off" spellcheck="false"></label>'
    ]
    if len(kinds) > 1:
        boxes = "".join(_checkbox("kind", kind, KINDS[kind]) for kind in kinds)
        groups.append(f"<fieldset><legend>Rows</legend>{boxes}</fieldset>")
    if len(cut) > 1:
        boxes = "".join(
            _checkbox("section", str(i), name) for i, name in enumerate(_names(table, cut))
        )
        groups.append(f"<fieldset><legend>Columns</legend>{boxes}</fieldset>")
    inner = "\n".join(groups)
    return f'<form class="controls" role="search" hidden>\n{inner}\n</form>\n'


def _names(table: Table, cut: Sequence[Section]) -> list[str]:
    """Return a name for every section: its title, and where several share it the first column."""
    times = Counter(section.title for section in cut)
    first = [table.heads[section.columns[0]].column.title for section in cut]
    return [
        section.title if times[section.title] == 1 else f"{section.title} ({title})"
        for section, title in zip(cut, first, strict=True)
    ]


def _shown_as(row: Row) -> str:
    return "floor" if row.kind == "chance" else row.kind


def _checkbox(name: str, value: str, told: str) -> str:
    return (
        f'<label><input type="checkbox" name="{name}" value="{escape(value)}" checked>'
        f"{escape(told)}</label>"
    )


def has_spread(cell: Cell) -> bool:
    """Whether something stands behind the digits of a number."""
    return cell.interval is not None or bool(cell.published and cell.published.std is not None)


# ----------------------------------------------------------------------------------------- headings
def _headings(
    table: Table, cut: Iterable[Section], starts: Collection[int], wide: Collection[int]
) -> list[str]:
    first = 1 + len(table.facts)
    top = f'<td class="fact start" colspan="{len(table.facts)}"></td>' if table.facts else ""
    top += "".join(_section_head(s, i, first) for i, s in enumerate(cut))
    heads = "".join(_fact_head(i, table) for i in range(1, first))
    for i, head in enumerate(table.heads):
        css = " ".join([*["start"] * (i in starts), *["wide"] * (i in wide)])
        heads += _column_head(i + first, head, css)
    return [
        f'<tr><td class="who"></td>{top}</tr>',
        '<tr><th class="who" scope="col" data-column="0" data-label="encoder">'
        f'<button type="button">Encoder</button></th>{heads}</tr>',
    ]


def _section_head(section: Section, place: int, first: int) -> str:
    columns = " ".join(str(i + first) for i in section.columns)
    return (
        f'<th class="task start" scope="colgroup" colspan="{len(section.columns)}"'
        f' data-section="{place}" data-columns="{columns}">'
        f"{escape(section.title)}<small>{escape(section.facts)}</small></th>"
    )


def _column_head(place: int, head: Head, css: str) -> str:
    return (
        f'<th{_css(css)} scope="col" data-column="{place}" data-label="{escape(head.label)}">'
        f'<button type="button">{escape(head.column.title)}</button></th>'
    )


def _fact_head(place: int, table: Table) -> str:
    title = escape(table.facts[place - 1])
    facts = [row.facts[place - 1] for row in table.rows if row.facts]
    is_text = any(fact.plain for fact in facts) and all(fact.value is None for fact in facts)
    css = " ".join(["fact", *["start"] * (place == 1), *["text"] * is_text])
    return (
        f'<th class="{css}" scope="col" data-column="{place}" data-label="{title}">'
        f'<button type="button">{title}</button></th>'
    )


def _apart(columns: int) -> str:
    rest = f'<td class="start" colspan="{columns}"></td>' if columns else ""
    return f'<tr class="apart"><th class="who" scope="rowgroup">Floors</th>{rest}</tr>'


# --------------------------------------------------------------------------------------------- rows
def _row(row: Row, place: int, table: Table, starts: Collection[int], wide: Collection[int]) -> str:
    small = _facts_line(row) if row.facts else _small(row)
    cells = "".join(
        _fact(fact, "fact start" if i == 0 else "fact") for i, fact in enumerate(row.facts)
    )
    for i, (cell, head) in enumerate(zip(row.cells, table.heads, strict=True)):
        css = " ".join([*["start"] * (i in starts), *["wide"] * (i in wide)])
        cells += _cell(cell, head, css, f"paper-{place}-{i}")
    told = f'<span class="place" aria-hidden="true"></span>{breakable(row.name)}{small}'
    return (
        f'<tr data-kind="{_shown_as(row)}"><th class="who" scope="row"'
        f' data-value="{escape(row.name)}">{told}</th>{cells}</tr>'
    )


def _facts_line(row: Row) -> str:
    """Return the facts as a line below the name, for screens too narrow for their columns."""
    told = " · ".join(fact.text for fact in row.facts if any(map(str.isalpha, fact.text)))
    return f'<small class="narrow">{escape(told)}</small>' if told else ""


def _small(row: Row) -> str:
    if row.record:
        return f"<small>{size_of(row.record)}</small>"
    found = next((cell.published for cell in row.cells if cell.published), None)
    if row.kind != "published" or found is None:
        return ""
    parts = [found.arch, "" if found.params_m is None else millions(round(found.params_m * 1e6))]
    return f"<small>{escape(' · '.join(part for part in parts if part))}</small>"


def _fact(fact: Fact, css: str) -> str:
    if fact.value is None:
        told = f'data-value="{escape(fact.plain)}">{escape(fact.text)}</td>'
        return f"<td{_css(f'{css} text' if fact.plain else css)} {told}"
    return f'<td{_css(css)} data-value="{fact.value!r}">{escape(fact.text)}</td>'


def _cell(cell: Cell, head: Head, css: str, paper: str) -> str:
    value, published = cell.value, cell.published
    sorted_by = 100 * value if value is not None else published.value if published else None
    place = "" if cell.rank is None else f' data-place="{places(cell)}"'
    opening = f'<td{_css(css)} data-value="{"" if sorted_by is None else repr(sorted_by)}"{place}>'
    if value is None and published is None:
        return f'{opening}<span class="none">–</span></td>'  # noqa: RUF001
    if value is None:
        assert published
        own = "number paper best" if cell.published_is_best else "number paper"
        std = "" if published.std is None else f"±{printed(published.std)}"
        return (
            f'{opening}<a class="{own}" href="#{paper}">{printed(published.value)}</a>'
            f'<span class="spread">{std}</span><sup>†{marks(cell.notes)}</sup></td>'
        )
    if cell.record is None:
        return f"{opening}{percent(value)}{_spread(cell)}<sup></sup></td>"
    return (
        f"{opening}{_number(cell, value, cell.record, head)}{_spread(cell)}"
        f"<sup>{marks(cell.notes)}</sup>{_below(cell)}</td>"
    )


def _number(cell: Cell, value: float, record: Result, head: Head) -> str:
    shows = head.column.shows
    css = ["number", *["best"] * cell.is_best, *["open"] * may_be_best(cell)]
    shown = percent(value)
    style = ""
    if shows != "gap":
        chance = None if head.column.metric == "top5" else record.chance
        ends = (cell.interval.low, cell.interval.high) if cell.interval else ()
        style = f' style="{bar(value, chance, *ends)}"'
    css += ["gap"] * (shows == "gap")
    return (
        f'<a class="{" ".join(css)}" href="#record-{record.id}"{style}'
        f' title="{escape(_tooltip(cell, record))}">{shown}</a>'
    )


def may_be_best(cell: Cell) -> bool:
    """Whether the sample leaves open that it is the best of its column, which it is not."""
    return cell.rank is not None and cell.rank[0] == 1 and not cell.is_best


def places(cell: Cell) -> str:
    """Spell the places that the data leave open, such as `2` or `2–4`."""
    return place_text(cell).replace("-", "–")  # noqa: RUF001


def signed(fraction: float) -> str:
    """Spell a difference in points, with its sign."""
    points = round(100 * fraction, 1)
    return f"{'+' if points > 0 else MINUS if points < 0 else ''}{abs(points):.1f}"


def _spread(cell: Cell) -> str:
    wider = margin(cell)
    return f'<span class="spread">{"" if wider is None else f"±{percent(wider)}"}</span>'


def _below(cell: Cell) -> str:
    """Return a second line: what a paper prints for the same, and the spread over seeds."""
    lines = []
    if cell.published and cell.difference is not None:
        css = ' class="best"' if cell.published_is_best else ""
        own = f"<b{css}>{printed(cell.published.value)}†</b>"
        lines.append(f"({own}, {difference_text(cell).replace('-', MINUS)})")
    if cell.seeds:
        lines.append(f"{cell.seeds.count} {cell.seeds.over} ±{percent(cell.seeds.std)}")
    return "".join(f'<small class="below">{line}</small>' for line in lines)


def _tooltip(cell: Cell, record: Result) -> str:
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
        parts.append(f"newest of {cell.others + 1} records that fit")
    return " · ".join([*parts, f"record {record.id}"])


def _css(names: str) -> str:
    return f' class="{names}"' if names else ""
