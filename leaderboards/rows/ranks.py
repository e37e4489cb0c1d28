"""The statistical uncertainty of a table: intervals, and the places that a column allows.

Both come from `bench.records.score_intervals`. Places and the interval of a frame mAP need the
stored predictions; the interval of an accuracy needs only the counts of a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from bench.errors import DataError
from bench.metrics.intervals import Interval
from bench.records.record import Record
from bench.records.score_intervals import has_files, interval_of, places_of
from leaderboards.rows.best import competes
from leaderboards.rows.table import TableCell, TableHead, TableRow

PLACED = ("top1", "top5", "mean_ap")
NAMES_SHOWN = 5


def with_intervals(
    rows: Sequence[TableRow],
    heads: Sequence[TableHead],
    repeats: Mapping[str, Sequence[Record]],
    folder: Path | None,
) -> tuple[list[TableRow], list[str]]:
    """Add intervals to the measured numbers; return rows and a remark per missing interval.

    `repeats` are the records that a mean averages, by the id of the record of its cell. Its
    interval is the mean of theirs: more fits of the same scored rows are not more rows. `folder`
    holds the files of the records.
    """
    lacking: dict[str, None] = {}
    cache = _cache(folder)

    def widened(cell: TableCell, head: TableHead) -> TableCell:
        if cell.record is None or cell.value is None or head.column.shows != "metric":
            return cell
        records = [cell.record] if cell.seeds is None else repeats[cell.record.id]
        try:
            found = [interval_of(r, folder, cache, metric=head.column.metric) for r in records]
        except DataError as error:
            lacking[f"No interval: {error}"] = None
            return cell
        return replace(cell, interval=_mean([one for one in found if one], len(records)))

    widened_rows = [replace(row, cells=tuple(map(widened, row.cells, heads))) for row in rows]
    return widened_rows, list(lacking)


def with_places(
    rows: Sequence[TableRow], heads: Sequence[TableHead], folder: Path | None
) -> tuple[list[TableRow], list[str]]:
    """Add the best and worst place to competing numbers; return rows and remarks on those without.

    A mean over seeds has the place of its newest record. Without `folder`, and in columns with
    fewer than two numbers with stored predictions, there are no places.
    """
    cells = [list(row.cells) for row in rows]
    lacking = []
    for i, head in enumerate(heads):
        if folder is None or head.column.metric not in PLACED:
            continue
        field = [(r, row.cells[i]) for r, row in enumerate(rows) if competes(row.cells[i], head)]
        known = [(r, cell.record) for r, cell in field if cell.record]
        kept = [(r, record) for r, record in known if has_files(record, folder)]
        if len(kept) < 2:
            continue
        if gone := [rows[r].name for r, record in known if not has_files(record, folder)]:
            more = f" and {len(gone) - NAMES_SHOWN} more" if len(gone) > NAMES_SHOWN else ""
            lacking.append(
                f"Places of {head.label} do not include {', '.join(gone[:NAMES_SHOWN])}{more},"
                " whose predictions were not kept."
            )
        try:
            found = places_of(
                [record for _, record in kept], folder, _cache(folder), metric=head.column.metric
            )
        except DataError as error:
            lacking.append(f"No places: {error}")
            continue
        for (r, _), place in zip(kept, found or [], strict=bool(found)):
            cells[r][i] = replace(cells[r][i], rank=place)
    return [replace(row, cells=tuple(new)) for row, new in zip(rows, cells, strict=True)], lacking


def _mean(found: Sequence[Interval], wanted: int) -> Interval | None:
    if not found or len(found) < wanted:
        return None
    low, high = fmean(one.low for one in found), fmean(one.high for one in found)
    return replace(found[0], low=low, high=high)


def _cache(folder: Path | None) -> Path | None:
    return folder.parent / "cache" if folder is not None else None
