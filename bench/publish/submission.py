"""From records to bundles: verified, without local paths, ready for a results repository.

A record is verified unchanged, with its seal. The bundle has the same record without local paths
(`bench/publish/local_paths.py`); if that changes the file, it is sealed again. The id stays the
same, because it does not depend on paths.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.data.manifest import manifest_digest
from bench.errors import BenchError, without_secrets
from bench.files import file_sha256, parse_json, write_whole
from bench.publish.bundles import (
    CLASSES,
    CONFIG,
    MANIFEST,
    manifest_bytes,
    place_of,
    plain_config,
    predicted_rows,
)
from bench.publish.local_paths import places, without_places
from bench.publish.results_repository import readable
from bench.records.box_predictions import read_scored_boxes
from bench.records.record import Record, RecordError, seal_of
from bench.records.record_files import kept_file, parse_record, prediction_facts, read_record
from bench.verify.verify_records import marked, verify


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A verified record, marked with its doubts; `refusals` say why it should not be published.

    `code` is the resulting exit code: 5 if something contradicts it, 3 if its number is suspect or
    not reportable, else 0.
    """

    path: Path
    record: Record | None
    code: int
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The outcome for a record: its bundle (new or already there), or None and the reasons."""

    record: str
    folder: Path | None
    is_new: bool = False
    code: int = 0
    sentences: tuple[str, ...] = ()


def checked(paths: Sequence[Path]) -> list[Checked]:
    """Verify records; others in their folders are controls, such as the untrained network."""
    others = {folder: readable(folder) for folder in {path.parent for path in paths}}
    found = []
    for path in paths:
        cache = path.parent.parent / "cache" if path.parent.name == "records" else None
        verdict = verify(path, others=others[path.parent], cache=cache)
        wrong = [f"{one.check}: {one.sentence}" for one in verdict.having("failed")]
        doubts = [f"{one.check}: {one.sentence}" for one in verdict.having("suspect")]
        record = verdict.record if wrong or verdict.record is None else marked(verdict)
        if verdict.record is not None and verdict.record.status == "not_reportable":
            doubts.append(f"the record is {verdict.record.caveat}")
        code = 5 if wrong or record is None else 3 if doubts else 0
        found.append(Checked(path=path, record=record, code=code, refusals=(*wrong, *doubts)))
    return found


def submit(
    paths: Sequence[Path],
    out: Path,
    *,
    include_suspect: bool = False,
    with_probe: bool = False,
    keep_paths: bool = False,
) -> list[Submitted]:
    """Bundle every record under `out`; a refused one does not block the others.

    A record that fails verification is never bundled, a suspect or unreportable one only with
    `include_suspect`, one whose id depends on a local path only with `keep_paths`.
    """
    found = []
    for one in checked(paths):
        code, sentences, folder, is_new = one.code, one.refusals, None, False
        if one.record is not None and code != 5 and (not code or include_suspect):
            try:
                folder, is_new = bundle(one, out, with_probe=with_probe, keep_paths=keep_paths)
                code = 0
            except BenchError as error:
                code, sentences = error.exit_code, (str(error),)
        record_id = one.record.id if one.record is not None else one.path.stem
        found.append(
            Submitted(
                record=record_id, folder=folder, is_new=is_new, code=code, sentences=sentences
            )
        )
    return found


def bundle(
    one: Checked, out: Path, *, with_probe: bool = False, keep_paths: bool = False
) -> tuple[Path, bool]:
    """Write the bundle of one record; return its folder, and whether anything was written.

    A suspect record is suspect in the bundle, also if only the records next to it say so.

    Identical files that exist are kept; the record is written last, so an interrupted bundle has
    none.

    Raises:
        RecordError: the record or one of its files is not sound, its classes are unknown, another
            bundle exists there, or its id depends on a local path.
    """
    path, record = one.path, read_record(one.path)
    original = parse_json(path.read_text(encoding="utf-8"))
    fields = _with_verdict(original, one.record)
    cut = fields if keep_paths else without_places(fields)
    left = next(places(cut), None)
    if left is not None and not keep_paths:
        raise RecordError(
            f"record {record.id}: {left[0]} has {left[1]!r}, a local path that its id depends on;"
            " run it again with a path relative to the working directory, or add --keep-paths."
        )
    text = path.read_bytes()
    if keep_paths and without_secrets(str(fields)) != str(fields):
        raise RecordError(
            f"record {record.id} has an address with a user, password, query or fragment, which"
            " is not published; leave out --keep-paths."
        )
    if cut != original:
        text = f"{json.dumps(cut, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
    parse_record(text.decode(), f"the bundle of {record.id}")
    folder = out / place_of(cut)
    texts = _texts(record, cut, path.parent)
    sources = [
        kept_file(record, name, path.parent)
        for name in ("predictions", "truth")
        if getattr(record.artifacts, name) is not None
    ]
    if with_probe:
        probe = kept_file(record, "probe", path.parent).parent
        sources += sorted(p for p in probe.iterdir() if p.is_file())
        if links := [str(p) for p in (probe, *sources) if p.is_symlink()]:
            raise RecordError(
                f"{links[0]} is a link, which a bundle does not follow; copy the file."
            )
    files: dict[str, bytes | Path] = {str(one.relative_to(path.parent)): one for one in sources}
    files |= {name: content.encode() for name, content in texts.items()}
    files[f"{record.id}.json"] = text  # last
    new = [name for name, content in files.items() if not _exists(folder / name, content)]
    for name in new:
        content = files[name]
        if isinstance(content, bytes):
            write_whole(folder / name, content)
            continue
        with content.open("rb") as source:
            write_whole(folder / name, partial(shutil.copyfileobj, source))
    return folder, bool(new)


# ----------------------------------------------------------------------------------------- contents
def _with_verdict(fields: Mapping[str, Any], verified: Record | None) -> dict[str, Any]:
    """Return the fields of a record with status and reasons of the verified one, sealed again."""
    told = {"status": verified.status, "reasons": [*verified.reasons]} if verified else {}
    changed = {**fields, **told}
    if changed == fields or fields.get("seal") is None:
        return changed
    return {**changed, "seal": seal_of(changed)}


def _texts(record: Record, fields: Mapping[str, Any], folder: Path) -> dict[str, str]:
    predictions = kept_file(record, "predictions", folder)
    ids, labels = predicted_rows(predictions)
    classes = _classes(record, predictions, folder)
    digest = manifest_digest(ids, labels, classes)
    # Labels that a task gave to scored boxes are not kept (bench/publish/bundles.py).
    if digest != record.data.score.digest and record.task.unit != "box":
        raise RecordError(
            f"record {record.id}: ids, labels and classes of its predictions have the digest"
            f" {digest[:12]}, data.score.digest is {record.data.score.digest[:12]}; run it again."
        )
    return {
        MANIFEST: manifest_bytes(ids, labels).decode(),
        CLASSES: "\n".join(classes) + "\n",
        CONFIG: config_toml(fields),
    }


def _classes(record: Record, predictions: Path, folder: Path) -> list[str]:
    """Return the class names: from the predictions, or (older files, boxes) from the probe.

    For boxes without a probe file they are the evaluated classes.
    """
    facts = prediction_facts(predictions)
    if facts is not None and "classes" in facts:
        return [str(name) for name in facts["classes"]]
    if record.artifacts.probe is not None and (folder / record.artifacts.probe.path).is_file():
        saved = parse_json(kept_file(record, "probe", folder).read_text(encoding="utf-8"))
        return [str(name) for name in saved["facts"]["classes"]]
    if record.task.unit == "box":
        return list(read_scored_boxes(predictions).classes.values())
    raise RecordError(
        f"record {record.id}: its class names are neither in its predictions nor in the probe file"
        " next to them; restore that file, or run it again."
    )


def config_toml(fields: Mapping[str, Any]) -> str:
    """Return the configuration of a record as a file for `bench run`, with comments on inputs."""
    config, probe = plain_config(fields["config"]), fields["probe"]
    # An unchanged record gives the bytes of its earlier bundles, so these words stay.
    comments = [f"Record {fields['id']}, again: bench run {CONFIG} --data DIR"]
    if fields["encoder"].get("weights_sha256"):
        comments.append(f"SHA-256 of the encoder's weights: {fields['encoder']['weights_sha256']}")
    if probe.get("released_sha256"):
        comments.append(f"with --probe-weights FILE, SHA-256 {probe['released_sha256']}")
    if config.get("task") == "none":
        comments = [f"Record {fields['id']} was made by bench probe from features of elsewhere."]
    lines = [f"# {line}" for line in comments]
    tables = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    lines += [f"{key} = {_toml(value)}" for key, value in config.items() if key not in tables]
    for key, table in tables.items():
        lines += ["", f"[{key}]"]
        lines += [f"{_key(name)} = {_toml(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Write a JSON value in TOML, whose strings, lists and numbers have the same syntax."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


# ------------------------------------------------------------------------------------------ writing
def _exists(path: Path, content: bytes | Path) -> bool:
    """Whether a file exists with this content; raise if it has another."""
    if not path.exists():
        return False
    if isinstance(content, bytes):
        same = path.read_bytes() == content
    else:
        same = file_sha256(path) == file_sha256(content)
    if not same:
        raise RecordError(
            f"{path} exists with other content; nothing was written. Choose another --out, or"
            f" remove {path.parent} to replace it."
        )
    return True
