"""Which rows of a record are correct, read from its predictions, for paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.errors import UsageError
from bench.records.metrics import MetricsPart
from bench.records.record import Record
from bench.records.record_files import kept_file
from bench.types import BoolArray, IntArray

ROW_METRICS = ("top1", "top5")


@dataclass(frozen=True, kw_only=True, eq=False)
class RightRows:
    """Every listed row, in the order of the manifest.

    `right`: the label was ranked first (or among the first five); `counted`: the row is part of the
    number, unlike an unreadable row that the run skips.
    """

    right: BoolArray
    counted: BoolArray
    labels: IntArray

    def at(self, rows: IntArray) -> RightRows:
        """Return the given rows, in that order."""
        return RightRows(
            right=self.right[rows], counted=self.counted[rows], labels=self.labels[rows]
        )


def right_rows(record: Record, folder: Path, metric: str | None = None) -> RightRows:
    """Read which rows of a record in `folder` are correct by `metric` (None: its task's).

    Raises:
        UsageError: the metric is not a share of rows.
        RecordError: the file of predictions is missing or was changed.
    """
    metric = metric or record.task.metric
    if metric not in ROW_METRICS or not isinstance(record.metrics, MetricsPart):
        raise UsageError(
            f"{metric} of record {record.id} ({record.task.name}) is not a share of correct rows;"
            f" use {' or '.join(ROW_METRICS)}."
        )
    needed = ["predicted"] if metric == "top1" else ["top_classes", "top_probabilities"]
    columns = ["label", "status", *needed]
    table = pq.read_table(kept_file(record, "predictions", folder), columns=columns)
    labels = table["label"].to_numpy()
    if metric == "top1":
        right = np.asarray(pc.fill_null(table["predicted"], -1).to_numpy() == labels)
    else:
        right = _among_five(table, labels)
    scored = pc.equal(table["status"], "scored").to_numpy()
    counted = np.ones(len(labels), dtype=np.bool_) if record.counts_lost else scored
    return RightRows(right=right, counted=counted, labels=labels)


def row_ids(record: Record, folder: Path) -> Sequence[str]:
    """Read the ids of the listed rows, in order.

    Raises:
        RecordError: the file of predictions is missing or was changed.
    """
    path = kept_file(record, "predictions", folder)
    found: list[str] = pq.read_table(path, columns=["id"])["id"].to_pylist()
    return found


def _among_five(table: pa.Table, labels: IntArray) -> BoolArray:
    lists = table["top_classes"].combine_chunks()
    sizes = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(labels)), sizes)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    has_votes = table["top_probabilities"].combine_chunks().flatten().to_numpy() > 0
    hit = (lists.flatten().to_numpy() == labels[owner]) & has_votes & (place < 5)
    return np.bincount(owner[hit], minlength=len(labels)) > 0
