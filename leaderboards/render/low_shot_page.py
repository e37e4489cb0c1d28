"""The low-shot table as one self-contained HTML page: curves, tables, and the records behind."""

from __future__ import annotations

from html import escape

from leaderboards.render.drawer import DIALOG, entry
from leaderboards.render.low_shot_text import area, empty, header, legend, number, reached
from leaderboards.render.markup import (
    bar,
    breakable,
    described,
    filled_page,
    listed_legend,
    listed_notes,
    marks,
    size_of,
)
from leaderboards.rows.layout import NONE
from leaderboards.rows.low_shot_parts import Cell, Column, Line, LowShot, Panel
from leaderboards.rows.provenance import facts_of
from leaderboards.rows.table import percent

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
    return filled_page(
        {
            "title": escape(board.title),
            "lead": escape(LEAD if panels else empty(board)),
            "before": _figure(svg) if panels else "",
            "table": "\n".join(_panel(panel, p) for p, panel in panels),
            "notes": listed_notes(board.notes),
            "legend": listed_legend(legend(board)),
            "records": _records(board) if panels else "",
        }
    )


def _figure(svg: str) -> str:
    said = "The metric against the number of training labels; the tables below hold the numbers."
    return f'<figure role="img" aria-label="{said}">\n{svg}</figure>\n'


def _panel(panel: Panel, p: int) -> str:
    shares = len(panel.columns)
    heads = "".join(
        f'<th scope="col"{_start(i in (0, shares))}>{escape(title)}</th>'
        for i, title in enumerate(header(panel))
    )
    bodies = []
    for css, is_floor in (("ranked", False), ("floors", True)):
        rows = [
            _line(panel, line, f"{p}-{i}")
            for i, line in enumerate(panel.lines)
            if line.is_floor == is_floor
        ]
        if rows:
            bodies += [f'<tbody class="{css}">', *rows, "</tbody>"]
    return "\n".join(
        [
            f'<h2 id="panel-{p}">{escape(panel.title)}</h2>',
            f'<p class="legend">{escape(panel.facts)}</p>',
            f'<div class="scroll" role="region" aria-labelledby="panel-{p}" tabindex="0">',
            '<table class="board">',
            f"<caption>{escape(panel.title)}: encoders by share of the labels.</caption>",
            f'<thead><tr><th class="who" scope="col">Encoder</th>{heads}</tr></thead>',
            *bodies,
            "</table>",
            "</div>",
        ]
    )


def _line(panel: Panel, line: Line, place: str) -> str:
    chance = panel.record.chance
    cells = "".join(_cell(cell, f"{place}-{i}", chance, i) for i, cell in enumerate(line.cells))
    rest = f'<td class="start">{escape(area(line))}<sup>{marks(line.area_notes)}</sup></td>'
    rest += "".join(f"<td>{escape(reached(reach))}<sup></sup></td>" for reach in line.reaches)
    told = f"{breakable(line.name)}<small>{size_of(line.record)}</small>"
    name = f'<th class="who" scope="row">{told}</th>'
    return f"<tr>{name}{cells}{rest}</tr>"


def _cell(cell: Cell, place: str, chance: float | None, index: int) -> str:
    opening = f"<td{_start(index == 0)}>"
    if cell.mean is None:
        return f'{opening}<span class="none">{NONE}</span></td>'
    mean, _, deviation = number(cell).partition(" ± ")
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
    lines = ['<section class="records">', "<h2>How each number came about</h2>"]
    for p, panel in enumerate(board.panels):
        for i, line in enumerate(panel.lines):
            lines.append(f"<h3>{escape(f'{panel.title} · {line.name}')}</h3>")
            for c, (column, cell) in enumerate(zip(panel.columns, line.cells, strict=True)):
                if cell.records:
                    lines.append(_entry(panel, line.name, column, cell, f"{p}-{i}-{c}"))
    return "\n".join([*lines, "</section>", DIALOG])


def _entry(panel: Panel, name: str, column: Column, cell: Cell, place: str) -> str:
    facts = {f"Draw {draw}": _draw(cell, draw) for draw in sorted(cell.records)}
    newest = max(cell.records.values(), key=lambda record: (record.created, record.id))
    facts["Rule"] = [str(newest.task.options.get("rule", "not on record"))]
    facts |= {k: v for k, v in facts_of(newest).items() if k not in DRAWN}
    what = f"{panel.title} · {column.title} ({_size(column)})"
    return entry(f"cell-{place}", name, what, number(cell), described(facts))


def _size(column: Column) -> str:
    return column.a_class if column.videos is not None else f"{column.a_class} labels a class"


def _draw(cell: Cell, draw: int) -> list[str]:
    record = cell.records[draw]
    labels, fit = record.train_labels, record.data.fit
    assert labels and fit
    rows = "boxes" if record.task.unit == "box" else "labels"
    lines = [
        f"{percent(record.headline)} with {labels.used:,} {rows}, record {record.id}, run again"
        f" with: bench run records/{record.id}.json",
        f"manifest {fit.digest}",
    ]
    split = record.task.options.get("split_sha256")
    lines += [f"split file {split}"] if split else []
    return [*lines, *facts_of(record)["Head"]]
