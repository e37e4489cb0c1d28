"""Tables of papers as boards: published rows in the paper's layout, next to measured ones.

A column has its published numbers and what measures the same here, if anything does: the task,
probe, plan and share of the labels. `bench fill BOARD` runs these columns.
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

NATIVE_STRIDE = 4  # of every plan that a paper gives as frames x clips x views
# Default plans of the tasks; requesting another one would be a deviation.
OWN_PLANS = {"k400": "16x8x3", "ssv2": "16x2x3", "ucf101": "16x5x3", "hmdb51": "16x5x3"}
TEXT = "text-"  # prefix of "tables" whose numbers come from the text of a section
METRICS = {"top1": "top1", "mAP": "mean_ap"}
# Published probes and the probes here that measure the same.
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
# Column titles of these probes, whatever the title format of the board.
TITLES_BY_PROBE = {
    "actionformer": "{task}",
    "attentive-2layer": "{task}, 2-layer probe (5.2)",
    "copy-detection": "{task}",
    FINE_TUNED: "{task} {views} fine-tuned",
    "label-propagation": "{task}",
}


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One or more tables of a paper that form one board.

    `title` is the format of column titles, with `task`, `views`, `probe` and `pooling`; a share of
    the labels is appended.
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
        """The first number of every column, grouped by table and task; few labels and fine-tuned
        models are groups of their own.
        """
        groups = grouped(
            [own[0] for own in grouped(self.numbers, place_of).values()],
            lambda n: (n.table, n.task, n.probe == FINE_TUNED, n.train_fraction < 1),
        )
        return [number for group in groups.values() for number in group]

    @property
    def places(self) -> list[Place]:
        """The published numbers that each column has."""
        return list(map(place_of, self.columns))


def paper_board(
    name: str, title: str, table: PaperTable, protocols: Mapping[str, str]
) -> Leaderboard:
    """Return the board of a paper's table; `protocols` are those of our runs by published probe."""
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
    """Return published and measured rows in one table, with their source."""
    made = join_published(
        board,
        records,
        numbers=table.numbers,
        places=table.places,
        include_unreportable=include_unreportable,
    )
    return replace(made, remarks=(_source(table), *made.remarks))


def _source(table: PaperTable) -> str:
    paper: Paper = registry.build("papers", table.paper, {})
    where = f" ({paper.url})" if paper.url else ""
    places = [
        f"section {name.removeprefix(TEXT)}" if name.startswith(TEXT) else f"table {name}"
        for name in table.tables
    ]
    return f"Published: {paper.title}{where}, {' and '.join(places)}, in % as printed."


def measuring(number: PublishedNumber, title: str, protocols: Mapping[str, str]) -> Column:
    """Return the column that measures a published number here, with the paper's own task, probe
    and metric if nothing does. `title` is that of `PaperTable`.
    """
    title = TITLES_BY_PROBE.get(number.probe, title)
    words = title.format(
        task=TITLES.get(number.task, number.task),
        views=number.views,
        probe=number.probe,
        pooling=POOLING.get(number.probe),
    )
    share = [] if number.train_fraction == 1 else [share_title(number.train_fraction, None)]
    column = Column(
        title=" ".join([*words.split(), *share]),
        task=number.task,
        probe=number.probe,
        metric=number.metric,
    )
    if number.probe not in PROBES or number.metric not in METRICS:
        return column
    return replace(
        column,
        probe=PROBES[number.probe],
        protocol=protocols[number.probe],
        metric=METRICS[number.metric],
        plan=plan_of(number),
        # Also for all labels, so that low-shot results are not compared with them.
        task_options={"fraction": number.train_fraction},
    )


def plan_of(number: PublishedNumber) -> str | None:
    """Return the plan of a column, with its stride unless it is the default plan of the task."""
    if not number.views or number.views == OWN_PLANS.get(number.task):
        return number.views or None
    return f"{number.views}@{NATIVE_STRIDE}"
