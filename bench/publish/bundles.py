"""A bundle: one record with everything needed to recompute its number, for a repository.

    <encoder>/<task>/<id>/<id>.json            the record, without local paths
    <encoder>/<task>/<id>/<id>.parquet         its predictions (<id>-truth.parquet: ground truth of
                                               boxes)
    <encoder>/<task>/<id>/manifest.csv         row,id,label of every sample of the score split
    <encoder>/<task>/<id>/classes.txt          the class names, by index
    <encoder>/<task>/<id>/config.toml          to run it again: `bench run config.toml --data DIR`
    <encoder>/<task>/<id>/<id>-probe/          the probe, with --with-probe

Ids, labels and class names give `data.score.digest`, see `bench.data.manifest.manifest_digest`.
Detector boxes have no labels; labels that a task gave to scored boxes are not kept, so their digest
cannot be recomputed: numbers of boxes are verified from their `truth`.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config import CONSENT
from bench.data.manifest import manifest_digest
from bench.errors import BenchError
from bench.files import parse_json
from bench.publish.local_paths import places
from bench.records.find import ID
from bench.records.record import Artifact
from bench.verify.findings import Answer, Finding

MANIFEST, CLASSES, CONFIG = "manifest.csv", "classes.txt", "config.toml"
BUNDLE_FILES: tuple[str, ...] = (MANIFEST, CLASSES, CONFIG)
PASSED = {
    "place": "the folder is that of the record",
    "files": "the files are those of a bundle",
    "manifest": "the manifest has the digest of the record and the rows of the predictions",
    "config": "the configuration is that of the record",
    "paths": "there are no local paths",
}
NOT_KEPT = "the labels of these boxes are not kept, so their digest cannot be recomputed"
HEADER = ["row", "id", "label"]


def place_of(fields: Mapping[str, Any]) -> Path:
    """Return `<encoder>/<task>/<id>` of a record, with names valid on every file system."""
    names = (fields["encoder"]["name"], fields["task"]["name"], fields["id"])
    kept = [re.sub(r"[^\w.+@=-]+", "_", str(name), flags=re.ASCII) for name in names]
    return Path(*(name if name.strip(".") else f"_{name}" for name in kept))


def is_bundle(folder: Path) -> bool:
    """Whether a folder is meant to be a bundle: its name is an id, or it has a manifest."""
    return bool(ID.fullmatch(folder.name)) or (folder / MANIFEST).exists()


def check_bundle(folder: Path) -> list[Finding]:
    """Check the files of a bundle except its record; wrong content never raises.

    Returns nothing for a folder that is not a bundle. `bench.verify.verify_records` checks records.
    """
    if not is_bundle(folder):
        return []
    numbers = sorted(p.stem for p in folder.glob("*.json") if ID.fullmatch(p.stem))
    if len(numbers) != 1:
        problem = f"{folder} has {len(numbers)} records, a bundle has one; submit each on its own."
        return [_finding("files", problem)]
    try:
        fields = parse_json((folder / f"{numbers[0]}.json").read_text(encoding="utf-8"))
        place = place_of(fields)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [_finding("files", f"{folder / numbers[0]}.json is not a record: {error!r}.")]
    problems = {
        "place": _place(folder, place),
        "files": _files(folder, fields),
        "manifest": _manifest(folder, fields),
        "config": _config(folder, fields),
        "paths": _paths(fields),
    }
    return [_finding(check, problem) for check, problem in problems.items()]


# ----------------------------------------------------------------------------------------- manifest
def manifest_bytes(ids: Sequence[str], labels: Sequence[object]) -> bytes:
    """Return the text of manifest.csv."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(zip(range(len(ids)), ids, labels, strict=True))
    return text.getvalue().encode()


def read_manifest(path: Path) -> tuple[list[str], list[str]]:
    """Return the ids and the labels (as text) of a manifest.csv.

    Raises:
        BenchError: not a manifest, or rows that are not numbered from 0.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise BenchError(f"{path} cannot be read: {error}; submit the record again.") from error
    if not rows or rows[0] != HEADER:
        raise BenchError(f"{path} does not begin with {','.join(HEADER)}; submit it again.")
    for number, row in enumerate(rows[1:]):
        if len(row) != len(HEADER) or row[0] != str(number):
            raise BenchError(
                f"{path}: expected row {number}, found {','.join(row)!r}; rows were removed, moved"
                " or added."
            )
    return [row[1] for row in rows[1:]], [row[2] for row in rows[1:]]


def predicted_rows(path: Path) -> tuple[list[str], list[object]]:
    """Return the ids and the labels of a predictions file; labels of boxes are empty."""
    import pyarrow.parquet as pq  # heavy, and the command line must start without it

    names = [name for name in HEADER[1:] if name in pq.read_schema(path).names]
    table = pq.read_table(path, columns=names)
    ids: list[str] = table["id"].to_pylist()
    return ids, table["label"].to_pylist() if "label" in names else [""] * len(ids)


# ------------------------------------------------------------------------------------------- config
def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that TOML can express: without unset values and empty tables.

    Consent to running code is left out, since no file can give it.
    """
    kept = {key: value for key, value in config.items() if value is not None and value != {}}
    return {
        key: {k: v for k, v in value.items() if v is not None and k != CONSENT}
        if isinstance(value, dict)
        else value
        for key, value in kept.items()
    }


# ------------------------------------------------------------------------------------------- checks
def _place(folder: Path, place: Path) -> str:
    fits = folder.resolve().parts[-len(place.parts) :] == place.parts
    return "" if fits else f"{folder} has the record of {place}; move it there"


def _files(folder: Path, fields: Mapping[str, Any]) -> str:
    number = fields["id"]
    artifacts = fields.get("artifacts")
    named = [
        part["path"]
        for name, part in (artifacts if isinstance(artifacts, Mapping) else {}).items()
        if name != "probe" and isinstance(part, Mapping) and "path" in part
    ]
    expected = {f"{number}.json", *named, *BUNDLE_FILES}
    found = {path.name for path in folder.iterdir()}
    unexpected = sorted(found - expected - {f"{number}-probe"})
    if missing := sorted(expected - found):
        return f"{folder} has no {', '.join(missing)}; submit the record again"
    return f"{folder} has unexpected files: {', '.join(unexpected)}" if unexpected else ""


def _manifest(folder: Path, fields: Mapping[str, Any]) -> str:
    try:
        ids, labels = read_manifest(folder / MANIFEST)
        classes = read_classes(folder / CLASSES)
        stated = fields["data"]["score"]["digest"]
        counted = manifest_digest(ids, labels, classes)
        if counted != stated and fields["task"].get("unit") != "box":
            return (
                f"{MANIFEST} and {CLASSES} have the digest {counted[:12]}, the record says"
                f" {stated[:12]}: rows, labels or class names were changed"
            )
        predictions = Artifact.model_validate(fields["artifacts"]["predictions"])
        other, other_labels = predicted_rows(folder / predictions.path)
        if len(other) != len(ids):
            return f"{MANIFEST} has {len(ids)} rows, the predictions have {len(other)}"
        pairs = zip(ids, labels, strict=True)
        other_pairs = zip(other, map(str, other_labels), strict=True)
        for row, (listed, predicted) in enumerate(zip(pairs, other_pairs, strict=True)):
            if predicted != listed:
                return (
                    f"row {row} is {listed[0]!r} with label {listed[1] or 'none'} in {MANIFEST},"
                    f" but {predicted[0]!r} with label {predicted[1] or 'none'} in the predictions"
                )
    except BenchError as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the manifest of {folder} cannot be checked: {error!r}"
    return "" if counted == stated else NOT_KEPT


def read_classes(path: Path) -> list[str]:
    """Return the class names of a classes.txt."""
    return path.read_bytes().decode().removesuffix("\n").split("\n")


def _config(folder: Path, fields: Mapping[str, Any]) -> str:
    try:
        found = tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return f"{folder / CONFIG} cannot be read: {error}"
    expected = plain_config(fields["config"]) if isinstance(fields.get("config"), Mapping) else {}
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            there, recorded = found.get(key), expected.get(key)
            return f"{CONFIG} has {key} = {there!r}, the record has {recorded!r}"
    return ""


def _paths(fields: Mapping[str, Any]) -> str:
    found = next(places(fields), None)
    return f"{found[0]} has a local path: {found[1]!r}" if found else ""


def _finding(check: str, problem: str) -> Finding:
    outcome: Answer = "unchecked" if problem == NOT_KEPT else "failed" if problem else "ok"
    return Finding(check=f"bundle {check}", outcome=outcome, sentence=problem or PASSED[check])
