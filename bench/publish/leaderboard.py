"""The vocabulary of tables: columns, boards, writers and published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from bench.types import Progress as Progress
from bench.types import Silent as Silent

if TYPE_CHECKING:
    from bench.records.record import Record
from bench.types import Settings

Shows = Literal["metric", "honest", "best_on_score", "gap"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: which runs it shows, and which of their numbers.

    `plan` is frames x clips x views of the scored clips, with or without a stride; None is any.
    Options are those of the runs, such as `{"fraction": 0.05}`. It `shows` the metric or, for
    honest selection, the score of the chosen head, that of the best head on the scored rows, or the
    gap between them.
    """

    title: str
    task: str
    probe: str
    protocol: str | None = None
    metric: str = "top1"
    plan: str | None = None
    task_options: Settings = field(default_factory=dict)
    probe_options: Settings = field(default_factory=dict)
    shows: Shows = "metric"


class TableWriter(Protocol):
    """Writes a table from records and returns the written files."""

    def __call__(
        self,
        board: Leaderboard,
        records: Sequence[Record],
        folder: Path,
        *,
        include_unreportable: bool = False,
    ) -> Sequence[Path]: ...


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """A table: its columns and how it is written, by default like the board `runs`.

    `records` is the folder of its records, `refused` has one sentence per record that failed
    verification. A board with published rows (`has_published`) can be written without records.
    """

    name: str
    title: str
    columns: Sequence[Column]
    write: TableWriter | None = None
    records: Path | None = None
    refused: tuple[str, ...] = ()
    has_published: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One number of a paper's table, in percent as printed, with its printed spread.

    `views` is frames x clips x crops; `train_fraction` 1 is the whole training set. Strings are
    empty, and numbers None, if the paper does not say.
    """

    source: str
    table: str
    method: str
    arch: str
    resolution: int | None
    params_m: float | None
    pretrain_data: str
    samples_seen_m: str
    task: str
    views: str
    probe: str
    train_fraction: float
    metric: str
    value: float
    std: float | None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A publication and the numbers of its tables."""

    name: str
    title: str
    url: str
    numbers: Sequence[PublishedNumber]
