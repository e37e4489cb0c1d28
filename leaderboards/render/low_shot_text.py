"""The low-shot table as a sheet (as V-JEPA's table 7: encoders by shares), tidy CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.files import csv_cell
from leaderboards.render.json_text import dumped, encoder_fields
from leaderboards.rows.layout import PrintedGrid, Sheet, groups_of
from leaderboards.rows.low_shot_parts import DrawnNumbers, Draws, Line, LowShot, Panel
from leaderboards.rows.provenance import facts_of
from leaderboards.rows.sections import Section, kept_out
from leaderboards.rows.table import TableCell, TableRow

DEFINITIONS = (
    "±: the standard deviation over the draws (ddof = 1; the CSV has ddof = 0 too). Draws differ"
    " only in their training rows; all labels are one draw. In parentheses after a share: labels"
    " per class, or the number of videos if the rows are boxes.",
    "Area: the metric averaged over the logarithm of the number of training labels n: sum of"
    " (a_i + a_i+1) / 2 * log10(n_i+1 / n_i) over the measured shares, divided by"
    " log10(n_last / n_first); 100 is a perfect score at every share. Mean ± standard deviation"
    " over the draws.",
    "Labels to a target: the fewest training labels at which the curve of a draw (linear in"
    " log10(n) between measured shares) reaches the target; the median over the draws, with the"
    " smallest and largest in parentheses. Nothing is extrapolated: ≤ if the smallest share"
    " reaches it already, 'not reached' if no share does.",
    "Bold: best in its column among complete records with the same deviations from the protocol;"
    " never a floor, and nothing where a floor is among the best.",
)
FIELDS = (
    "task", "probe", "protocol", "kind", "encoder", "weights_sha256", "plan", "quantity", "share",
    "fraction", "shots", "subset_sha256", "target", "labels", "labels_per_class", "draws", "mean",
    "std_ddof1", "std_ddof0", "smallest", "largest", "by_draw", "records", "notes",
)  # fmt: skip


def sheet_of(board: LowShot, name: str) -> Sheet:
    """Return a sheet with a grid per panel."""
    return Sheet(
        name=name,
        title=board.title,
        grids=tuple(map(_grid, board.panels)),
        notes=board.notes,
        legend=tuple(legend(board)),
    )


def legend(board: LowShot) -> list[str]:
    """Return the sentences below the tables; without any table the first one says why."""
    empty = "No low-shot records yet; create some with bench lowshot."
    definitions = (
        DEFINITIONS if board.panels else ["No records to show." if board.hidden else empty]
    )
    return [*definitions, *kept_out(board.hidden, board.refused)]


def _grid(panel: Panel) -> PrintedGrid:
    columns = tuple(range(len(panel.titles)))
    return PrintedGrid(
        sections=(Section(columns=columns, title=panel.title, facts=panel.facts),),
        titles=tuple(panel.titles),
        groups=groups_of([_row(line) for line in panel.lines]),
        is_spanned=False,
    )


def _row(line: Line) -> TableRow:
    cells = [
        TableCell(text=cell.text, notes=cell.notes, is_best=cell.is_best)
        for cell in (*line.cells, line.area)
    ]
    cells += [TableCell(text=reach.text) for reach in line.reaches]
    return TableRow(kind=line.kind, name=line.name, record=line.record, cells=tuple(cells))


# ---------------------------------------------------------------------------------------------- CSV
def csv_text(board: LowShot) -> str:
    """Return one line per number, in percent or rows.

    `quantity` is the metric (`top1`, `mean_ap`), `area` or `labels_to_reach`; `by_draw` and
    `records` are ordered by draw and separated by blanks.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    for panel in board.panels:
        for line in panel.lines:
            common = {
                "task": panel.record.task.name,
                "probe": panel.record.probe.name,
                "protocol": panel.record.protocol.name,
                "kind": line.kind,
                "encoder": line.name,
                "weights_sha256": line.record.encoder.weights_sha256,
                "plan": line.record.plan.score,
            }
            writer.writerows(
                _cells({**common, **row}) for row in _csv_rows(panel, line, board.notes)
            )
    return out.getvalue()


def _cells(row: Mapping[str, Any]) -> dict[str, object]:
    return {name: csv_cell(value) for name, value in row.items()}


def _csv_rows(panel: Panel, line: Line, notes: Sequence[str]) -> Iterator[dict[str, Any]]:
    for share, cell in zip(panel.columns, line.cells, strict=True):
        if cell.records:
            labels = share.labels
            is_fraction = labels.shots is None and labels.subset_sha256 is None
            yield {
                "quantity": panel.record.task.metric,
                "share": share.title,
                "fraction": labels.fraction if is_fraction else None,
                "shots": labels.shots,
                "subset_sha256": labels.subset_sha256,
                "labels": f"{cell.labels:.10g}",
                "labels_per_class": f"{share.rows_per_class:.6g}",
                "records": " ".join(r.id for _, r in sorted(cell.records.items())),
                **_spread_fields(cell, notes),
            }
    if line.area.values:
        yield {"quantity": "area", **_spread_fields(line.area, notes)}
    for reach in line.reaches:
        if not reach.by_draw:
            continue  # no draw was measured at all shares
        found = reach.found
        is_whole = len(found) == len(reach.by_draw)
        yield {
            "quantity": "labels_to_reach",
            "target": round(100 * reach.target, 6),
            "labels": "not reached" if reach.labels is None else round(reach.labels, 2),
            "draws": len(reach.by_draw),
            "smallest": round(found[0], 2) if found else "not reached",
            "largest": round(found[-1], 2) if is_whole else "not reached",
            "by_draw": " ".join("not_reached" if n is None else f"{n:.2f}" for n in reach.by_draw),
            "notes": "reached by the smallest share" if reach.is_bound else "",
        }


def _spread_fields(drawn: DrawnNumbers, notes: Sequence[str]) -> dict[str, Any]:
    numbers = {
        "mean": drawn.mean,
        "std_ddof1": drawn.std(1),
        "std_ddof0": drawn.std(0),
        "smallest": min(drawn.values),
        "largest": max(drawn.values),
    }
    return {
        "draws": len(drawn.values),
        **{key: None if v is None else round(100 * v, 6) for key, v in numbers.items()},
        "by_draw": " ".join(f"{100 * value:.6f}" for value in drawn.values),
        "notes": " | ".join(notes[n - 1] for n in drawn.notes),
    }


# --------------------------------------------------------------------------------------------- JSON
def json_text(board: LowShot, name: str) -> str:
    """Return everything that the tables show; numbers are fractions."""
    fields = {
        "name": name,
        "title": board.title,
        "panels": [_panel_fields(panel) for panel in board.panels],
        "notes": board.notes,
        "legend": legend(board),
        "hidden": board.hidden,
        "refused": board.refused,
    }
    return dumped(fields)


def _panel_fields(panel: Panel) -> dict[str, Any]:
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
                "title": share.title,
                "rows": share.rows,
                "labels_a_class": share.per_class,
                "fraction": share.labels.fraction,
                "shots": share.labels.shots,
                "subset_sha256": share.labels.subset_sha256,
            }
            for share in panel.columns
        ],
        "targets": panel.targets,
        "lines": [_line_fields(line) for line in panel.lines],
    }


def _line_fields(line: Line) -> dict[str, Any]:
    area = line.area
    return {
        "kind": line.kind,
        "name": line.name,
        **encoder_fields(line.record),
        "cells": [_cell_fields(cell) for cell in line.cells],
        "area": {
            "mean": area.mean,
            "std": area.std(),
            "by_draw": area.values,
            "notes": area.notes,
        },
        "reaches": [dataclasses.asdict(reach) for reach in line.reaches],
        "facts": facts_of(line.record),
    }


def _cell_fields(cell: Draws) -> dict[str, Any]:
    by_draw = sorted(cell.records.items())
    return {
        "mean": cell.mean,
        "std": cell.std(),
        "labels": cell.labels if cell.records else None,
        "values": {str(draw): record.headline for draw, record in by_draw},
        "records": {str(draw): record.id for draw, record in by_draw},
        "is_best": cell.is_best,
        "notes": cell.notes,
    }
