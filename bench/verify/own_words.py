"""What a record file says of itself: fields, seal, status, and the files it names."""

from __future__ import annotations

import errno
import json
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.files import file_sha256
from bench.records.record import Artifact, Record, RecordError, seal_of
from bench.records.record_files import parse_record, prediction_facts
from bench.verify.claims import check_claims
from bench.verify.findings import Finding, all_of, failed, ok, suspect, unchecked
from bench.verify.selection import check_selection

FIRST_SEALED = 4  # schema versions before have no seal, and files that do not say whose they are
# What the text of a stranger's file can raise: fields of any type stand in any place.
UNREADABLE = (
    RecordError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError
)  # fmt: skip
FILES = {"predictions": ".parquet", "truth": "-truth.parquet", "probe": "-probe/probe.json"}
TENSORS = "probe.safetensors"  # as bench.evaluate.probe_files names it, which needs torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A record file: its fields as they stand there, and the record, None where it is unsound.

    `files` are the digests of those of its files that are there, by what they are.
    """

    path: Path
    raw: Mapping[str, Any]
    result: Record | None
    files: Mapping[str, str]
    findings: tuple[Finding, ...]

    @property
    def record(self) -> str:
        """The id, or what the file is called where it holds none."""
        return self.result.id if self.result is not None else self.path.stem

    @property
    def is_sealed(self) -> bool:
        """Whether the record is of a schema that has a seal."""
        return not _is_old(self.raw)

    def place(self, name: str) -> Path:
        """Return where a file that belongs to the record is."""
        return self.path.parent / f"{self.record}{FILES[name]}"


def open_record(path: Path) -> Opened:
    """Read a record file, and the digests of the files beside it; wrong content is a finding."""
    text = ""
    result = None
    try:
        _refuse_endless(path)
        text = path.read_text(encoding="utf-8")
        result = parse_record(text, path.name)
        json.loads(text, object_pairs_hook=_once)
        if path.stem != result.id:
            raise RecordError(f"{path.name} holds the record {result.id}; name it {result.id}.json")
    except UNREADABLE as error:
        sentence = str(error).rstrip(".")
        first = failed("record", sentence if path.name in sentence else f"{path.name}: {sentence}")
    else:
        first = ok("record", "its fields hold together and give its id")
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        raw = {}
    raw = raw if isinstance(raw, dict) else {}
    findings = [first, _seal(raw)]
    files: dict[str, str] = {}
    if result is not None:
        files, found = _files(path.parent, result)
        findings += [found, check_claims(result), _status(result)]
        findings.append(check_selection(result, is_sealed=not _is_old(raw)))
    return Opened(path=path, raw=raw, result=result, files=files, findings=tuple(findings))


def belongs(opened: Opened, result: Record) -> Finding:
    """Say whether predictions and truth were written for this record, task and split."""
    known = {
        "record": result.id,
        "task": result.task.name,
        "split": result.task.score_split,
        "manifest": result.data.score.digest,
    }
    problems, silent = [], []
    for name in ("predictions", "truth"):
        if name not in opened.files:
            continue
        file = opened.place(name)
        said = prediction_facts(file)
        if said is None:
            silent.append(file.name)
            continue
        if not opened.is_sealed:
            problems.append(
                f"{file.name} says whose it is, as files of schema"
                f" {opened.raw.get('schema_version')} do not: the record was given an older schema"
                " than it was written with"
            )
        problems += [
            f"{file.name} was written for the {key} {said.get(key)!r}, the record is of {value!r}"
            for key, value in known.items()
            if said.get(key) != value and (key, name) != ("manifest", "truth")
        ]
    if problems or not silent:
        return all_of("belongs", problems, "its files were written for this record")
    sentence = f"nothing in {' and '.join(silent)} says which record, task and split it is of"
    return failed("belongs", sentence) if opened.is_sealed else unchecked("belongs", sentence)


# ----------------------------------------------------------------------------------------- the file
def _refuse_endless(path: Path) -> None:
    """Refuse a device or a pipe, which may never end, even behind a link."""
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise OSError(errno.EINVAL, f"{path.name} is not a plain file")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: some readers take the first of its values, some the last."""
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise RecordError(f"the field {key!r} stands twice")
    return dict(pairs)


def _is_old(raw: Mapping[str, Any]) -> bool:
    version = raw.get("schema_version")
    return isinstance(version, int | float) and version < FIRST_SEALED


def _seal(raw: Mapping[str, Any]) -> Finding:
    version, seal = raw.get("schema_version"), raw.get("seal")
    if _is_old(raw):
        if seal is not None:
            return failed("seal", f"a record of schema {version!r} has no seal, this one has")
        return unchecked("seal", f"records of schema {version!r} have no seal")
    if seal is None:
        return failed("seal", "the seal is missing: the file was edited, or not written whole")
    try:
        own = seal_of(raw)
    except ValueError as error:  # a number that is not one
        return failed("seal", f"the seal cannot be computed: {error}")
    if seal != own:
        return failed("seal", "the seal is broken: the file was edited after it was written")
    return ok("seal", "nothing in the file was edited after it was written")


def _files(folder: Path, result: Record) -> tuple[dict[str, str], Finding]:
    """Return the digests of files that are there, and whether they are those of the record."""
    found: dict[str, str] = {}
    problems = []
    for name, ending in FILES.items():
        file = f"{result.id}{ending}"
        artifact: Artifact | None = getattr(result.artifacts, name)
        if artifact is None:
            if name == "predictions":
                problems.append("it names no predictions, from which its number could be counted")
            continue
        if artifact.path != file:
            problems.append(f"it names {artifact.path!r} as its {name}, which must be {file}")
            continue
        try:
            _refuse_endless(folder / file)
            found[name] = file_sha256(folder / file)
        except FileNotFoundError:
            if name != "probe":  # the probe may be left at home
                problems.append(f"{file} is missing")
        except OSError as error:
            problems.append(f"{file} cannot be read: {error.strerror}")
        else:
            if found[name] != artifact.sha256:
                problems.append(f"{file} is not the file that the record was written with")
    if "probe" in found and not problems:
        problems += _tensors(folder / f"{result.id}{FILES['probe']}")
    return found, all_of("files", problems, f"{', '.join(found)}: as they were written")


def _tensors(facts: Path) -> list[str]:
    """Return what is wrong with the tensors of a probe whose other file is the record's."""
    place = facts.with_name(TENSORS)
    try:
        wanted = json.loads(facts.read_text(encoding="utf-8"))["tensors_sha256"]
        _refuse_endless(place)
        is_own = file_sha256(place) == wanted
    except UNREADABLE as error:
        return [f"{place.parent.name}/{place.name} cannot be read: {error}"]
    return [] if is_own else [f"{place.parent.name}/{place.name} is not the one of {facts.name}"]


# --------------------------------------------------------------------------------------- the claims
def _status(result: Record) -> Finding:
    why = []
    if result.config.get("limit") is not None:
        why.append(f"limited to {result.config['limit']} rows a split")
    if result.environment.get("git_dirty"):
        why.append("the code differs from its commit")
    if why and result.status == "complete":
        return failed("status", f"it is called complete, but was {' and '.join(why)}")
    if result.status == "suspect":
        return suspect("status", "; ".join(result.reasons))
    if result.status == "not_reportable":
        return ok("status", f"not reportable: {'; '.join(result.reasons)}")
    return ok("status", "complete")
