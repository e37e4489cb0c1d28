"""Records on disk: written atomically, checked when read, with their predictions.

    <home>/records/<id>.json      the record
    <home>/records/<id>.parquet   one row per listed sample of the score split, in manifest order

For boxes see `bench/records/box_predictions.py`. Records are immutable: repeating a run with the
same outcome keeps the first file, another outcome under the same id is an error unless requested.
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
from bench.files import file_sha256, parse_json, write_whole
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


def write_record(record: Record, folder: Path, *, overwrite: bool = False) -> Path:
    """Write `folder/<id>.json` and return it; keep an existing file with the same outcome.

    Raises:
        RecordError: the same run has a record with another outcome and `overwrite` is false.
    """
    path = folder / f"{record.id}.json"
    if path.exists() and not overwrite:
        found = differences(read_record(path).outcome(), record.outcome())
        changed = [f"{one.field}: {one.a!r} -> {one.b!r}" for one in found]
        if not changed:
            return path
        raise RecordError(
            f"{path} is the record of the same config and features, but the new run differs in"
            f" {'; '.join(changed[:5])}. Find out why, or replace it with --overwrite."
        )
    write_whole(path, record.to_json().encode())
    return path


def read_record(path: Path) -> Record:
    """Read one record.

    Raises:
        RecordError: the file is not a sound record, or its name is not its id.
    """
    record = parse_record(path.read_bytes(), str(path))
    if path.stem != record.id:
        raise RecordError(f"{path} is record {record.id}; rename it to {record.id}.json.")
    return record


def parse_record(text: str | bytes, source: str) -> Record:
    """Read the text of a record; `source` names its file in messages.

    Raises:
        RecordError: not JSON, another schema version, an unknown or missing field, a value out of
            range, or contradictory fields.
    """
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise RecordError(
            f"{source} is not JSON ({error}); delete it and run the same config again."
        ) from error
    fields = upgraded(fields) if isinstance(fields, dict) else {}
    version = fields.get("schema_version")
    if version != SCHEMA_VERSION:
        raise RecordError(
            f"{source} has record schema {version!r}, but this frozenbench reads 1 to"
            f" {SCHEMA_VERSION}: use the version that wrote it."
        )
    try:
        return Record.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        problems = "; ".join(_sentence(dict(item)) for item in error.errors()[:3])
        raise RecordError(
            f"{source} is not a sound record: {problems}. It was edited or cut short; run its"
            " config again."
        ) from error


def read_records(folder: Path) -> list[Record]:
    """Read every `*.json` of a folder, oldest first.

    Raises:
        UsageError: there is no such folder.
        RecordError: one of the files is not a sound record.
    """
    if not folder.is_dir():
        raise UsageError(f"there are no records in {folder}: run an evaluation first.")
    found = [read_record(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda record: (record.created, record.id))


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

    `facts` name the record (`prediction_facts` reads them). `probabilities` is `[rows, C]`,
    `scored` is `[rows]`; unscored rows have no prediction, see `statuses`. The lists have classes
    by falling probability (ties: lower class first), all of them up to 20 classes, else five.

    Raises:
        RecordError: a scored row has a non-finite probability.
    """
    rows, num_classes = probabilities.shape
    assert rows == len(manifest) == len(scored), (rows, len(manifest), len(scored))
    if not np.isfinite(probabilities[scored]).all():
        bad = np.flatnonzero(scored & ~np.isfinite(probabilities).all(axis=1))
        raise RecordError(
            f"{path.name}: {len(bad)} predictions are not finite, first"
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
    metadata = {**(facts or {}), "manifest": manifest.digest, "classes": list(manifest.classes)}
    return write_table(path, columns, SCHEMA, {FACTS: json.dumps(metadata)})


def prediction_facts(path: Path) -> dict[str, Any] | None:
    """Return the metadata of a file of predictions or ground truth.

    The id of the `record`, the names of its `task` and `split`, the digest of the `manifest`, and
    for clips the names of all `classes`. None for an older or unreadable file.
    """
    try:
        text = (pq.read_schema(path).metadata or {}).get(FACTS.encode())
        facts = parse_json(text) if text is not None else None
    except (pa.ArrowException, ValueError, OSError):
        return None
    return facts if isinstance(facts, dict) else None


def kept_file(record: Record, name: str, folder: Path) -> Path:
    """Return a file that a record in `folder` names, such as `predictions`, after checking it.

    Raises:
        RecordError: the record names no such file, or it is missing or was changed.
    """
    artifact: Artifact | None = getattr(record.artifacts, name)
    if artifact is None:
        raise RecordError(f"record {record.id} was written without {name}; run it again.")
    path = folder / artifact.path
    if not path.exists():
        raise RecordError(f"record {record.id} names {path}, which is missing; restore it.")
    if file_sha256(path) != artifact.sha256:
        raise RecordError(f"{path} was changed after record {record.id} was written; restore it.")
    return path


def _sentence(problem: Mapping[str, Any]) -> str:
    """Describe one pydantic error: dotted field, then the problem."""
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
    """Return the field names of the model at `path` below `Record`."""
    model: type[BaseModel] = Record
    for name in path:
        if name in KINDS:
            model = KINDS[str(name)]
        if name in KINDS or name == "metrics":
            continue  # the kind of metrics comes next
        field = model.model_fields.get(str(name))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
