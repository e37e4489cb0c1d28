"""A table with all that a page can show, made from records with real prediction files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.metrics.intervals import Interval, wilson
from bench.publish.leaderboard import Column, Leaderboard, PublishedNumber
from bench.records.record import CheckPart, Record
from leaderboards.render.latex import latex_of
from leaderboards.render.markdown import markdown_of
from leaderboards.rows.join import join
from leaderboards.rows.layout import sheet_of
from leaderboards.rows.table import Seeds, Table, TableCell, TableRow
from tests.kept_records import kept_clips
from tests.sound_record import box_record, digest

ROWS = 200
# name, rows right by task, parameters, seconds for 1,000 clips
ENCODERS = {
    "small": ((150, 60), 22_000_000, 10.0),
    "medium": ((154, 90), 86_000_000, 25.0),
    "large": ((120, 96), 304_000_000, 80.0),
}


def markdown(table: Table) -> str:
    return markdown_of(sheet_of(table))


def latex_text(table: Table) -> str:
    return latex_of(sheet_of(table))


def page_records(folder: Path) -> list[Record]:
    """Return records of three encoders and a floor on two tasks, their files in `folder`."""
    records = []
    for name, (rights, count, gflops) in ENCODERS.items():
        for task, right in zip(("what", "how"), rights, strict=True):
            record = _kept(folder, right, encoder=name, task=task)
            records.append(_with_cost(record, count, gflops))
    records.append(_kept(folder, 30, encoder="random", is_floor=True, task="what"))
    boxes = box_record(0.25, encoder="small", probe="linear")
    return [*records, _with_cost(boxes, 22_000_000, 10.0)]


def _kept(folder: Path, right: int, **facts: Any) -> Record:
    return kept_clips(folder, np.arange(ROWS) < right, **facts)


def _with_cost(record: Record, count: int, gflops: float) -> Record:
    check = CheckPart(
        clip="formula-1 16x224", sha256=digest("features"), blocks=(0.5,), spread=1.0,
        num_tensors=294, num_norms=49, gflops=gflops,
    )  # fmt: skip
    encoder = record.encoder.model_copy(update={"num_parameters": count, "check": check})
    environment = {**record.environment, "git_commit": "0123456789abcdef"}
    return record.model_copy(update={"encoder": encoder, "environment": environment})


def page_board() -> Leaderboard:
    """Return a board of the two tasks, and of boxes."""
    columns = [Column(title="attentive", task=task, probe="attentive") for task in ("what", "how")]
    boxes = Column(title="linear", task="ava", probe="linear", metric="mean_ap")
    return Leaderboard(name="page", title="A <page>", columns=[*columns, boxes])


def page_table(records: list[Record]) -> Table:
    """Return a table with intervals, places, seeds, and numbers of a paper."""
    table = join(page_board(), records)
    rows = [_dressed(row) for row in table.rows]
    paper = TableRow(
        kind="published",
        name="JEPA <x>",
        record=None,
        cells=(
            TableCell(published=published(81.25)),
            TableCell(),
            TableCell(published=published(30.0)),
        ),
    )
    return replace(table, rows=(rows[0], paper, *rows[1:]))


def _dressed(row: TableRow) -> TableRow:
    cells = [replace(cell, interval=_interval(cell)) if cell.record else cell for cell in row.cells]
    if row.name == "medium":
        cells[0] = replace(
            cells[0],
            rank=(1, 2),
            seeds=Seeds(values={0: 0.75, 1: 0.77, 2: 0.79}),
            published=published(80.0),
        )
        cells[1] = replace(cells[1], rank=(1, 2))
    if row.name == "small":
        cells[0] = replace(cells[0], rank=(1, 2))
        cells[1] = replace(cells[1], rank=(3, 3))
    return replace(row, cells=tuple(cells))


def _interval(cell: TableCell) -> Interval:
    assert cell.value is not None
    return wilson(round(cell.value * ROWS), ROWS)


def published(value: float, **changes: Any) -> PublishedNumber:
    """Return a number of a paper."""
    facts: dict[str, Any] = {
        "source": "jepa-2024", "table": "5", "method": "JEPA", "arch": "ViT-L/16",
        "resolution": 224, "params_m": 300.0, "pretrain_data": "VideoMix2M",
        "samples_seen_m": "270", "task": "what", "views": "16x8x3", "probe": "attentive",
        "train_fraction": 1.0, "metric": "top1", "value": value, "std": None,
    }  # fmt: skip
    return PublishedNumber(**{**facts, **changes})
