"""The low-shot table as one self-contained HTML page: curves, tables, and the records behind."""

from __future__ import annotations

from html import escape

from leaderboards.render.drawer import entry, records_section
from leaderboards.render.low_shot_text import empty, legend
from leaderboards.render.markup import (
    bar,
    breakable,
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
    "Encoders stay frozen; a probe is trained on their features with few of the training labels."
    " Numbers in percent on the whole score split, mean and standard deviation over random"
    " draws of the labels; the band of a curve is that deviation. Choose a number to see the"
    " records behind it."
)
# What differs between the records of a cell is told draw by draw.
DRAWN = ("Record", "Training rows", "Result", "Head")


def html_page(board: LowShot, svg: str) -> str:
    """Return the page as text; it loads nothing from anywhere."""
    panels = list(enumerate(board.panels))
    said = "The metric against the number of training labels; the tables below hold the numbers."
    figure = f'<figure role="img" aria-label="{said}">\n{svg}</figure>\n'
    return filled_page(
        {
            "title": escape(board.title),
            "lead": escape(LEAD if panels else empty(board)),
            "before": figure if panels else "",
            "table": "\n".join(_panel(panel, p) for p, panel in panels),
            "notes": listed_notes(board.notes),
            "legend": listed_legend(legend(board)),
            "records": _records(board) if panels else "",
        }
    )


def _panel(panel: Panel, p: int) -> str:
    shares = len(panel.columns)
    heads = "".join(
        f'<th scope="col"{_start(i in (0, shares))}>{escape(title)}</th>'
        for i, title in enumerate(panel.titles)
    )
    bodies = []
    for css, kind in (("ranked", "encoder"), ("floors", "floor")):
        rows = [
            _line(panel, line, f"{p}-{i}")
            for i, line in enumerate(panel.lines)
            if line.kind == kind
        ]
        if rows:
            bodies += [f'<tbody class="{css}">', *rows, "</tbody>"]
    lines = [
        f'<h2 id="panel-{p}">{escape(panel.title)}</h2>',
        f'<p class="legend">{escape(panel.facts)}</p>',
    ]
    head = f'<thead><tr><th class="who" scope="col">Encoder</th>{heads}</tr></thead>'
    caption = f"{panel.title}: encoders by share of the labels."
    return "\n".join([*lines, framed([head, *bodies], caption, f"panel-{p}")])


def _line(panel: Panel, line: Line, place: str) -> str:
    chance = panel.record.chance
    cells = "".join(_cell(cell, f"{place}-{i}", chance, i) for i, cell in enumerate(line.cells))
    rest = f'<td class="start">{escape(line.area.text)}<sup>{marks(line.area.notes)}</sup></td>'
    rest += "".join(f"<td>{escape(reach.text)}<sup></sup></td>" for reach in line.reaches)
    told = f"{breakable(line.name)}<small>{size_of(line.record)}</small>"
    name = f'<th class="who" scope="row">{told}</th>'
    return f"<tr>{name}{cells}{rest}</tr>"


def _cell(cell: Draws, place: str, chance: float | None, index: int) -> str:
    opening = f"<td{_start(index == 0)}>"
    if cell.mean is None:
        return f'{opening}<span class="none">{NONE}</span></td>'
    mean, _, deviation = cell.text.partition(" ± ")
    css = "number best" if cell.is_best else "number"
    spread = f'<span class="spread">± {deviation}</span>' if deviation else ""
    return (
        f'{opening}<a class="{css}" href="#cell-{place}"'
        f' style="{bar(cell.mean, chance)}">{mean}</a>'
        f"{spread}<sup>{marks(cell.notes)}</sup></td>"
    )


def _start(is_start: bool) -> str:
    return ' class="start"' if is_start else ""


def _records(board: LowShot) -> str:
    """Return foldable facts for every cell, by panel and encoder."""
    lines = []
    for p, panel in enumerate(board.panels):
        for i, line in enumerate(panel.lines):
            lines.append(f"<h3>{escape(f'{panel.title} · {line.name}')}</h3>")
            for c, (column, cell) in enumerate(zip(panel.columns, line.cells, strict=True)):
                if cell.records:
                    lines.append(_entry(panel, line.name, column, cell, f"{p}-{i}-{c}"))
    return records_section(lines)


def _entry(panel: Panel, name: str, column: LabelShare, cell: Draws, place: str) -> str:
    facts = {f"Draw {draw}": _draw(cell, draw) for draw in sorted(cell.records)}
    newest = max(cell.records.values(), key=age)
    facts["Rule"] = [str(newest.task.options.get("rule", "not on record"))]
    facts |= {k: v for k, v in facts_of(newest).items() if k not in DRAWN}
    size = column.a_class if column.videos is not None else f"{column.a_class} labels a class"
    what = f"{panel.title} · {column.title} ({size})"
    return entry(f"cell-{place}", name, what, cell.text, described(facts))


def _draw(cell: Draws, draw: int) -> list[str]:
    record = cell.records[draw]
    labels, fit = labels_of(record), record.data.fit
    assert fit
    rows = "boxes" if record.task.unit == "box" else "labels"
    lines = [
        f"{percent(record.headline)} with {labels.used:,} {rows}, record {record.id}, run again"
        f" with: bench run records/{record.id}.json",
        f"manifest {fit.digest}",
    ]
    split = record.task.options.get("split_sha256")
    lines += [f"split file {split}"] if split else []
    return [*lines, *facts_of(record)["Head"]]
