"""Records on disk: written whole and renamed, read back checked, predictions beside them.

    <home>/records/<id>.json      the record
    <home>/records/<id>.parquet   one row per listed sample of the score split, in manifest order

A record is never changed: repeating a run that gives the same outcome keeps the first file, and
another outcome under the same id is refused unless it is asked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import UsageError
from bench.result import ROUNDING, Artifact, RecordError, Result, is_ratio, parse_record
from bench.types import Manifest

ALL_CLASSES_UP_TO = 20
TOP = 5

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("status", pa.string()),  # scored | unreadable
        ("predicted", pa.int64()),
        ("probability", pa.float32()),
        ("top_classes", pa.list_(pa.int64())),
        ("top_probabilities", pa.list_(pa.float32())),
    ]
)


def write_record(result: Result, folder: Path, *, overwrite: bool = False) -> Path:
    """Write `folder/<id>.json` and return it; keep what is there if its outcome is the same.

    Raises:
        RecordError: the same run is on record with another outcome and `overwrite` is false.
    """
    path = folder / f"{result.id}.json"
    if path.exists() and not overwrite:
        changed = _differences(read_record(path).outcome(), result.outcome())
        if not changed:
            return path
        raise RecordError(
            f"{path} is on record for the same config and features, but the new run differs in"
            f" {'; '.join(changed[:5])}. Find out why, or replace it with --overwrite."
        )
    _write_whole(path, lambda part: part.write_text(result.to_json(), encoding="utf-8"))
    return path


def read_record(path: Path) -> Result:
    """Read one record.

    Raises:
        RecordError: the file is no sound record, or its name is not its id.
    """
    result = parse_record(path.read_text(encoding="utf-8"), str(path))
    if path.stem != result.id:
        raise RecordError(f"{path} holds the record {result.id}; name it {result.id}.json.")
    return result


def read_records(folder: Path) -> list[Result]:
    """Read every `*.json` of a folder, oldest first.

    Raises:
        UsageError: there is no such folder.
        RecordError: one of the files is no sound record.
    """
    if not folder.is_dir():
        raise UsageError(f"there are no records in {folder}: run an evaluation first.")
    found = [read_record(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda result: (result.created, result.id))


def write_predictions(
    path: Path,
    manifest: Manifest,
    probabilities: npt.NDArray[np.float32],
    scored: npt.NDArray[np.bool_],
) -> Artifact:
    """Write one row per sample of `manifest` and return the file's name and digest.

    `probabilities` is `[rows, C]`, `scored` is `[rows]`; rows that were not scored are written as
    unreadable, without a prediction. The lists hold classes by falling probability (the lower
    class first among equals): all of them up to 20 classes, else five.

    Raises:
        RecordError: a scored row has a probability that is not a number.
    """
    rows, num_classes = probabilities.shape
    assert rows == len(manifest) == len(scored), (rows, len(manifest), len(scored))
    if not np.isfinite(probabilities[scored]).all():
        bad = np.flatnonzero(scored & ~np.isfinite(probabilities).all(axis=1))
        raise RecordError(
            f"{path.name}: {len(bad)} predictions are not finite, the first for"
            f" {manifest.ids[int(bad[0])]!r}; the probe has diverged."
        )
    keep = num_classes if num_classes <= ALL_CLASSES_UP_TO else TOP
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :keep]
    values = np.take_along_axis(probabilities, order, axis=1).astype(np.float32)
    lists = [list(map(int, row)) if ok else None for row, ok in zip(order, scored, strict=True)]
    floats = [row.tolist() if ok else None for row, ok in zip(values, scored, strict=True)]
    columns: dict[str, Any] = {
        "row": np.arange(rows, dtype=np.int64),
        "id": list(manifest.ids),
        "label": manifest.labels,
        "status": np.where(scored, "scored", "unreadable").tolist(),
        "predicted": pa.array(order[:, 0], mask=~scored),
        "probability": pa.array(values[:, 0], mask=~scored),
        "top_classes": lists,
        "top_probabilities": floats,
    }
    table = pa.table(columns, schema=SCHEMA)
    _write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))
    return Artifact(path=path.name, sha256=file_sha256(path))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a predictions file; `predicted` is nullable, for unreadable rows have none."""
    nullable = {pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = pq.read_table(path).to_pandas(types_mapper=nullable.get)
    return frame


def check_predictions(result: Result, folder: Path) -> None:
    """Count the metrics again from the predictions file and compare them with the record.

    Raises:
        RecordError: the file is missing or not the one that was recorded, or a count differs.
    """
    artifact = result.artifacts.predictions
    if artifact is None:
        raise RecordError(f"record {result.id} was written without predictions; run it again.")
    path = folder / artifact.path
    if not path.exists():
        raise RecordError(f"record {result.id} names {path}, which is missing; restore it.")
    if file_sha256(path) != artifact.sha256:
        raise RecordError(f"{path} is not the file that record {result.id} was written with.")
    frame = read_predictions(path)
    if not is_ratio(result.metrics.top1, result.metrics.correct, len(frame)):
        frame = frame[frame["status"] == "scored"]  # the run was told to skip unreadable rows
    counted = _recount(frame)
    stated: dict[str, float | int | None] = {
        "scored": result.metrics.scored,
        "correct": result.metrics.correct,
        "mean_per_class": result.metrics.mean_per_class,
        "top5": result.metrics.top5,
    }
    for name, value in stated.items():
        if value is not None and abs(value - counted[name]) > ROUNDING:
            raise RecordError(
                f"record {result.id} says {name} = {value}, its predictions give {counted[name]}."
            )


def _recount(frame: pd.DataFrame) -> dict[str, float | int]:
    """Return the counts of a predictions file; an unreadable row is wrong in every metric."""
    right = (frame["predicted"] == frame["label"]).fillna(value=False).astype(bool)
    in_top = [
        classes is not None and label in list(classes)[:TOP]
        for label, classes in zip(frame["label"], frame["top_classes"], strict=True)
    ]
    return {
        "scored": int((frame["status"] == "scored").sum()),
        "correct": int(right.sum()),
        "mean_per_class": float(right.groupby(frame["label"]).mean().mean()),
        "top5": sum(in_top) / len(frame),
    }


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Return `field: old -> new` for every leaf in which two outcomes differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        pairs = [(old.get(key), new.get(key), f"{place}.{key}".lstrip(".")) for key in keys]
        return [line for a, b, name in pairs for line in _differences(a, b, name)]
    return [] if old == new else [f"{place}: {old!r} -> {new!r}"]


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and rename, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
