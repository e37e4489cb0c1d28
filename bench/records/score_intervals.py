"""Confidence intervals of the numbers of records, and of their ranks.

CACHE/jackknife/<digest>.npz    a frame mAP without each video, by the digests of the saved files
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.files import remember
from bench.metrics.intervals import Interval, wilson
from bench.metrics.left_out import compare_left_out, interval_of_left_out, places_of_left_out
from bench.metrics.paired import Paired
from bench.metrics.ranking import Places, places
from bench.metrics.video_jackknife import names_digest, videos_of, without_each
from bench.records.box_predictions import read_scored_boxes, read_truth
from bench.records.metrics import FrameMapPart, MetricsPart
from bench.records.record import Record
from bench.records.record_files import kept_file
from bench.records.rows import ROW_METRICS, right_rows
from bench.types import FloatArray

FORMAT = 1  # of the cache and its computation


def interval_of(
    record: Record,
    folder: Path | None = None,
    cache: Path | None = None,
    *,
    metric: str | None = None,
) -> Interval | None:
    """Return the 95 % interval of `metric` (None: the task's) over samples of its size.

    Top-1 and top-5 have Wilson's interval, from the counts of the record. A frame mAP has that of
    the jackknife over videos, from the files in `folder` (cached in `cache`), None without these
    files or with one video. The mean accuracy per class has none.

    Raises:
        RecordError: a saved file was changed.
    """
    metric = metric or record.task.metric
    metrics, value = record.metrics, record.value(metric)
    if value is None:
        return None
    if isinstance(metrics, MetricsPart):
        if metric not in ROW_METRICS:
            return None
        return wilson(round(value * record.num_counted), record.num_counted)
    if metric != "mean_ap" or folder is None or not has_files(record, folder):
        return None
    return interval_of_left_out(value, left_out_of(record, folder, cache).values)


def places_of(
    records: Sequence[Record],
    folder: Path,
    cache: Path | None = None,
    *,
    metric: str | None = None,
) -> Places | None:
    """Return the best and the worst rank of each record that the data are compatible with.

    None if that cannot be tested: files are missing, rows or videos differ, or `metric` is neither
    a share of rows nor a frame mAP.

    Raises:
        RecordError: a saved file was changed.
    """
    if not records or not all(has_files(record, folder) for record in records):
        return None
    metric = metric or records[0].task.metric
    if len({record.data.score.digest for record in records}) > 1:
        return None
    if metric == "mean_ap":
        found = [left_out_of(record, folder, cache) for record in records]
        if len({one.videos for one in found}) > 1:
            return None
        values = [record.headline for record in records]
        return places_of_left_out(values, np.stack([one.values for one in found]))
    if metric not in ROW_METRICS or any(record.value(metric) is None for record in records):
        return None
    read = (right_rows(record, folder, metric) for record in records)
    # Labels are dropped at once: for a thousand records they take most of the memory.
    right, counted = map(np.stack, zip(*((one.right, one.counted) for one in read), strict=True))
    is_counted = counted.all(axis=0)
    return places(right[:, is_counted]) if is_counted.any() else None


def compare_boxes(
    a: Record, folder_a: Path, b: Record, folder_b: Path, cache: Path | None = None
) -> Paired | None:
    """Compare the frame mAP of two records; None if their videos differ or are too few.

    Raises:
        RecordError: a saved file is missing or was changed.
        DataError: the rules of the ground truth give no number.
    """
    left_a, left_b = left_out_of(a, folder_a, cache), left_out_of(b, folder_b, cache)
    if left_a.videos != left_b.videos:
        return None
    return compare_left_out(a.headline, left_a.values, b.headline, left_b.values)


def has_files(record: Record, folder: Path) -> bool:
    """Whether the files of a record are in `folder`."""
    needed = [record.artifacts.predictions]
    if isinstance(record.metrics, FrameMapPart):
        needed.append(record.artifacts.truth)
    return all(one is not None and (folder / one.path).is_file() for one in needed)


# ---------------------------------------------------------------------------------------- jackknife
@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
    """The frame mAP of a record without each video, float64 `[V]`.

    Records with equal `videos` (a digest of the names) leave out the same video at each position.
    """

    values: FloatArray
    videos: str


def left_out_of(record: Record, folder: Path, cache: Path | None = None) -> LeftOut:
    """Return a frame mAP without each video, cached in `cache`.

    Raises:
        RecordError: a saved file is missing or was changed.
        DataError: the rules of the ground truth give no number.
    """
    predictions, truths = (kept_file(record, name, folder) for name in ("predictions", "truth"))
    skip = not record.counts_lost
    kept = None
    if cache is not None:
        digests = (getattr(record.artifacts, name).sha256 for name in ("predictions", "truth"))
        facts = " ".join([f"{FORMAT} {skip}", *digests])
        kept = cache / "jackknife" / f"{hashlib.sha256(facts.encode()).hexdigest()}.npz"
        if (cached := _read_cached(kept)) is not None:
            return cached
    truth = read_truth(truths)
    found = LeftOut(
        values=without_each(read_scored_boxes(predictions), truth, skip=skip),
        videos=names_digest(videos_of(truth)),
    )
    if kept is not None:
        content = io.BytesIO()
        np.savez(content, values=found.values, videos=np.array(found.videos))
        remember(kept, content.getvalue())
    return found


def _read_cached(kept: Path) -> LeftOut | None:
    """Return what a file of the cache holds; None if there is none, or not a whole one."""
    try:
        with zipfile.ZipFile(kept) as archive:
            if archive.testzip() is not None:  # numpy may stop before the checksum
                return None
        with np.load(kept) as cached:
            return LeftOut(values=cached["values"], videos=str(cached["videos"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
