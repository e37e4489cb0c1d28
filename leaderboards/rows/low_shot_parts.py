"""What a low-shot table is made of: shares of the labels, numbers by draw, lines and panels."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.metrics.label_efficiency import spread
from bench.records.record import Record, TrainLabelsPart
from leaderboards.rows.layout import NONE
from leaderboards.rows.table import METRICS, percent


def labels_of(record: Record) -> TrainLabelsPart:
    """Return which training labels a low-shot record used: such a record always says so."""
    assert record.train_labels
    return record.train_labels


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """A share of the labels, as its newest record tells it.

    Rows that are boxes are drawn by `videos`.
    """

    record: Record

    @property
    def labels(self) -> TrainLabelsPart:
        """Which share it is."""
        return labels_of(self.record)

    @property
    def title(self) -> str:
        """Such as `5 %`, `1 shot` or `list 3f2a90b1`."""
        return self.labels.title

    @property
    def rows(self) -> int:
        """How many rows are listed."""
        fit = self.record.data.fit
        return fit.listed if fit else self.labels.used

    @property
    def rows_a_class(self) -> float:
        """Rows of a class on average."""
        return self.rows / self.record.task.num_classes

    @property
    def videos(self) -> int | None:
        """Number of videos that training boxes are of, None for other rows."""
        found = self.record.data.fit.boxes.get("videos") if self.record.data.fit else None
        return found if isinstance(found, int) else None

    @property
    def a_class(self) -> str:
        """Labels a class: `29` where all have as many, else `about 29`; of boxes their videos."""
        if self.videos is not None:
            return f"{self.videos:,} {'video' if self.videos == 1 else 'videos'}"
        labels = self.labels
        equal = labels.least is not None and labels.least == labels.most
        return f"{'' if equal else 'about '}{self.rows_a_class:,.0f}"


@dataclass(frozen=True, kw_only=True)
class DrawnNumbers:
    """Numbers by draw as fractions: of a share, or the areas of the draws whose curve is whole."""

    values: tuple[float, ...] = ()
    notes: tuple[int, ...] = ()
    is_best: bool = False

    @cached_property
    def mean(self) -> float | None:
        """Mean over the draws, None without any."""
        return sum(self.values) / len(self.values) if self.values else None

    def std(self, ddof: int = 1) -> float | None:
        """Standard deviation over the draws."""
        return spread(self.values, ddof)

    @property
    def text(self) -> str:
        """`mean ± std` in percent, the mean alone of one draw, a dash for none."""
        deviation = percent(self.std())
        return (percent(self.mean) or NONE) + ("" if deviation is None else f" ± {deviation}")


@dataclass(frozen=True, kw_only=True)
class Draws(DrawnNumbers):
    """The records of one share by draw, with the task's metric of each as `values`."""

    records: Mapping[int, Record]

    @property
    def labels(self) -> float:
        """Labels that were used, averaged over the draws."""
        return statistics.fmean(labels_of(record).used for record in self.records.values())


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Labels needed for a target: the median over the draws, and every draw's own (None: not
    reached). `is_bound` marks that the smallest share measured reaches it already.
    """

    target: float
    labels: float | None
    by_draw: tuple[float | None, ...]
    is_bound: bool

    @property
    def found(self) -> list[float]:
        """The labels of the draws that reach it, by rising number."""
        return sorted(labels for labels in self.by_draw if labels is not None)

    @property
    def text(self) -> str:
        """The labels needed, with the smallest and largest over the draws."""
        if not self.by_draw:
            return NONE
        own = "not reached"
        if self.labels is not None:
            own = f"{'≤ ' if self.is_bound else ''}{self.labels:,.0f}"
        if len(self.by_draw) < 2 or not self.found:
            return own
        least, most = f"{self.found[0]:,.0f}", f"{self.found[-1]:,.0f}"
        if len(self.found) < len(self.by_draw):
            most = "not reached"
        return own if least == most else f"{own} ({least} to {most})"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One encoder in a panel, `record` its newest."""

    name: str
    record: Record
    cells: tuple[Draws, ...]
    area: DrawnNumbers = DrawnNumbers()
    reaches: tuple[Reach, ...] = ()

    @property
    def kind(self) -> Literal["encoder", "floor"]:
        """What its row is."""
        return "floor" if self.record.encoder.is_floor else "encoder"

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(labels, mean number) of the measured shares, by rising number of labels."""
        points = [(c.labels, c.mean) for c in self.cells if c.mean is not None]
        return sorted(points)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One task, protocol and probe: lines by columns. `draws` counts those of a full cell."""

    record: Record
    columns: tuple[LabelShare, ...]
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
    def titles(self) -> list[str]:
        """The titles of the columns: shares with labels a class, area, targets."""
        shares = [f"{column.title} ({column.a_class})" for column in self.columns]
        return [*shares, "area", *(f"{self.rows} to {100 * t:.10g} %" for t in self.targets)]

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
