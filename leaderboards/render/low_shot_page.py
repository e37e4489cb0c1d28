"""The low-shot table as one self-contained HTML page: curves, tables and their records."""

from __future__ import annotations

from html import escape

from bench.records.record import Record
from leaderboards.render.drawer import entry, records_section
from leaderboards.render.low_shot_text import legend
from leaderboards.render.markup import (
    bar,
    bodies,
    breakable,
    css_class,
    described,
    filled_page,
    framed,
    listed_legend,
    listed_notes,
    marks,
    size_of,
)
from leaderboards.rows.layout import NONE
from leaderboards.rows.low_shot_parts import Draws, LabelShare, Line, LowShot, Panel, labels_of
from leaderboards.rows.provenance import facts_of
from leaderboards.rows.table import age, percent

LEAD = (
    "Encoders are frozen; a probe is trained on their features with few of the training labels."
    " Numbers in percent on the whole score split: mean and standard deviation over random draws"
    " of the labels; the band of a curve is one standard deviation. Click a number to see its"
    " records."
)
DRAWN = ("Record", "Training rows", "Result", "Head")  # facts that are listed draw by draw


def html_page(board: LowShot, svg: str) -> str:
    """Return the page as text; it loads nothing from anywhere."""
    sentences = legend(board)
    label = "The metric against the number of training labels; the tables below have the numbers."
    figure = f'<figure role="img" aria-label="{label}">\n{svg}</figure>\n'
    return filled_page(
        {
            "title": escape(board.title),
            "lead": escape(LEAD if board.panels else sentences.pop(0)),
            "before": figure if board.panels else "",
            "table": "\n".join(_panel(panel, p) for p, panel in enumerate(board.panels)),
            "notes": listed_notes(board.notes),
            "legend": listed_legend(sentences),
            "records": _records(board) if board.panels else "",
        }
    )


def _panel(panel: Panel, p: int) -> str:
    starts = (0, len(panel.columns))
    heads = "".join(
        f'<th scope="col"{css_class("start" * (i in starts))}>{escape(title)}</th>'
        for i, title in enumerate(panel.titles)
    )
    rows = [(line.kind, _line(panel, line, f"{p}-{i}")) for i, line in enumerate(panel.lines)]
    head = f'<thead><tr><th class="who" scope="col">Encoder</th>{heads}</tr></thead>'
    caption = f"{panel.title}: encoders by share of the labels."
    return "\n".join(
        [
            f'<h2 id="panel-{p}">{escape(panel.title)}</h2>',
            f'<p class="legend">{escape(panel.facts)}</p>',
            framed([head, *bodies(rows, len(panel.titles))], caption, f"panel-{p}"),
        ]
    )


def _line(panel: Panel, line: Line, place: str) -> str:
    chance = panel.record.chance
    cells = "".join(_cell(cell, f"{place}-{i}", chance, i) for i, cell in enumerate(line.cells))
    rest = f'<td class="start">{escape(line.area.text)}<sup>{marks(line.area.notes)}</sup></td>'
    rest += "".join(f"<td>{escape(reach.text)}<sup></sup></td>" for reach in line.reaches)
    name = f"{breakable(line.name)}<small>{size_of(line.record)}</small>"
    return f'<tr><th class="who" scope="row">{name}</th>{cells}{rest}</tr>'


def _cell(cell: Draws, place: str, chance: float | None, index: int) -> str:
    opening = f"<td{css_class('start' * (index == 0))}>"
    if cell.mean is None:
        return f'{opening}<span class="none">{NONE}</span></td>'
    mean, _, deviation = cell.text.partition(" ± ")
    spread = f'<span class="spread">± {deviation}</span>' if deviation else ""
    return (
        f'{opening}<a{css_class("number", "best" * cell.is_best)} href="#cell-{place}"'
        f' style="{bar(cell.mean, chance)}">{mean}</a>'
        f"{spread}<sup>{marks(cell.notes)}</sup></td>"
    )


def _records(board: LowShot) -> str:
    lines = []
    for p, panel in enumerate(board.panels):
        for i, line in enumerate(panel.lines):
            lines.append(f"<h3>{escape(f'{panel.title} · {line.name}')}</h3>")
            for c, (column, cell) in enumerate(zip(panel.columns, line.cells, strict=True)):
                if cell.records:
                    lines.append(_entry(panel, line.name, column, cell, f"{p}-{i}-{c}"))
    return records_section(lines)


def _entry(panel: Panel, name: str, column: LabelShare, cell: Draws, place: str) -> str:
    facts = {f"Draw {draw}": _draw(record) for draw, record in sorted(cell.records.items())}
    newest = max(cell.records.values(), key=age)
    facts["Draw rule"] = [str(newest.task.options.get("rule", "not recorded"))]
    facts |= {k: v for k, v in facts_of(newest).items() if k not in DRAWN}
    size = f"{column.per_class}{' labels per class' * (column.videos is None)}"
    what = f"{panel.title} · {column.title} ({size})"
    return entry(f"cell-{place}", name, what, cell.text, described(facts))


def _draw(record: Record) -> list[str]:
    rows = "boxes" if record.task.unit == "box" else "labels"
    split = record.task.options.get("split_sha256")
    facts = facts_of(record)
    return [
        f"{percent(record.headline)} with {labels_of(record).used:,} {rows}",
        *facts["Record"],
        *facts["Training rows"],
        *[f"split file {split}"] * bool(split),
        *facts["Head"],
    ]
