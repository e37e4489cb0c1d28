"""Align the scored rows (or videos) of several records, and run paired tests on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.errors import DataError
from bench.metrics.left_out import compare_left_out
from bench.metrics.paired import Paired, compare_means, compare_rows
from bench.records.record import Record
from bench.records.rows import RightRows, right_rows, row_ids
from bench.records.score_intervals import left_out_of


@dataclass(frozen=True, kw_only=True)
class StoredRecord:
    """A record and the folder of its files."""

    record: Record
    folder: Path


def compare_on_rows(
    pairs: Sequence[tuple[StoredRecord, StoredRecord]], metric: str | None
) -> tuple[npt.NDArray[np.float64], Paired, list[str]]:
    """Return the numbers of every pair on the rows that all count, `[pairs, 2]`, test, remarks."""
    sides = [side for pair in pairs for side in pair]
    read = [right_rows(side.record, side.folder, metric) for side in sides]
    rows, remarks = _aligned(sides, read)
    counted = np.logical_and.reduce([one.counted for one in rows])
    num_rows = int(counted.sum())
    if not num_rows:
        raise DataError(
            f"records {sides[0].record.id} and {sides[1].record.id} have no row in common"
            f" ({sides[0].record.task.score_split} and {sides[1].record.task.score_split} of"
            f" {sides[0].record.task.name}); score both on one split."
        )
    if num_rows < len(counted):
        remarks.append(f"{len(counted) - num_rows:,} rows that some record skips are left out")
    right = np.stack([one.right[counted] for one in rows])
    values = right.mean(axis=1).reshape(-1, 2)
    if len(pairs) == 1:
        return values, compare_rows(right[0], right[1]), remarks
    gaps = (right[0::2].sum(axis=0) - right[1::2].sum(axis=0, dtype=np.int64)) / len(pairs)
    return values, compare_means(gaps), remarks


def compare_on_videos(
    pairs: Sequence[tuple[StoredRecord, StoredRecord]], cache: Path | None
) -> tuple[npt.NDArray[np.float64], Paired]:
    """Return the frame mAP of every pair, `[pairs, 2]`, and the jackknife test over videos."""
    sides = [side for pair in pairs for side in pair]
    left = [left_out_of(side.record, side.folder, cache) for side in sides]
    if len({one.videos for one in left}) > 1:
        raise DataError(
            f"records {sides[0].record.id} and {sides[1].record.id} were scored on different"
            " videos; score both on one ground truth."
        )
    values = np.array([side.record.headline for side in sides]).reshape(-1, 2)
    left_out = np.stack([one.values for one in left])
    found = compare_left_out(
        float(values[:, 0].mean()),
        left_out[0::2].mean(axis=0),
        float(values[:, 1].mean()),
        left_out[1::2].mean(axis=0),
    )
    if found is None:
        raise DataError(
            f"record {sides[0].record.id} has too few videos for a jackknife; score both encoders"
            " on more videos."
        )
    return values, found


def refuse_other_rows(pairs: Sequence[tuple[StoredRecord, StoredRecord]]) -> None:
    """Reject pairs that were not scored on the same rows and files."""
    for a, b in pairs:
        same_rows = a.record.data.score.digest == b.record.data.score.digest
        if same_rows and a.record.task.files == b.record.task.files:
            continue
        lists = " and ".join(
            f"{one.record.data.score.listed:,} rows, manifest {one.record.data.score.digest[:8]}"
            for one in (a, b)
        )
        raise DataError(
            f"records {a.record.id} and {b.record.id} were not scored on the same rows ({lists});"
            " leave out --strict to compare what they have in common."
        )


def _aligned(
    sides: Sequence[StoredRecord], read: Sequence[RightRows]
) -> tuple[Sequence[RightRows], list[str]]:
    """Align the rows of all records: by position, or by id if manifests differ."""
    if len({side.record.data.score.digest for side in sides}) == 1:
        return read, []
    ids = [row_ids(side.record, side.folder) for side in sides]
    common = set(ids[0]).intersection(*ids[1:])
    order = [i for i in ids[0] if i in common]
    found = []
    for names, rows in zip(ids, read, strict=True):
        row_of = {name: row for row, name in enumerate(names)}
        found.append(rows.at(np.array([row_of[name] for name in order], dtype=np.int64)))
    for side, rows in zip(sides, found, strict=True):
        if wrong := np.flatnonzero(rows.labels != found[0].labels).tolist():
            raise DataError(
                f"{len(wrong):,} of {len(order):,} common rows have different labels in records"
                f" {side.record.id} and {sides[0].record.id}, first {order[wrong[0]]!r}: score both"
                " with one annotation file."
            )
    sizes = " and ".join(dict.fromkeys(f"{len(names):,}" for names in ids))
    remark = f"compared on the {len(order):,} rows that both manifests have ({sizes} rows)"
    return found, [remark]
