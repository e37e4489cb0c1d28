"""The low-shot table as LaTeX and as JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from leaderboards.render.json_text import dumped
from leaderboards.render.latex import (
    NEEDS,
    Tabular,
    bold,
    escaped,
    listed,
    one_line,
    raised,
    set_table,
    tab_label,
)
from leaderboards.render.low_shot_text import area, empty, header, legend, number, reached
from leaderboards.rows.low_shot_parts import Cell, Line, LowShot, Panel
from leaderboards.rows.provenance import facts_of


def latex_text(board: LowShot, name: str) -> str:
    """Return a LaTeX table per panel."""
    if not board.panels:
        said = [board.title, empty(board), *legend(board)]
        return "".join(f"% {one_line(sentence)}\n" for sentence in said)
    numbered = enumerate(board.panels, start=1)
    return "\n".join([NEEDS, *(_table(board, p, tab_label(name, i)) for i, p in numbered)])


def json_text(board: LowShot, name: str) -> str:
    """Return everything that the tables show; numbers are fractions."""
    fields = {
        "name": name,
        "title": board.title,
        "panels": [_panel(panel) for panel in board.panels],
        "notes": list(board.notes),
        "legend": legend(board),
        "hidden": board.hidden,
        "refused": list(board.refused),
    }
    return dumped(fields)


def _table(board: LowShot, panel: Panel, label: str) -> str:
    titles = [escaped(title) for title in header(panel)]
    groups = []
    for is_floor in (False, True):
        lines = [_line(line) for line in panel.lines if line.is_floor == is_floor]
        if is_floor and lines:
            lines.insert(0, [r"\emph{floors}", *[""] * len(titles)])
        groups += [lines] if lines else []
    used = [n for line in panel.lines for cell in line.cells for n in cell.notes]
    used += [n for line in panel.lines for n in line.area_notes]
    return set_table(
        Tabular(
            caption=f"{escaped(board.title)}. {escaped(panel.title)}: {escaped(panel.facts)}.",
            label=label,
            spec="l" + "r" * len(titles),
            above=[],
            head=["Encoder", *titles],
            groups=groups,
            below=[*listed(board.notes, used), *map(escaped, legend(board))],
        )
    )


def _line(line: Line) -> list[str]:
    name = escaped(line.name)
    cells = [bold(escaped(number(c)), c.is_best) + raised(c.notes) for c in line.cells]
    rest = [
        escaped(area(line)) + raised(line.area_notes),
        *map(escaped, map(reached, line.reaches)),
    ]
    return [rf"\emph{{{name}}}" if line.is_floor else name, *cells, *rest]


def _panel(panel: Panel) -> dict[str, Any]:
    record = panel.record
    return {
        "task": record.task.name,
        "probe": record.probe.name,
        "protocol": record.protocol.name,
        "metric": record.task.metric,
        "title": panel.title,
        "facts": panel.facts,
        "draws": panel.draws,
        "columns": [
            {
                "title": column.title,
                "rows": column.rows,
                "labels_a_class": column.a_class,
                "fraction": column.labels.fraction,
                "shots": column.labels.shots,
                "subset_sha256": column.labels.subset_sha256,
            }
            for column in panel.columns
        ],
        "targets": list(panel.targets),
        "lines": [_line_fields(line) for line in panel.lines],
    }


def _line_fields(line: Line) -> dict[str, Any]:
    return {
        "kind": "floor" if line.is_floor else "encoder",
        "name": line.name,
        "encoder": line.record.encoder.spec,
        "weights_sha256": line.record.encoder.weights_sha256,
        "num_parameters": line.record.encoder.num_parameters,
        "cells": [_cell(cell) for cell in line.cells],
        "area": {
            "mean": line.area,
            "std": line.area_spread(),
            "by_draw": list(line.areas),
            "notes": list(line.area_notes),
        },
        "reaches": [dataclasses.asdict(reach) for reach in line.reaches],
        "facts": facts_of(line.record),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    by_draw = sorted(cell.records.items())
    return {
        "mean": cell.mean,
        "std": cell.spread(),
        "labels": cell.labels if cell.records else None,
        "values": {str(draw): record.headline for draw, record in by_draw},
        "records": {str(draw): record.id for draw, record in by_draw},
        "is_best": cell.is_best,
        "notes": list(cell.notes),
    }
