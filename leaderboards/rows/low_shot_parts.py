"""Parts of a low-shot table: shares of the labels, numbers by draw, lines and panels."""

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
    """Return the training labels of a low-shot record, which always has them."""
    assert record.train_labels
    return record.train_labels


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """A share of the labels, from its newest record; boxes are drawn by video."""

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
    def rows_per_class(self) -> float:
        """Mean number of rows per class."""
        return self.rows / self.record.task.num_classes

    @property
    def videos(self) -> int | None:
        """Number of videos with training boxes; None if rows are not boxes."""
        found = self.record.data.fit.boxes.get("videos") if self.record.data.fit else None
        return found if isinstance(found, int) else None

    @property
    def per_class(self) -> str:
        """Labels per class: `29` if all classes have as many, else `about 29`; videos of boxes."""
        if self.videos is not None:
            return f"{self.videos:,} {'video' if self.videos == 1 else 'videos'}"
        labels = self.labels
        equal = labels.least is not None and labels.least == labels.most
        return f"{'' if equal else 'about '}{self.rows_per_class:,.0f}"


@dataclass(frozen=True, kw_only=True)
class DrawnNumbers:
    """Numbers by draw, as fractions: of a share, or the areas of the draws with all shares."""

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
        """`mean ± std` in percent, only the mean for one draw, a dash for none."""
        deviation = percent(self.std())
        return (percent(self.mean) or NONE) + ("" if deviation is None else f" ± {deviation}")


@dataclass(frozen=True, kw_only=True)
class Draws(DrawnNumbers):
    """The records of one share by draw; `values` are their metric."""

    records: Mapping[int, Record]

    @property
    def labels(self) -> float:
        """Number of labels used, averaged over the draws."""
        return statistics.fmean(labels_of(record).used for record in self.records.values())


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Labels needed for a target: the median over the draws, and those of every draw (None: not
    reached). `is_bound`: the smallest measured share already reaches it.
    """

    target: float
    labels: float | None
    by_draw: tuple[float | None, ...]
    is_bound: bool

    @property
    def found(self) -> list[float]:
        """The labels of the draws that reach it, sorted."""
        return sorted(labels for labels in self.by_draw if labels is not None)

    @property
    def text(self) -> str:
        """The labels needed, with the smallest and largest over the draws."""
        if not self.by_draw:
            return NONE
        needed = "not reached"
        if self.labels is not None:
            needed = f"{'≤ ' if self.is_bound else ''}{self.labels:,.0f}"
        if len(self.by_draw) < 2 or not self.found:
            return needed
        least, most = f"{self.found[0]:,.0f}", f"{self.found[-1]:,.0f}"
        if len(self.found) < len(self.by_draw):
            most = "not reached"
        return needed if least == most else f"{needed} ({least} to {most})"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One encoder in a panel; `record` is its newest."""

    name: str
    record: Record
    cells: tuple[Draws, ...]
    area: DrawnNumbers = DrawnNumbers()
    reaches: tuple[Reach, ...] = ()

    @property
    def kind(self) -> Literal["encoder", "floor"]:
        """Kind of its row."""
        return "floor" if self.record.encoder.is_floor else "encoder"

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(number of labels, mean metric) of the measured shares, sorted."""
        return sorted((c.labels, c.mean) for c in self.cells if c.mean is not None)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One task, protocol and probe: lines by columns; a full cell has `draws` draws."""

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
        """Name of the metric in words."""
        return METRICS[self.record.task.metric]

    @property
    def rows(self) -> str:
        """Name of the training rows."""
        return "boxes" if self.record.task.unit == "box" else "labels"

    @property
    def titles(self) -> list[str]:
        """Titles of the columns: shares with labels per class, area, targets."""
        shares = [f"{column.title} ({column.per_class})" for column in self.columns]
        return [*shares, "area", *(f"{self.rows} to {100 * t:.10g} %" for t in self.targets)]

    @property
    def facts(self) -> str:
        """What was measured, in one line."""
        task, chance = self.record.task, percent(self.record.chance)
        spread_over = f"mean ± standard deviation over {self.draws} draws (ddof = 1)"
        return " · ".join(
            [
                f"{self.metric} in %",
                self.record.protocol.name,
                f"scored on {task.score_split}, n = {self.record.metrics.expected:,}",
                f"{task.num_classes:,} classes{f', chance {chance}' if chance else ''}",
                spread_over if self.draws > 1 else "1 draw",
            ]
        )


@dataclass(frozen=True, kw_only=True)
class LowShot:
    """All that the table shows. `notes[i]` is footnote i + 1, `hidden` the number of records that
    are not reportable, `refused` why verification rejected records.
    """

    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]
    hidden: int
    refused: tuple[str, ...] = ()
