"""Records on disk: written whole and renamed, read back checked, predictions beside them.

    <home>/records/<id>.json      the record
    <home>/records/<id>.parquet   one row per listed sample of the score split, in manifest order

Those of boxes are in `bench/records/box_predictions.py`. A record is never changed: repeating a run
that gives the same outcome keeps the first file, and another outcome under the same id is refused
unless it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from bench.data.manifest import Manifest
from bench.errors import UsageError, closest
from bench.files import file_sha256, write_whole
from bench.records.box_predictions import FACTS, statuses, write_table
from bench.records.differences import differences
from bench.records.metrics import KINDS
from bench.records.older_schemas import upgraded
from bench.records.record import SCHEMA_VERSION, Artifact, Record, RecordError

ALL_CLASSES_UP_TO = 20
TOP = 5

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int64()),
        ("status", pa.string()),  # scored | missing | undecodable
        ("predicted", pa.int64()),
        ("probability", pa.float32()),
        ("top_classes", pa.list_(pa.int64())),
        ("top_probabilities", pa.list_(pa.float32())),
    ]
)


def write_record(result: Record, folder: Path, *, overwrite: bool = False) -> Path:
    """Write `folder/<id>.json` and return it; keep what is there if its outcome is the same.

    Raises:
        RecordError: the same run is on record with another outcome and `overwrite` is false.
    """
    path = folder / f"{result.id}.json"
    if path.exists() and not overwrite:
        found = differences(read_record(path).outcome(), result.outcome())
        changed = [f"{one.field}: {one.a!r} -> {one.b!r}" for one in found]
        if not changed:
            return path
        raise RecordError(
            f"{path} is on record for the same config and features, but the new run differs in"
            f" {'; '.join(changed[:5])}. Find out why, or replace it with --overwrite."
        )
    write_whole(path, result.to_json().encode())
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: the file is no sound record, or its name is not its id.
    """
    result = parse_record(path.read_text(encoding="utf-8"), str(path))
    if path.stem != result.id:
        raise RecordError(f"{path} holds the record {result.id}; name it {result.id}.json.")
    return result


def parse_record(text: str, where: str) -> Record:
    """Read the text of a record; `where` names its file in messages.

    Raises:
        RecordError: no JSON, another schema version, an unknown or missing field, a value out of
            range, or fields that contradict each other.
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{where} is not JSON ({error}); delete it and run again with the same config."
        ) from error
    fields = upgraded(fields) if isinstance(fields, dict) else {}
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{where} has record schema {version!r}; this frozenbench reads 1 to {SCHEMA_VERSION}:"
            " use the version that wrote it."
        )
    try:
        return Record.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        problems = "; ".join(_sentence(dict(item)) for item in error.errors()[:3])
        raise RecordError(
            f"{where} is not a sound record: {problems}. It was edited or cut short; run its"
            " config again."
        ) from error


def read_records(folder: Path) -> list[Record]:
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
    missing: Collection[str] = (),
    *,
    facts: Mapping[str, str] | None = None,
) -> Artifact:
    """Write one row per sample of `manifest` and return the file's name and digest.

    `facts` say what the predictions belong to (`prediction_facts` reads them). `probabilities` is
    `[rows, C]`, `scored` is `[rows]`; rows that were not scored have no prediction: they are
    missing if their id is among `missing`, else undecodable. The lists hold classes by falling
    probability (the lower class first among equals): all of them up to 20 classes, else five.

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
        "status": statuses(manifest, scored, missing),
        "predicted": pa.array(order[:, 0], mask=~scored),
        "probability": pa.array(values[:, 0], mask=~scored),
        "top_classes": lists,
        "top_probabilities": floats,
    }
    told = {**(facts or {}), "manifest": manifest.digest, "classes": list(manifest.classes)}
    return write_table(path, columns, SCHEMA, {FACTS: json.dumps(told)})


def prediction_facts(path: Path) -> dict[str, Any] | None:
    """Return what a file of predictions or of truth says of itself.

    The id of the `record`, the names of its `task` and `split`, the digest of the `manifest`, and
    for clips the names of all `classes`. None: an older file, or one that cannot be read.
    """
    try:
        told = (pq.read_schema(path).metadata or {}).get(FACTS.encode())
        said = json.loads(told) if told is not None else None
    except (pa.ArrowException, ValueError, OSError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def kept_file(result: Record, name: str, folder: Path) -> Path:
    """Return a file that a record in `folder` names, such as `predictions`, as it was written.

    Raises:
        RecordError: the record names none, or it is missing or another one.
    """
    artifact: Artifact | None = getattr(result.artifacts, name)
    if artifact is None:
        raise RecordError(f"record {result.id} was written without {name}; run it again.")
    path = folder / artifact.path
    if not path.exists():
        raise RecordError(f"record {result.id} names {path}, which is missing; restore it.")
    if file_sha256(path) != artifact.sha256:
        raise RecordError(f"{path} is not the file that record {result.id} was written with.")
    return path


def _sentence(problem: Mapping[str, Any]) -> str:
    """Return one pydantic problem as words: dotted field, then what is wrong with it."""
    way = [part for part in problem["loc"] if part not in KINDS]
    place = ".".join(map(str, way))
    if problem["type"] == "extra_forbidden":
        known = _fields_at(problem["loc"][:-1])
        return f"field {place!r} is unknown.{closest(str(way[-1]), known)}".rstrip(".")
    if problem["type"] == "missing":
        return f"field {place!r} is missing"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {reason}" if place else reason


def _fields_at(path: Sequence[int | str]) -> list[str]:
    """Return the field names of the model found along `path` from `Record`."""
    model: type[BaseModel] = Record
    for name in path:
        if name in KINDS:
            model = KINDS[str(name)]
        if name in KINDS or name == "metrics":
            continue  # which kind of metrics it is comes next
        field = model.model_fields.get(str(name))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
