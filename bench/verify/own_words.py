"""Check a record file by itself: fields, seal, status, and the files it names."""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.files import file_sha256, parse_json
from bench.records.doubts import not_reportable
from bench.records.record import Artifact, Record, RecordError, seal_of
from bench.records.record_files import parse_record, prediction_facts
from bench.verify.claims import check_claims
from bench.verify.findings import Finding, all_of, failed, ok, suspect, unchecked
from bench.verify.selection import check_selection

FIRST_SEALED = 4  # earlier schemas have no seal, and files that do not name their record
# What reading an untrusted file can raise: any field may have any type.
UNREADABLE = (
    RecordError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError
)  # fmt: skip
FILES = {"predictions": ".parquet", "truth": "-truth.parquet", "probe": "-probe/probe.json"}
TENSORS = "probe.safetensors"  # as in bench.evaluate.probe_files, which imports torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A record file: its `raw` fields, and the record, None if it is not sound.

    `files` are the digests of its existing files, by kind.
    """

    path: Path
    raw: Mapping[str, Any]
    record: Record | None
    files: Mapping[str, str]
    findings: tuple[Finding, ...]

    @property
    def record_id(self) -> str:
        """The id, or the stem of the file name if it has none."""
        return self.record.id if self.record is not None else self.path.stem

    @property
    def is_sealed(self) -> bool:
        """Whether the record is of a schema that has a seal."""
        return not _is_old(self.raw)

    def place(self, name: str) -> Path:
        """Return the path of a file of the record."""
        return self.path.parent / f"{self.record_id}{FILES[name]}"


def open_record(path: Path) -> Opened:
    """Read a record file and the digests of its other files; wrong content is a finding."""
    text = ""
    record = None
    try:
        _refuse_endless(path)
        text = path.read_text(encoding="utf-8")
        record = parse_record(text, path.name)
        if path.stem != record.id:
            raise RecordError(f"{path.name} is record {record.id}; rename it to {record.id}.json")
    except UNREADABLE as error:
        sentence = str(error).rstrip(".")
        first = failed("record", sentence if path.name in sentence else f"{path.name}: {sentence}")
    else:
        first = ok("record", "its fields are consistent and give its id")
    try:
        raw = json.loads(text)  # even if a field occurs twice
    except (ValueError, RecursionError):
        raw = {}
    raw = raw if isinstance(raw, dict) else {}
    findings = [first, _seal(raw)]
    files: dict[str, str] = {}
    if record is not None:
        files, found = _files(path.parent, record)
        findings += [found, check_claims(record), *_status(record)]
        findings.append(check_selection(record, is_sealed=not _is_old(raw)))
        findings += [unchecked("marks", mark) for mark in record.marks]
        findings += [unchecked("notes", note) for note in _notes(record)]
    return Opened(path=path, raw=raw, record=record, files=files, findings=tuple(findings))


def belongs(opened: Opened, record: Record) -> Finding:
    """Check whether predictions and ground truth were written for this record, task and split."""
    known = {
        "record": record.id,
        "task": record.task.name,
        "split": record.task.score_split,
        "manifest": record.data.score.digest,
    }
    problems, unnamed = [], []
    for name in ("predictions", "truth"):
        if name not in opened.files:
            continue
        file = opened.place(name)
        facts = prediction_facts(file)
        if facts is None:
            unnamed.append(file.name)
            continue
        if not opened.is_sealed:
            problems.append(
                f"{file.name} names its record, which files of schema"
                f" {opened.raw.get('schema_version')} do not: the schema version of the record was"
                " lowered"
            )
        problems += [
            f"{file.name} was written for {key} {facts.get(key)!r}, but the record has {value!r}"
            for key, value in known.items()
            if facts.get(key) != value and (key, name) != ("manifest", "truth")
        ]
    if problems or not unnamed:
        return all_of("belongs", problems, "its files were written for this record")
    sentence = f"{' and '.join(unnamed)} does not name its record, task and split"
    return failed("belongs", sentence) if opened.is_sealed else unchecked("belongs", sentence)


# ----------------------------------------------------------------------------------------- the file
def _refuse_endless(path: Path) -> None:
    """Reject devices and pipes, which may never end, also behind a symlink."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise OSError(errno.EINVAL, f"{path.name} is not a plain file")


def _is_old(raw: Mapping[str, Any]) -> bool:
    version = raw.get("schema_version")
    return isinstance(version, int | float) and version < FIRST_SEALED


def _seal(raw: Mapping[str, Any]) -> Finding:
    version, seal = raw.get("schema_version"), raw.get("seal")
    if _is_old(raw):
        if seal is not None:
            return failed("seal", f"it has a seal, but records of schema {version!r} have none")
        return unchecked("seal", f"records of schema {version!r} have no seal")
    if seal is None:
        return failed("seal", "the seal is missing: the file was edited or cut short")
    try:
        is_intact = seal == seal_of(raw)
    except ValueError as error:  # NaN or infinity
        return failed("seal", f"the seal cannot be computed: {error}")
    if not is_intact:
        return failed("seal", "the seal is broken: the file was edited after it was written")
    return ok("seal", "the file was not edited after it was written")


def _files(folder: Path, record: Record) -> tuple[dict[str, str], Finding]:
    """Return the digests of the existing files, and whether they are those of the record."""
    found: dict[str, str] = {}
    problems = []
    for name, ending in FILES.items():
        file = f"{record.id}{ending}"
        artifact: Artifact | None = getattr(record.artifacts, name)
        if artifact is None:
            if name == "predictions":
                problems.append("it names no predictions to compute its number from")
            continue
        if artifact.path != file:
            problems.append(f"its {name} must be {file}, but it names {artifact.path!r}")
            continue
        try:
            _refuse_endless(folder / file)
            found[name] = file_sha256(folder / file)
        except FileNotFoundError:
            if name != "probe":  # the probe may be left out of a bundle
                problems.append(f"{file} is missing")
        except OSError as error:
            problems.append(f"{file} cannot be read: {error.strerror}")
        else:
            if found[name] != artifact.sha256:
                problems.append(f"{file} was changed after the record was written")
    if "probe" in found and not problems:
        problems += _tensors(folder / f"{record.id}{FILES['probe']}")
    return found, all_of("files", problems, f"{', '.join(found)}: unchanged")


def _tensors(facts: Path) -> list[str]:
    """Return what is wrong with the tensors that the probe's `facts` file names."""
    place = facts.with_name(TENSORS)
    try:
        digest = parse_json(facts.read_text(encoding="utf-8"))["tensors_sha256"]
        _refuse_endless(place)
        if file_sha256(place) == digest:
            return []
    except UNREADABLE as error:
        return [f"{place.parent.name}/{place.name} cannot be read: {error}"]
    return [f"{place.parent.name}/{place.name} does not match {facts.name}"]


# --------------------------------------------------------------------------------------- the claims
def _notes(record: Record) -> Iterator[str]:
    """Yield what the run itself noted about its encoder and rows, which a reader has to judge."""
    check = None if record.encoder.is_floor else record.encoder.check
    if check is not None and check.fresh_norms:
        yield (
            f"{len(check.fresh_norms)} of {check.num_norms} normalisation layers hold the ones and"
            " zeros that training starts from: are these the trained weights?"
        )
    if check is not None and check.is_blind:
        yield "the encoder gave the same features for two different pictures"
    for split in (record.data.fit, record.data.score):
        yield from split.notes if split is not None else ()


def _status(record: Record) -> list[Finding]:
    reasons = not_reportable(record.config, record.environment)
    if reasons and record.status == "complete":
        return [failed("status", f"its status is complete, but: {' and '.join(reasons)}")]
    if record.status == "suspect":
        return [suspect("status", reason) for reason in record.reasons]
    if record.status == "not_reportable":
        return [ok("status", f"not reportable: {'; '.join(record.reasons)}")]
    return [ok("status", "complete")]
