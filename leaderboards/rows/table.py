"""Parts of a table: columns, rows and cells, with their records."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from bench.publish.leaderboard import Column, PublishedNumber
from bench.records.record import Record

if TYPE_CHECKING:
    from bench.metrics.intervals import Interval

T = TypeVar("T")
K = TypeVar("K")

METRICS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_per_class": "mean accuracy per class",
    "mean_ap": "frame mAP at IoU 0.5",
    # Only in published columns.
    "accuracy": "accuracy",
    "mAP": "mAP",
    "J&F_m": "mean of region and contour scores (J&F)",
    "muAP": "micro-averaged AP",
}


@dataclass(frozen=True, kw_only=True)
class TableHead:
    """A column and the reference record that defines what it measures (None: no record yet)."""

    column: Column
    protocol: str | None
    reference: Record | None

    @property
    def label(self) -> str:
        """Short label for files read by programs: `ssv2/attentive@vjepa@1:top5`."""
        column = self.column
        options = {**column.task_options, **column.probe_options}
        parts = [column.plan or "", *(f"{key}={value}" for key, value in options.items())]
        parts += ["" if column.metric == "top1" else column.metric]
        parts += ["" if column.shows == "metric" else column.shows]
        name = f"{column.task}/{column.probe}@{self.protocol or 'any'}"
        return ":".join([name, *(part for part in parts if part)])

    @property
    def chance(self) -> float | None:
        """Accuracy of uniform guessing as a fraction; None for mAP and top-5."""
        if self.reference is None or self.column.metric == "top5":
            return None
        return self.reference.chance


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The numbers (fractions) of records that differ only in the seed, or only in the draw."""

    values: Mapping[int, float]
    over: Literal["seeds", "draws"] = "seeds"

    @property
    def count(self) -> int:
        """Number of records."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over the records."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float:
        """Standard deviation over the records (ddof 1), of which there are at least two."""
        return statistics.stdev(self.values.values())


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One number (a fraction; None: no record), its footnote numbers and the record behind it.

    `text` replaces the number in printed tables. `others` counts the other records that match the
    cell. `interval` is over the scored rows, `seeds` the spread over seeds or draws (`value` is
    then the mean), `rank` the best and the worst place in the column that the data allow.
    `published` is the number of a paper for the same.
    """

    value: float | None = None
    record: Record | None = None
    notes: tuple[int, ...] = ()
    others: int = 0
    is_best: bool = False
    interval: Interval | None = None
    seeds: Seeds | None = None
    rank: tuple[int, int] | None = None
    published: PublishedNumber | None = None
    published_is_best: bool = False
    text: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published number, as a fraction."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published.value / 100


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A fact about an encoder; `plain` is its text for programs, `value` its sort key."""

    text: str = ""
    plain: str = ""
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """An encoder, a floor (random weights, raw pixels), the chance level or a published encoder.

    `record` is the newest one of the encoder, for its size and source. There is one of `facts` per
    fact column of the table, or none.
    """

    kind: Literal["encoder", "floor", "chance", "published"]
    name: str
    record: Record | None
    cells: tuple[TableCell, ...]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """All that a table shows. `notes[i]` is footnote i + 1, `hidden` the number of records that
    are not reportable, `refused` why verification rejected records. `facts` are the titles of the
    columns that describe an encoder, `remarks` sentences below the table.
    """

    name: str
    title: str
    heads: tuple[TableHead, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    hidden: int
    facts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def age(record: Record) -> tuple[str, str]:
    """Return the sort key that puts records in the order of their creation."""
    return record.created, record.id


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Group items by key, keeping the order of keys and items."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def percent(value: float | None) -> str | None:
    """Format a fraction in percent with one decimal."""
    return None if value is None else f"{100 * value:.1f}"
