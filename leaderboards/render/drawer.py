"""The provenance of each number: an entry per record, which a page opens in a drawer.

Without a script the entries are a collapsible list below the table, and numbers link to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.publish.leaderboard import PublishedNumber
from bench.records.metrics import FrameMapPart
from bench.records.record import Record
from leaderboards.render.markup import described
from leaderboards.render.page_table import bar_of, places, signed
from leaderboards.rows.layout import printed
from leaderboards.rows.provenance import commit_of, facts_of, optimism_lines, selection_lines
from leaderboards.rows.table import METRICS, Table, TableCell, TableHead, TableRow, grouped, percent

ENTRIES_LIMIT = 1_000  # records with all facts; more would make the page too large
DIALOG = (
    '<dialog id="drawer" aria-labelledby="drawer-title">\n'
    '<header><div><h2 id="drawer-title"></h2><p id="drawer-what"></p></div>'
    '<button type="button" id="drawer-close" aria-label="Close">×</button></header>\n'  # noqa: RUF001
    '<div id="drawer-body"></div>\n</dialog>'
)
SHOWS = {
    "honest": " of the head chosen on held-out training rows, trained on the others",
    "best_on_score": " of the best head on the scored rows",
}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A cell with its column and record; `placed` numbers of the column have a place."""

    head: TableHead
    cell: TableCell
    record: Record
    placed: int


def shown_records(table: Table) -> list[Record]:
    """Return the record of every number, each once, in reading order."""
    found = {
        cell.record.id: cell.record
        for row in table.rows
        for cell in row.cells
        if cell.record is not None and cell.value is not None
    }
    return list(found.values())


def records_section(entries: Iterable[str]) -> str:
    """Return the entries below their heading, and the drawer that shows them."""
    heading = "<h2>Provenance of each number</h2>"
    return "\n".join(['<section class="records">', heading, *entries, "</section>", DIALOG])


def entries_markup(table: Table) -> list[str]:
    """Return the entries of the first records and of all published numbers, grouped by row."""
    placed = [
        sum(row.cells[i].rank is not None for row in table.rows) for i in range(len(table.heads))
    ]
    lines: list[str] = []
    seen: set[str] = set()
    for r, row in enumerate(table.rows):
        entries = []
        shown = [
            Shown(head=head, cell=cell, record=cell.record, placed=number)
            for head, cell, number in zip(table.heads, row.cells, placed, strict=True)
            if cell.record is not None and cell.value is not None
        ]
        for key, cells in grouped(shown, lambda one: one.record.id).items():
            if key not in seen and len(seen) < ENTRIES_LIMIT:
                entries.append(_entry(row, cells, table.notes))
                seen.add(key)
        entries += [
            _paper(f"paper-{r}-{i}", row, head, cell.published)
            for i, (head, cell) in enumerate(zip(table.heads, row.cells, strict=True))
            if cell.value is None and cell.published
        ]
        if entries:
            lines += [f"<h3>{escape(row.name)}</h3>", *entries]
    return lines


def entry(key: str, who: str, what: str, shown: str, body: str) -> str:
    """Return a collapsible entry; the drawer shows `who` and `what` above its body."""
    return (
        f'<details class="entry" id="{key}" data-who="{escape(who)}" data-what="{escape(what)}">'
        f'<summary><span>{escape(what)}</span><b>{escape(shown)}</b></summary>'
        f'<div class="body">{body}</div></details>'
    )  # fmt: skip


# ---------------------------------------------------------------------------------------- a record
def _entry(row: TableRow, cells: Sequence[Shown], notes: Sequence[str]) -> str:
    record = cells[0].record
    unique = dict.fromkeys(notes[n - 1] for one in cells for n in one.cell.notes)
    remarks = "".join(f"<li>{escape(note)}</li>" for note in unique)
    numbers = [one for one in cells if one.head.column.shows == "metric"] or cells[:1]
    body = "".join(_number(one) for one in numbers)
    body += described(_summary(record, cells))
    body += f'<h4>Notes</h4><ul class="remarks">{remarks}</ul>' if remarks else ""
    body += _rerun(record)
    body += f'<div class="classes" data-record="{record.id}"></div>'
    facts = described(facts_of(record))
    body += f'<details class="all"><summary>Full record</summary>{facts}</details>'
    what = f"{record.task.title} · {record.probe.name} · {record.protocol.name}"
    return entry(f"record-{record.id}", row.name, what, percent(record.headline) or "", body)


def _number(one: Shown) -> str:
    """Return a number in large digits, with its interval on a scale from 0 to 100."""
    cell, column = one.cell, one.head.column
    value = cell.value
    assert value is not None
    if column.shows == "gap":
        return _large(signed(value), "points that choosing on the scored rows would add", "")
    label = METRICS[column.metric] + SHOWS.get(column.shows, "")
    if cell.seeds:
        label = f"{label}, mean of {cell.seeds.count} {cell.seeds.over}"
    style = bar_of(cell, value, one.record, one.head)
    if cell.published:
        style += f";--paper:{cell.published.value:.1f}%"
    scale = f'<div class="scale" style="{style}"></div>'
    return _large(percent(value) or "", f"% {label}", scale)


def _large(digits: str, label: str, scale: str) -> str:
    return f'<div class="large"><p><b>{digits}</b> {escape(label)}</p>{scale}</div>'


def _summary(record: Record, cells: Sequence[Shown]) -> dict[str, list[str]]:
    """Return the facts that determine how reliable a number is."""
    seeds = cells[0].cell.seeds
    by_cell = [_facts_of_cell(one) for one in cells]

    def each(heading: str) -> list[str]:
        return list(dict.fromkeys(facts[heading] for facts in by_cell if heading in facts))

    facts = {
        "Counts": [_counts(record)],
        "Interval": each("Interval"),
        "Place": each("Place"),
        seeds.over.capitalize() if seeds else "Seeds": each("Seeds"),
        "Head": selection_lines(record),
        "Optimism": optimism_lines(record),
        "Published": each("Published"),
        "Others": each("Others"),
        "Status": [record.status.replace("_", " ")] if record.status != "complete" else [],
    }
    return {heading: lines for heading, lines in facts.items() if lines}


def _facts_of_cell(one: Shown) -> dict[str, str]:
    cell, facts = one.cell, {}
    if interval := cell.interval:
        ends = f"{percent(interval.low)} to {percent(interval.high)}"
        facts["Interval"] = f"{ends} ({100 * interval.level:g} %, {interval.method})"
    if cell.rank:
        is_open = cell.rank[0] != cell.rank[1]
        facts["Place"] = f"{places(cell)} of {one.placed}"
        facts["Place"] += ", as far as the sample can tell" if is_open else ""
    if seeds := cell.seeds:
        one_of = seeds.over.removesuffix("s")
        values = [f"{percent(v)} ({one_of} {key})" for key, v in sorted(seeds.values.items())]
        facts["Seeds"] = f"{percent(seeds.mean)} ± {percent(seeds.std)}: {', '.join(values)}"
    if cell.published and cell.difference is not None:
        paper = f"{printed(cell.published.value)} in {_where(cell.published)}"
        facts["Published"] = f"{paper}; here {signed(cell.difference)}"
    if cell.others:
        facts["Others"] = f"newest of {cell.others + 1} matching records"
    return facts


def _counts(record: Record) -> str:
    metrics, listed = record.metrics, record.data.score.listed
    if isinstance(metrics, FrameMapPart):
        scored = f"{metrics.scored:,} of {metrics.expected:,} boxes scored"
        return f"{scored}, {metrics.num_frames:,} key frames"
    lost = "" if metrics.scored == listed else f", {listed - metrics.scored:,} unreadable"
    published = "" if metrics.expected == listed else f", {metrics.expected:,} published"
    return f"{metrics.correct:,} correct of {listed:,} listed{lost}{published}"


def _rerun(record: Record) -> str:
    commit = commit_of(record)
    created = f"Created {record.created}" + (f" at {commit}" if commit else "")
    return (
        f'<h4>Rerun</h4><pre class="again"><code>bench run records/{record.id}.json\n'
        f"bench replay {record.id}</code></pre>"
        f'<p class="dim">{escape(created)}. The second command compares its result with the'
        " record.</p>"
    )


# ------------------------------------------------------------------------------ a published number
def _paper(key: str, row: TableRow, head: TableHead, paper: PublishedNumber) -> str:
    facts: Mapping[str, str] = {
        "Source": _where(paper),
        "Method": " ".join(part for part in (paper.method, paper.arch) if part),
        "Resolution": "" if paper.resolution is None else f"{paper.resolution} pixels",
        "Parameters": "" if paper.params_m is None else f"{paper.params_m:g} M",
        "Pretrained on": paper.pretrain_data,
        "Samples seen": f"{paper.samples_seen_m} M" if paper.samples_seen_m else "",
        "Views": paper.views,
        "Probe": paper.probe,
        "Labels": "" if paper.train_fraction == 1 else f"{100 * paper.train_fraction:g} %",
        "Spread": "" if paper.std is None else f"± {paper.std:g} as printed",
    }
    value = printed(paper.value)
    scale = f'<div class="scale" style="--value:0%;--paper:{value}%"></div>'
    label = f"% {METRICS.get(paper.metric, paper.metric)}, as printed, not measured here"
    body = _large(f"{value}†", label, scale)
    body += described({name: [text] for name, text in facts.items() if text})
    return entry(key, row.name, f"{paper.task} · {head.column.title}", f"{value}†", body)


def _where(paper: PublishedNumber) -> str:
    return f"{paper.source}, table {paper.table}"
