"""The low-shot table as Markdown (V-JEPA's table 7: encoders by shares) and as a tidy CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from leaderboards.render.markdown import escaped, padded_table, spoken, superscript
from leaderboards.rows.layout import NONE
from leaderboards.rows.low_shot_parts import Cell, Line, LowShot, Panel, Reach
from leaderboards.rows.sections import refusal
from leaderboards.rows.table import percent

EMPTY = "No low-shot records yet: make some with bench lowshot."
DEFINITIONS = (
    "± is the standard deviation over the draws with ddof = 1; the CSV has that with ddof = 0 too."
    " Draws differ in the training rows alone, and all labels are one draw. In brackets behind a"
    " share: labels a class, or the videos that boxes are of.",
    "Area: the number averaged over the logarithm of the number of training labels n, sum of"
    " (a_i + a_i+1) / 2 times log10(n_i+1 / n_i) over the measured shares, divided by"
    " log10(n_last / n_first); 100 is a perfect score at every share. Mean ± deviation over the"
    " draws.",
    "Labels to a target: the smallest number of training labels at which the curve of a draw,"
    " straight between measured shares over log10(n), reaches the target; the median over the"
    " draws, in brackets the smallest and the largest. Nothing is said beyond the measured shares:"
    " ≤ where the smallest share reaches it, 'not reached' where no share does.",
    "Bold: best of its column among complete records that follow the protocol alike.",
)
FIELDS = (
    "task", "probe", "protocol", "kind", "encoder", "weights_sha256", "plan", "quantity", "share",
    "fraction", "shots", "subset_sha256", "target", "labels", "labels_per_class", "draws", "mean",
    "std_ddof1", "std_ddof0", "smallest", "largest", "by_draw", "records", "notes",
)  # fmt: skip


def markdown(board: LowShot) -> str:
    """Return a table a panel, padded so that columns also line up in a terminal."""
    lines = [f"# {board.title}", ""]
    for panel in board.panels:
        lines += [f"## {panel.title}", "", panel.facts, "", *_grid(panel), ""]
    if not board.panels:
        return "\n".join([*lines, empty(board), *legend(board), ""])
    lines += [f"{superscript(i)} {spoken(note)}  " for i, note in enumerate(board.notes, start=1)]
    lines += [""] if board.notes else []
    return "\n".join([*lines, *(f"{spoken(sentence)}  " for sentence in legend(board))]) + "\n"


def empty(board: LowShot) -> str:
    """Say why there is no table."""
    return f"No records to show. {_hidden(board)}" if board.hidden else EMPTY


def legend(board: LowShot) -> list[str]:
    """Return the sentences below the tables."""
    told = [*DEFINITIONS, *[_hidden(board)] * bool(board.hidden)] if board.panels else []
    return [*told, *(refusal(sentence) for sentence in board.refused)]


def _hidden(board: LowShot) -> str:
    return f"Not shown: {board.hidden} not reportable (bench board low_shot --all shows them)."


def header(panel: Panel) -> list[str]:
    """Return the titles of the columns: shares with labels a class, area, targets."""
    shares = [f"{column.title} ({column.a_class})" for column in panel.columns]
    return [*shares, "area", *(f"{panel.rows} to {100 * t:.10g} %" for t in panel.targets)]


def number(cell: Cell) -> str:
    """Return `mean ± std` in percent, the mean alone of one draw, a dash for none."""
    return _with_spread(cell.mean, cell.spread())


def area(line: Line) -> str:
    """Return the area in percent with its spread over the draws."""
    return _with_spread(line.area, line.area_spread())


def reached(reach: Reach) -> str:
    """Return the labels needed, with the smallest and largest over the draws."""
    if not reach.by_draw:
        return NONE
    if reach.labels is None:
        own = "not reached"
    else:
        own = f"{'≤ ' if reach.is_bound else ''}{reach.labels:,.0f}"
    if len(reach.by_draw) < 2:
        return own
    found = sorted(n for n in reach.by_draw if n is not None)
    if not found:
        return own
    ends = [f"{found[0]:,.0f}"]
    ends.append(f"{found[-1]:,.0f}" if len(found) == len(reach.by_draw) else "not reached")
    return own if ends[0] == ends[1] else f"{own} ({ends[0]} to {ends[1]})"


def csv_text(board: LowShot) -> str:
    """Return one line per number, in percent or rows.

    `quantity` is the metric (`top1`, `mean_ap`), `area` or `labels_to_reach`.

    `by_draw` and `records` go by rising draw and are separated by blanks.
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
                "kind": "floor" if line.is_floor else "encoder",
                "encoder": line.name,
                "weights_sha256": line.record.encoder.weights_sha256 or "",
                "plan": line.record.plan.score,
            }
            for row in _csv_rows(panel, line, board.notes):
                writer.writerow({**common, **row})
    return out.getvalue()


def _csv_rows(panel: Panel, line: Line, notes: Sequence[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for column, cell in zip(panel.columns, line.cells, strict=True):
        if cell.records:
            labels = column.labels
            is_fraction = labels.shots is None and labels.subset_sha256 is None
            rows.append(
                {
                    "quantity": panel.record.task.metric,
                    "share": column.title,
                    "fraction": labels.fraction if is_fraction else "",
                    "shots": "" if labels.shots is None else labels.shots,
                    "subset_sha256": labels.subset_sha256 or "",
                    "labels": f"{cell.labels:.10g}",
                    "labels_per_class": f"{column.rows / column.num_classes:.6g}",
                    **_spread_fields(cell.values, cell.mean, cell.spread(1), cell.spread(0)),
                    "records": " ".join(r.id for _, r in sorted(cell.records.items())),
                    "notes": " | ".join(notes[n - 1] for n in cell.notes),
                }
            )
    if line.areas:
        own = (line.area, line.area_spread(1), line.area_spread(0))
        said = " | ".join(notes[n - 1] for n in line.area_notes)
        rows.append({"quantity": "area", **_spread_fields(line.areas, *own), "notes": said})
    for reach in line.reaches:
        found = [n for n in reach.by_draw if n is not None]
        rows.append(
            {
                "quantity": "labels_to_reach",
                "target": round(100 * reach.target, 6),
                "labels": "not reached" if reach.labels is None else round(reach.labels, 2),
                "draws": len(reach.by_draw),
                "smallest": round(min(found), 2) if found else "not reached",
                "largest": round(max(found), 2)
                if len(found) == len(reach.by_draw)
                else "not reached",
                "by_draw": " ".join(
                    "not_reached" if n is None else f"{n:.2f}" for n in reach.by_draw
                ),
                "notes": "reached by the smallest share" if reach.is_bound else "",
            }
        )
    return rows


def _spread_fields(
    values: Sequence[float], mean: float | None, ddof1: float | None, ddof0: float | None
) -> dict[str, Any]:
    assert mean is not None
    return {
        "draws": len(values),
        "mean": round(100 * mean, 6),
        "std_ddof1": "" if ddof1 is None else round(100 * ddof1, 6),
        "std_ddof0": "" if ddof0 is None else round(100 * ddof0, 6),
        "smallest": round(100 * min(values), 6),
        "largest": round(100 * max(values), 6),
        "by_draw": " ".join(f"{100 * value:.6f}" for value in values),
    }


def _grid(panel: Panel) -> list[str]:
    head = ["encoder", *header(panel)]
    body: list[list[str]] = []
    for is_floor in (False, True):
        lines = [line for line in panel.lines if line.is_floor == is_floor]
        if is_floor and lines:
            body.append(["*floors*", *("" for _ in head[1:])])
        for line in lines:
            name = escaped(line.name)
            body.append([f"*{name}*" if is_floor else name, *_texts(line)])
    return padded_table([head, *body])


def _texts(line: Line) -> list[str]:
    cells = [
        ("**" if cell.is_best else "")
        + number(cell)
        + ("**" if cell.is_best else "")
        + _marks(cell.notes)
        for cell in line.cells
    ]
    return [*cells, area(line) + _marks(line.area_notes), *map(reached, line.reaches)]


def _marks(notes: Sequence[int]) -> str:
    return ",".join(superscript(note) for note in notes)


def _with_spread(mean: float | None, deviation: float | None) -> str:
    shown = percent(mean)
    if shown is None:
        return NONE
    return shown if deviation is None else f"{shown} ± {percent(deviation)}"
