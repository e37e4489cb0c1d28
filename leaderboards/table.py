"""What a table is made of: columns, rows and cells, each with the record behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.result import Result
from bench.types import Column

METRICS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_per_class": "mean accuracy per class",
    "mean_ap": "frame mAP at IoU 0.5",
}


@dataclass(frozen=True, kw_only=True)
class Head:
    """A column and the record that stands for what it measures (None: no record yet)."""

    column: Column
    protocol: str | None
    reference: Result | None

    @property
    def label(self) -> str:
        """Short unique text, such as `ssv2/attentive@vjepa@1:top5`, for files read by programs."""
        metric = "" if self.column.metric == "top1" else f":{self.column.metric}"
        return f"{self.column.task}/{self.column.probe}@{self.protocol or 'any'}{metric}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number (a fraction; None: no record), its footnote numbers and the record behind it.

    `others` counts the further records that fitted the cell.
    """

    value: float | None = None
    record: Result | None = None
    notes: tuple[int, ...] = ()
    others: int = 0
    is_best: bool = False


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What a table says of an encoder before its numbers.

    `plain` is its text for programs, `value` what it is sorted by.
    """

    text: str
    plain: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """An encoder, a floor (random weights, raw pixels) or the chance level.

    `record` is the newest one of the encoder, for its size and source. `facts` are as many as the
    table has headings for.
    """

    kind: Literal["encoder", "floor", "chance"]
    name: str
    record: Result | None
    cells: tuple[Cell, ...]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """All that a table shows. `notes[i]` is footnote i + 1; `hidden` counts records left out
    because they are not reportable. `facts` are headings of columns that say what an encoder is,
    `remarks` sentences below the table on what they mean.
    """

    name: str
    title: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    hidden: int
    facts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def percent(value: float | None) -> str | None:
    """Spell a fraction in percent with one decimal."""
    return None if value is None else f"{100 * value:.1f}"
