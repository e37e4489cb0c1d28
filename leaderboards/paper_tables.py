"""Tables of papers as boards: the published rows in the paper's layout, measured ones beside them.

A column says which published numbers stand in it and what measures the same here, if anything does:
the task, the probe, the plan and the share of the labels. `bench fill BOARD` runs these columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench import registry
from bench.data.few_labels import share_title
from bench.publish.leaderboard import Column, Leaderboard, Paper, PublishedNumber
from bench.records.record import Result
from leaderboards.render.write_all import write
from leaderboards.rows.paper_join import join_published
from leaderboards.rows.table import Table

NATIVE_STRIDE = 4  # of every plan that a source states as frames x clips x views
# The plans that the tasks have anyway: runs are asked for no other, which would be a deviation.
OWN_PLANS = {"k400": "16x8x3", "ssv2": "16x2x3", "ucf101": "16x5x3", "hmdb51": "16x5x3"}
TEXT = "text-"  # of the names of tables: a number that stands in the text of a section
METRICS = {"top1": "top1", "mAP": "mean_ap"}
# What measures a published probe here.
PROBES = {"attentive": "attentive", "linear": "linear", "knn": "knn", "linear-roi": "linear"}


@dataclass(frozen=True, kw_only=True)
class PaperColumn:
    """A column as a paper has it; an empty `views` where the source does not state any."""

    title: str
    task: str
    probe: str
    views: str = ""
    fraction: float = 1.0
    metric: str = "top1"

    def holds(self, number: PublishedNumber) -> bool:
        """Whether a published number belongs into this column."""
        own = (self.task, self.views, self.probe, self.fraction, self.metric)
        return own == (
            number.task,
            number.views,
            number.probe,
            number.train_fraction,
            number.metric,
        )


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One or more tables of a paper that stand in one board."""

    name: str
    title: str
    paper: str
    tables: tuple[str, ...]
    columns: tuple[PaperColumn, ...]

    @property
    def numbers(self) -> list[PublishedNumber]:
        """The published numbers of these tables, in the order of the paper."""
        paper: Paper = registry.build("papers", self.paper, {})
        return [
            number for table in self.tables for number in paper.numbers if number.table == table
        ]


def paper_board(table: PaperTable, protocols: Mapping[str, str]) -> Leaderboard:
    """Return the board of a paper's table; `protocols` names that of runs by the paper's probe."""
    return Leaderboard(
        name=table.name,
        title=table.title,
        columns=[measuring(column, protocols) for column in table.columns],
        write=partial(write, make=partial(_both, table=table)),
        has_published=True,
    )


def _both(
    board: Leaderboard,
    records: Sequence[Result],
    *,
    table: PaperTable,
    include_unreportable: bool = False,
) -> Table:
    """Return published and measured rows in one table, with whose the published numbers are."""
    made = join_published(
        board,
        records,
        numbers=table.numbers,
        places=[column.holds for column in table.columns],
        include_unreportable=include_unreportable,
    )
    return replace(made, remarks=(_source(table), *made.remarks))


def _source(table: PaperTable) -> str:
    """Say whose the published numbers are."""
    paper: Paper = registry.build("papers", table.paper, {})
    where = f" ({paper.url})" if paper.url else ""
    places = [
        f"section {name.removeprefix(TEXT)}" if name.startswith(TEXT) else f"table {name}"
        for name in table.tables
    ]
    return f"Published: {paper.title}{where}, {' and '.join(places)}, in % as printed."


def measuring(column: PaperColumn, protocols: Mapping[str, str]) -> Column:
    """Return what measures a published column here; it keeps the paper's words if nothing does."""
    probe = PROBES.get(column.probe)
    metric = METRICS.get(column.metric)
    if probe is None or metric is None:
        return Column(
            title=column.title, task=column.task, probe=column.probe, metric=column.metric
        )
    return Column(
        title=column.title,
        task=column.task,
        probe=probe,
        protocol=protocols[column.probe],
        metric=metric,
        plan=plan_of(column),
        # Of all labels too: what few of them give is not set against a number for all.
        task_options={"fraction": column.fraction},
    )


def plan_of(column: PaperColumn) -> str | None:
    """Return the plan of a column, with its stride where it is not what the task has anyway."""
    if not column.views or column.views == OWN_PLANS.get(column.task):
        return column.views or None
    return f"{column.views}@{NATIVE_STRIDE}"


def shares(column: PaperColumn, fractions: Sequence[float]) -> list[PaperColumn]:
    """Return a column for every share of the labels, named by it."""
    return [
        PaperColumn(
            title=f"{column.title} {share_title(fraction, None)}",
            task=column.task,
            probe=column.probe,
            views=column.views,
            fraction=fraction,
            metric=column.metric,
        )
        for fraction in fractions
    ]
