"""What a low-shot table is made of: shares of the labels, cells by draw, lines and panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bench.metrics.label_efficiency import spread
from bench.records.record import Result, TrainLabelsPart
from leaderboards.rows.table import METRICS, percent


@dataclass(frozen=True, kw_only=True)
class Column:
    """A share of the labels, as `labels` of its newest record tell it, and the rows it has.

    Rows that are boxes are drawn by `videos`.
    """

    labels: TrainLabelsPart
    rows: int
    num_classes: int
    videos: int | None = None

    @property
    def title(self) -> str:
        """Such as `5 %`, `1 shot` or `list 3f2a90b1`."""
        return self.labels.title

    @property
    def a_class(self) -> str:
        """Labels a class: `29` where all have as many, else `about 29`; of boxes their videos."""
        if self.videos is not None:
            return f"{self.videos:,} {'video' if self.videos == 1 else 'videos'}"
        mean = self.rows / self.num_classes
        labels = self.labels
        equal = labels.least is not None and labels.least == labels.most
        return f"{mean:,.0f}" if equal else f"about {mean:,.0f}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The records of one share by draw, and their numbers as fractions."""

    records: Mapping[int, Result]
    notes: tuple[int, ...] = ()
    is_best: bool = False

    @property
    def values(self) -> list[float]:
        """The task's metric by draw."""
        return [record.headline for _, record in sorted(self.records.items())]

    @cached_property
    def mean(self) -> float | None:
        """Mean over the draws, None without any."""
        return sum(self.values) / len(self.values) if self.records else None

    def spread(self, ddof: int = 1) -> float | None:
        """Standard deviation over the draws."""
        return spread(self.values, ddof)

    @property
    def labels(self) -> float:
        """Labels that were used, averaged over the draws."""
        used = [record.train_labels.used for record in self.records.values() if record.train_labels]
        return sum(used) / len(used)


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Labels needed for a target: the median over the draws, and every draw's own (None: not
    reached). `is_bound` marks that the smallest share measured reaches it already.
    """

    target: float
    labels: float | None
    by_draw: tuple[float | None, ...]
    is_bound: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    """One encoder in a panel. `areas` has one value a draw whose curve is whole."""

    name: str
    record: Result
    is_floor: bool
    cells: tuple[Cell, ...]
    areas: tuple[float, ...] = ()
    reaches: tuple[Reach, ...] = ()
    area_notes: tuple[int, ...] = ()

    @property
    def area(self) -> float | None:
        """Mean area over the draws."""
        return sum(self.areas) / len(self.areas) if self.areas else None

    def area_spread(self, ddof: int = 1) -> float | None:
        """Standard deviation of the area over the draws."""
        return spread(self.areas, ddof)

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(labels, mean number) of the measured shares, by rising number of labels."""
        points = [(c.labels, c.mean) for c in self.cells if c.mean is not None]
        return sorted(points)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One task, protocol and probe: lines by columns. `draws` counts those of a full cell."""

    record: Result
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    targets: tuple[float, ...]
    draws: int

    @property
    def title(self) -> str:
        """Task and probe."""
        return f"{self.record.task.title} · {self.record.probe.name}"

    @property
    def metric(self) -> str:
        """What the numbers are, in words."""
        return METRICS[self.record.task.metric]

    @property
    def rows(self) -> str:
        """What a training row is called."""
        return "boxes" if self.record.task.unit == "box" else "labels"

    @property
    def facts(self) -> str:
        """What was measured, in one line."""
        task, metrics = self.record.task, self.record.metrics
        chance = self.record.chance
        guessing = "" if chance is None else f", chance {percent(chance)}"
        draws = f"over {self.draws} draws" if self.draws > 1 else "of 1 draw"
        return " · ".join(
            [
                f"{self.metric} in %",
                self.record.protocol.name,
                f"scored on {task.score_split}, n = {metrics.expected:,}",
                f"{task.num_classes:,} classes{guessing}",
                f"mean ± standard deviation {draws} (ddof = 1)" if self.draws > 1 else draws,
            ]
        )


@dataclass(frozen=True, kw_only=True)
class LowShot:
    """All that the table shows. `notes[i]` is footnote i + 1; `hidden` are not reportable, and
    `refused` says which records verification kept out.
    """

    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    hidden: int
    refused: tuple[str, ...] = ()
