"""How each number came about: an entry per record, which a page opens in a drawer.

Without a script the entries are a foldable list below the table, and numbers link to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.publish.leaderboard import PublishedNumber
from bench.records.metrics import FrameMapPart
from bench.records.record import Result
from leaderboards.render.markup import bar, described
from leaderboards.render.page_table import places, signed
from leaderboards.rows.layout import printed
from leaderboards.rows.provenance import commit_of, facts_of, selection_lines
from leaderboards.rows.table import METRICS, Cell, Head, Row, Table, percent

ENTRIES_LIMIT = 1_000  # records: beyond it a page would grow too large, and the table tells of them
DIALOG = (
    '<dialog id="drawer" aria-labelledby="drawer-title">\n'
    '<header><div><h2 id="drawer-title"></h2><p id="drawer-what"></p></div>'
    '<button type="button" id="drawer-close" aria-label="Close">×</button></header>\n'  # noqa: RUF001
    '<div id="drawer-body"></div>\n</dialog>'
)
SHOWS = {
    "honest": " of the head chosen on held-out training rows, from the fit on the others",
    "best_on_score": " of the head that is best on the scored rows",
}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A cell, its column, and how many numbers of the column have a place."""

    head: Head
    cell: Cell
    placed: int


def shown_records(table: Table) -> list[Result]:
    """Return every record that a number stands for, once, in reading order."""
    found = {
        cell.record.id: cell.record
        for row in table.rows
        for cell in row.cells
        if cell.record is not None and cell.value is not None
    }
    return list(found.values())


def entries_markup(table: Table) -> str:
    """Return the entries of the first records and of all published numbers, grouped by row."""
    placed = [
        sum(row.cells[i].rank is not None for row in table.rows) for i in range(len(table.heads))
    ]
    lines: list[str] = []
    told: set[str] = set()
    for r, row in enumerate(table.rows):
        entries = []
        for record, cells in _by_record(row, table.heads, placed).items():
            if record not in told and len(told) < ENTRIES_LIMIT:
                entries.append(_entry(row, cells, table.notes))
                told.add(record)
        entries += [
            _paper(f"paper-{r}-{i}", row, head, cell.published)
            for i, (head, cell) in enumerate(zip(table.heads, row.cells, strict=True))
            if cell.value is None and cell.published
        ]
        if entries:
            lines += [f"<h3>{escape(row.name)}</h3>", *entries]
    return "\n".join(lines)


def entry(key: str, who: str, what: str, shown: str, body: str) -> str:
    """Return a foldable entry; in the drawer `who` and `what` stand above its body."""
    return (
        f'<details class="entry" id="{key}" data-who="{escape(who)}" data-what="{escape(what)}">'
        f'<summary><span>{escape(what)}</span><b>{escape(shown)}</b></summary>'
        f'<div class="body">{body}</div></details>'
    )  # fmt: skip


def _by_record(row: Row, heads: Sequence[Head], placed: Sequence[int]) -> dict[str, list[Shown]]:
    found: dict[str, list[Shown]] = {}
    for head, cell, number in zip(heads, row.cells, placed, strict=True):
        if cell.record is not None and cell.value is not None:
            own = Shown(head=head, cell=cell, placed=number)
            found.setdefault(cell.record.id, []).append(own)
    return found


# ---------------------------------------------------------------------------------------- a record
def _entry(row: Row, cells: Sequence[Shown], notes: Sequence[str]) -> str:
    record = cells[0].cell.record
    assert record is not None
    said = dict.fromkeys(notes[n - 1] for one in cells for n in one.cell.notes)
    remarks = "".join(f"<li>{escape(note)}</li>" for note in said)
    numbers = [one for one in cells if one.head.column.shows == "metric"] or cells[:1]
    body = "".join(_number(one) for one in numbers)
    body += described(_summary(record, cells))
    body += f'<h4>Notes</h4><ul class="remarks">{remarks}</ul>' if remarks else ""
    body += _again(record)
    body += f'<div class="classes" data-record="{record.id}"></div>'
    facts = described(facts_of(record))
    body += f'<details class="all"><summary>Everything on record</summary>{facts}</details>'
    what = f"{record.task.title} · {record.probe.name} · {record.protocol.name}"
    return entry(f"record-{record.id}", row.name, what, percent(record.headline) or "", body)


def _number(one: Shown) -> str:
    """Return a number in large digits, with its interval on a scale from 0 to 100."""
    cell, column = one.cell, one.head.column
    record, value = cell.record, cell.value
    assert record is not None and value is not None
    if column.shows == "gap":
        return _large(signed(value), "points that choosing on the scored rows would add", "")
    told = METRICS[column.metric]
    told += SHOWS.get(column.shows, "")
    if cell.seeds:
        told = f"{told}, mean of {cell.seeds.count} {cell.seeds.over}"
    chance = record.chance if column.metric != "top5" else None
    low, high = (cell.interval.low, cell.interval.high) if cell.interval else (None, None)
    scale = f'<div class="scale" style="{bar(value, chance, low, high)}{_paper_mark(cell)}"></div>'
    return _large(percent(value) or "", f"% {told}", scale)


def _large(digits: str, told: str, scale: str) -> str:
    return f'<div class="large"><p><b>{digits}</b> {escape(told)}</p>{scale}</div>'


def _paper_mark(cell: Cell) -> str:
    return f";--paper:{cell.published.value:.1f}%" if cell.published else ""


def _summary(record: Result, cells: Sequence[Shown]) -> dict[str, list[str]]:
    """Return what decides how far a number can be believed."""
    seeds = cells[0].cell.seeds
    facts = {
        "Counts": [_counts(record)],
        "Interval": _each(cells, _interval),
        "Place": _each(cells, _place),
        seeds.over.capitalize() if seeds else "Seeds": _each(cells, _seeds),
        "Head": selection_lines(record),
        "Optimism": _optimism(record),
        "Published": _each(cells, _published),
        "Others": _each(cells, _others),
        "Status": [record.status.replace("_", " ")] if record.status != "complete" else [],
    }
    return {heading: lines for heading, lines in facts.items() if lines}


def _each(cells: Sequence[Shown], told: Callable[[Shown], str]) -> list[str]:
    lines = dict.fromkeys(map(told, cells))
    return [line for line in lines if line]


def _counts(record: Result) -> str:
    own, listed = record.metrics, record.data.score.listed
    if isinstance(own, FrameMapPart):
        return f"{own.scored:,} of {own.expected:,} boxes scored, {own.num_frames:,} key frames"
    lost = "" if own.scored == listed else f", {listed - own.scored:,} unreadable"
    published = "" if own.expected == listed else f", {own.expected:,} published"
    return f"{own.correct:,} right of {listed:,} listed{lost}{published}"


def _interval(one: Shown) -> str:
    own = one.cell.interval
    if own is None:
        return ""
    return f"{percent(own.low)} to {percent(own.high)} ({100 * own.level:g} %, {own.method})"


def _place(one: Shown) -> str:
    rank = one.cell.rank
    if rank is None:
        return ""
    open_ = "" if rank[0] == rank[1] else ", as far as the sample tells"
    return f"{places(one.cell)} of {one.placed}{open_}"


def _seeds(one: Shown) -> str:
    own = one.cell.seeds
    if own is None:
        return ""
    one_of = own.over.removesuffix("s")
    values = ", ".join(f"{percent(v)} ({one_of} {key})" for key, v in sorted(own.values.items()))
    return f"{percent(own.mean)} ± {percent(own.std)}: {values}"


def _optimism(record: Result) -> list[str]:
    own = record.optimism
    if own is None:
        return []
    is_kept = record.probe.selection.score_split_fit == "kept"
    fits = "fitted without the held-out rows" if is_kept else "of the same fits"
    return [
        f"{fits} the chosen head has {percent(own.honest)} on the scored rows, the best of"
        f" {own.heads} {percent(own.best)}: choosing there would add {100 * own.gap:.1f} points"
    ]


def _published(one: Shown) -> str:
    paper, difference = one.cell.published, one.cell.difference
    if paper is None or difference is None:
        return ""
    return f"{printed(paper.value)} in {_where(paper)}; here {signed(difference)}"


def _others(one: Shown) -> str:
    others = one.cell.others
    return f"newest of {others + 1} records that fit" if others else ""


def _again(record: Result) -> str:
    commit = commit_of(record)
    made = f"Made {record.created}" + (f" at {commit}" if commit else "")
    lines = [f"bench run records/{record.id}.json", f"bench replay {record.id}"]
    code = escape("\n".join(lines))
    return (
        f'<h4>Run it again</h4><pre class="again"><code>{code}</code></pre>'
        f'<p class="dim">{escape(made)}. The second command compares what it gets with the'
        " record.</p>"
    )


# ------------------------------------------------------------------------------ a published number
def _paper(key: str, row: Row, head: Head, paper: PublishedNumber) -> str:
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
    told = f"% {METRICS.get(paper.metric, paper.metric)}, as printed, not measured here"
    body = _large(f"{value}†", told, scale)
    body += described({name: [text] for name, text in facts.items() if text})
    return entry(key, row.name, f"{paper.task} · {head.column.title}", f"{value}†", body)


def _where(paper: PublishedNumber) -> str:
    return f"{paper.source}, table {paper.table}"
