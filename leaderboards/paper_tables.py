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
from bench.records.record import Record
from leaderboards.render.write_all import write
from leaderboards.rows.paper_join import Place, join_published, place_of
from leaderboards.rows.table import Table, grouped

NATIVE_STRIDE = 4  # of every plan that a source states as frames x clips x views
# The plans that the tasks have anyway: runs are asked for no other, which would be a deviation.
OWN_PLANS = {"k400": "16x8x3", "ssv2": "16x2x3", "ucf101": "16x5x3", "hmdb51": "16x5x3"}
TEXT = "text-"  # of the names of tables: a number that stands in the text of a section
METRICS = {"top1": "top1", "mAP": "mean_ap"}
# What measures a published probe here.
PROBES = {"attentive": "attentive", "linear": "linear", "knn": "knn", "linear-roi": "linear"}


TITLES = {
    "ava": "AVA", "birdsnap": "Birdsnap", "caltech101": "Caltech-101", "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100", "clevr_count": "CLEVR count", "clevr_dist": "CLEVR dist",
    "davis2017": "DAVIS 2017", "dtd": "DTD", "food101": "Food-101", "hmdb51": "HMDB51",
    "in1k": "IN1K", "inat21": "iNat21", "k400": "K400", "places205": "Places205",
    "places365": "Places365", "ssv2": "SSv2", "sun397": "SUN397", "thumos14": "THUMOS14",
    "ucf101": "UCF101", "voc2007": "VOC 2007", "vsc2023": "VSC2023",
}  # fmt: skip
FINE_TUNED = "finetune"
POOLING = {"linear": "average", "attentive": "attentive"}
# Of columns with these probes, whatever the others of their board are called by.
TITLES_BY_PROBE = {
    "actionformer": "{task}",
    "attentive-2layer": "{task}, 2-layer probe (5.2)",
    "copy-detection": "{task}",
    FINE_TUNED: "{task} {views} fine-tuned",
    "label-propagation": "{task}",
}


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One or more tables of a paper that stand in one board.

    `title` is that of a column, made from its `task`, `views`, `probe` and `pooling`; a share of
    the labels follows it.
    """

    paper: str
    tables: tuple[str, ...]
    title: str = "{task}"

    @property
    def numbers(self) -> list[PublishedNumber]:
        """The published numbers of these tables, in the order of the paper."""
        paper: Paper = registry.build("papers", self.paper, {})
        return [
            number for table in self.tables for number in paper.numbers if number.table == table
        ]

    @property
    def columns(self) -> list[PublishedNumber]:
        """The first number of every column; those of one task stand together, apart from those of
        few labels, of fine-tuned models, and of another table.
        """
        groups = grouped(
            [own[0] for own in grouped(self.numbers, place_of).values()],
            lambda n: (n.table, n.task, n.probe == FINE_TUNED, n.train_fraction < 1),
        )
        return [number for group in groups.values() for number in group]

    @property
    def places(self) -> list[Place]:
        """Which numbers stand in each column."""
        return list(map(place_of, self.columns))


def paper_board(
    name: str, title: str, table: PaperTable, protocols: Mapping[str, str]
) -> Leaderboard:
    """Return the board of a paper's table; `protocols` names that of runs by the paper's probe."""
    return Leaderboard(
        name=name,
        title=title,
        columns=[measuring(column, table.title, protocols) for column in table.columns],
        write=partial(write, make=partial(_both, table=table)),
        has_published=True,
    )


def _both(
    board: Leaderboard,
    records: Sequence[Record],
    *,
    table: PaperTable,
    include_unreportable: bool = False,
) -> Table:
    """Return published and measured rows in one table, with whose the published numbers are."""
    made = join_published(
        board,
        records,
        numbers=table.numbers,
        places=table.places,
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


def measuring(number: PublishedNumber, title: str, protocols: Mapping[str, str]) -> Column:
    """Return what measures the column of a published number here; it keeps the paper's words if
    nothing does. `title` is that of `PaperTable`.
    """
    title = TITLES_BY_PROBE.get(number.probe, title)
    words = title.format(
        task=TITLES.get(number.task, number.task),
        views=number.views,
        probe=number.probe,
        pooling=POOLING.get(number.probe),
    )
    share = [] if number.train_fraction == 1 else [share_title(number.train_fraction, None)]
    own = Column(
        title=" ".join([*words.split(), *share]),
        task=number.task,
        probe=number.probe,
        metric=number.metric,
    )
    if number.probe not in PROBES or number.metric not in METRICS:
        return own
    return replace(
        own,
        probe=PROBES[number.probe],
        protocol=protocols[number.probe],
        metric=METRICS[number.metric],
        plan=plan_of(number),
        # Of all labels too: what few of them give is not set against a number for all.
        task_options={"fraction": number.train_fraction},
    )


def plan_of(number: PublishedNumber) -> str | None:
    """Return the plan of a column, with its stride where it is not what the task has anyway."""
    if not number.views or number.views == OWN_PLANS.get(number.task):
        return number.views or None
    return f"{number.views}@{NATIVE_STRIDE}"
