"""What a table is made of: columns, rows and cells, each with the record behind it."""

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
    # Of published columns that nothing here measures.
    "accuracy": "accuracy",
    "mAP": "mAP",
    "J&F_m": "mean of region and contour scores (J&F)",
    "muAP": "micro-averaged AP",
}


@dataclass(frozen=True, kw_only=True)
class TableHead:
    """A column and the record that stands for what it measures (None: no record yet)."""

    column: Column
    protocol: str | None
    reference: Record | None

    @property
    def label(self) -> str:
        """Short unique text, such as `ssv2/attentive@vjepa@1:top5`, for files read by programs."""
        column = self.column
        options = {**column.task_options, **column.probe_options}
        parts = [column.plan or "", *(f"{key}={value}" for key, value in options.items())]
        parts += ["" if column.metric == "top1" else column.metric]
        parts += ["" if column.shows == "metric" else column.shows]
        own = f"{column.task}/{column.probe}@{self.protocol or 'any'}"
        return ":".join([own, *(part for part in parts if part)])

    @property
    def chance(self) -> float | None:
        """Uniform guessing as a fraction, which records state for accuracies of one guess."""
        if self.reference is None or self.column.metric == "top5":
            return None
        return self.reference.chance


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The numbers (fractions) of records that differ in the seed alone, or in the draw of a share
    of the training labels.
    """

    values: Mapping[int, float]
    over: Literal["seeds", "draws"] = "seeds"

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over the records."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float:
        """Standard deviation over the records (ddof 1); they are two at least."""
        return statistics.stdev(self.values.values())


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One number (a fraction; None: no record), its footnote numbers and the record behind it.

    `text` stands in printed tables in place of a number. `others` counts the further records that
    fitted the cell. `interval` is what the sample of scored rows leaves open, `seeds` the spread
    over seeds, of which `value` is then the mean, and `rank` the best and the worst place within
    the column that the data leave open. `published` is the number that a paper prints for the same.
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
        """The measured number above the published one, as a fraction."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published.value / 100


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What a table says of an encoder before its numbers.

    `plain` is its text for programs, `value` what it is sorted by.
    """

    text: str = ""
    plain: str = ""
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """An encoder, a floor (random weights, raw pixels), the chance level or one that is published.

    `record` is the newest one of the encoder, for its size and source. `facts` are as many as the
    table has headings for.
    """

    kind: Literal["encoder", "floor", "chance", "published"]
    name: str
    record: Record | None
    cells: tuple[TableCell, ...]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """All that a table shows. `notes[i]` is footnote i + 1; `hidden` counts records left out
    because they are not reportable, `refused` says which ones verification kept out. `facts` are
    headings of columns that say what an encoder is, `remarks` sentences below the table.
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
    """Return what records are sorted by to stand in the order in which they were made."""
    return record.created, record.id


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the items by their key, keys and items in the order given."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def percent(value: float | None) -> str | None:
    """Spell a fraction in percent with one decimal."""
    return None if value is None else f"{100 * value:.1f}"
