"""From records to bundles: verified, without local paths, ready for a repository of results.

A record is verified as it lies at home, seal and all. What is bundled is the same record with local
places cut out (`bench/publish/local_paths.py`); where that changed the file its seal is made anew,
the id is the same, for places are no part of it.
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
from bench.errors import BenchError
from bench.files import file_sha256, write_whole
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
from bench.records.record import Record, RecordError
from bench.records.record_files import kept_file, parse_record, prediction_facts, read_record
from bench.verify.verify_records import verify


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A record that was verified; `refusals` say why it should not be published.

    `code` is the exit code that they end in: 5 where something contradicts it, 3 where its number
    is not to be trusted or not reportable, 0 without any.
    """

    path: Path
    result: Record | None
    code: int
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What became of a record: its bundle, new or there already, or None and the reasons."""

    record: str
    folder: Path | None
    is_new: bool = False
    code: int = 0
    sentences: tuple[str, ...] = ()


def checked(paths: Sequence[Path]) -> list[Checked]:
    """Verify records; those beside them serve as controls, such as the untrained network."""
    others = {folder: readable(folder) for folder in {path.parent for path in paths}}
    found = []
    for path in paths:
        cache = path.parent.parent / "cache" if path.parent.name == "records" else None
        verdict = verify(path, others=others[path.parent], cache=cache)
        wrong = [f"{one.check}: {one.sentence}" for one in verdict.having("failed")]
        doubts = [f"{one.check}: {one.sentence}" for one in verdict.having("suspect")]
        result = verdict.result
        if result is not None and result.status != "complete":
            told = "; ".join(result.reasons)
            doubts.append(f"the record is {result.status.replace('_', ' ')}: {told}")
        code = 5 if wrong or result is None else 3 if doubts else 0
        found.append(Checked(path=path, result=result, code=code, refusals=(*wrong, *doubts)))
    return found


def submit(
    paths: Sequence[Path],
    out: Path,
    *,
    include_suspect: bool = False,
    with_probe: bool = False,
    keep_paths: bool = False,
) -> list[Submitted]:
    """Bundle every record under `out`; one that is refused does not keep the others back.

    A record that verification contradicts is never bundled, one that is suspect or not reportable
    with `include_suspect` alone, one whose id depends on a local path with `keep_paths` alone.
    """
    found = []
    for one in checked(paths):
        code, sentences, folder, is_new = one.code, one.refusals, None, False
        if one.result is not None and code != 5 and (not code or include_suspect):
            try:
                folder, is_new = bundle(one.path, out, with_probe=with_probe, keep_paths=keep_paths)
                code = 0
            except BenchError as error:
                code, sentences = error.exit_code, (str(error),)
        record = one.result.id if one.result is not None else one.path.stem
        found.append(
            Submitted(record=record, folder=folder, is_new=is_new, code=code, sentences=sentences)
        )
    return found


def bundle(
    path: Path, out: Path, *, with_probe: bool = False, keep_paths: bool = False
) -> tuple[Path, bool]:
    """Write the bundle of one record and return its folder, and whether anything was written.

    Files that are there already are kept if they are the same; the record is written last, so a
    bundle that was cut short has none.

    Raises:
        RecordError: the record or one of its files is not sound, its classes are not known, another
            bundle lies there, or its id depends on a local path.
    """
    result = read_record(path)
    fields = json.loads(path.read_text(encoding="utf-8"))
    cut = fields if keep_paths else without_places(fields)
    left = next(places(cut), None)
    if left is not None and not keep_paths:
        raise RecordError(
            f"record {result.id}: {left[0]} holds {left[1]!r}, a path of this machine that its id"
            " depends on; run it again with a path relative to where you run, or say --keep-paths."
        )
    text = path.read_bytes()
    if cut != fields:
        text = f"{json.dumps(cut, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
    parse_record(text.decode(), f"the bundle of {result.id}")
    folder = out / place_of(cut)
    texts = _texts(result, cut, path.parent)
    sources = [
        kept_file(result, name, path.parent)
        for name in ("predictions", "truth")
        if getattr(result.artifacts, name) is not None
    ]
    if with_probe:
        probe = kept_file(result, "probe", path.parent).parent
        sources += sorted(p for p in probe.iterdir() if p.is_file())
    wanted: dict[str, bytes | Path] = {str(one.relative_to(path.parent)): one for one in sources}
    wanted |= {name: content.encode() for name, content in texts.items()}
    wanted[f"{result.id}.json"] = text  # last
    new = [name for name, content in wanted.items() if not _holds(folder / name, content)]
    for name in new:
        content = wanted[name]
        if isinstance(content, bytes):
            write_whole(folder / name, content)
            continue
        with content.open("rb") as source:
            write_whole(folder / name, partial(shutil.copyfileobj, source))
    return folder, bool(new)


# ----------------------------------------------------------------------------------------- contents
def _texts(result: Record, fields: Mapping[str, Any], folder: Path) -> dict[str, str]:
    predictions = kept_file(result, "predictions", folder)
    ids, labels = predicted_rows(predictions)
    classes = _classes(result, predictions, folder)
    digest = manifest_digest(ids, labels, classes)
    # The labels that a task gave to boxes which it scores are not kept (bench/publish/bundles.py).
    if digest != result.data.score.digest and result.task.unit != "box":
        raise RecordError(
            f"record {result.id}: ids, labels and classes of its predictions have the digest"
            f" {digest[:12]}, data.score.digest is {result.data.score.digest[:12]}; run it again."
        )
    return {
        MANIFEST: manifest_bytes(ids, labels).decode(),
        CLASSES: "\n".join(classes) + "\n",
        CONFIG: config_toml(fields),
    }


def _classes(result: Record, predictions: Path, folder: Path) -> list[str]:
    """Return the class names: from the predictions, or of older ones and of boxes from the probe.

    Without the file of the probe those of boxes are the evaluated ones.
    """
    told = prediction_facts(predictions)
    if told is not None and "classes" in told:
        return [str(name) for name in told["classes"]]
    if result.artifacts.probe is not None and (folder / result.artifacts.probe.path).is_file():
        saved = json.loads(kept_file(result, "probe", folder).read_text(encoding="utf-8"))
        return [str(name) for name in saved["facts"]["classes"]]
    if result.task.unit == "box":
        return list(read_scored_boxes(predictions).classes.values())
    raise RecordError(
        f"record {result.id}: the names of its classes are neither in its predictions nor beside"
        " them in the file of its probe; restore that, or run it again."
    )


def config_toml(fields: Mapping[str, Any]) -> str:
    """Return the configuration of a record as a file for `bench run`, with what it needs said."""
    config, probe = plain_config(fields["config"]), fields["probe"]
    told = [f"Record {fields['id']}, again: bench run {CONFIG} --data DIR"]
    if fields["encoder"].get("weights_sha256"):
        told.append(f"SHA-256 of the encoder's weights: {fields['encoder']['weights_sha256']}")
    if probe.get("released_sha256"):
        told.append(f"with --probe-weights FILE, SHA-256 {probe['released_sha256']}")
    if config.get("task") == "none":
        told = [f"Record {fields['id']} was made by bench probe from features of elsewhere."]
    lines = [f"# {line}" for line in told]
    tables = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    lines += [f"{key} = {_toml(value)}" for key, value in config.items() if key not in tables]
    for key, table in tables.items():
        lines += ["", f"[{key}]"]
        lines += [f"{_key(name)} = {_toml(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Spell a JSON value in TOML, whose strings, lists and numbers are spelled alike."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


# ------------------------------------------------------------------------------------------ writing
def _holds(path: Path, content: bytes | Path) -> bool:
    """Say whether a file is there with that content; refuse one with another."""
    if not path.exists():
        return False
    if isinstance(content, bytes):
        same = path.read_bytes() == content
    else:
        same = file_sha256(path) == file_sha256(content)
    if not same:
        raise RecordError(
            f"{path} is there and is another file; nothing was written. Choose another --out, or"
            f" remove {path.parent} if it should be replaced."
        )
    return True
