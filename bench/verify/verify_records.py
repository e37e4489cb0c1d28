"""Verify records: are the files their own, do they give the numbers, and are these plausible?

Everything is computed offline from the files of the record. A forger who makes up predictions and
writes a consistent record around them is not caught here, but by `bench replay`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.records.doubts import not_reportable
from bench.records.record import Record
from bench.verify.boxes import check_boxes
from bench.verify.cache import cached
from bench.verify.clips import check_clips
from bench.verify.controls import Peer, controls, may_concern
from bench.verify.findings import Finding, Verdict, suspect, unchecked
from bench.verify.own_words import Opened, belongs, open_record
from bench.verify.protocol import check_protocol
from bench.verify.recount import Counted


def verify(
    path: Path, *, others: Sequence[Record] = (), strict: bool = False, cache: Path | None = None
) -> Verdict:
    """Check a record file and its other files; wrong content never raises.

    `others` are records of the same folder that may serve as controls, such as that of the
    untrained network. With `strict`, whatever cannot be checked is suspect.
    """
    opened = open_record(path)
    subject, findings = _examined(opened, cache)
    if subject is None:
        return _verdict(opened, findings, strict)
    near = [
        path.parent / f"{other.id}.json" for other in others if may_concern(subject.record, other)
    ]
    peers = [_examined(open_record(file), cache)[0] for file in near]
    found = controls(subject, [peer for peer in peers if peer is not None], cache)
    return _verdict(opened, [*findings, *found], strict)


def verify_folder(folder: Path, cache: Path | None = None) -> list[Verdict]:
    """Verify every record `folder/*.json`, with the others as controls, in order of their names.

    Findings on a record's own files are cached under `cache/verified`, keyed by their bytes.
    """
    return verify_all(sorted(folder.glob("*.json")), cache=cache)


def verify_all(
    paths: Iterable[Path], *, strict: bool = False, cache: Path | None = None
) -> list[Verdict]:
    """Verify records of any folders, with the others as controls, in the order given."""
    examined = []
    for path in paths:
        opened = open_record(path)
        examined.append((opened, *_examined(opened, cache)))
    by_rows: dict[str, list[Peer]] = {}
    for _, peer, _ in examined:
        if peer is not None:
            by_rows.setdefault(peer.record.data.score.digest, []).append(peer)
    verdicts = []
    for opened, subject, findings in examined:
        rows = by_rows[subject.record.data.score.digest] if subject else []
        found = controls(subject, rows, cache) if subject else []
        verdicts.append(_verdict(opened, [*findings, *found], strict))
    return verdicts


def marked(verdict: Verdict) -> Record:
    """Return the record of a verdict that has not failed, suspect if a check says so.

    One that is not reportable stays that, with the doubts among its reasons.
    """
    record = verdict.record
    assert record is not None  # only a failed verdict has none
    found = verdict.reasons("suspect")
    if not found:
        return record
    limits = not_reportable(record.config, record.environment)
    is_limited = limits or record.status == "not_reportable"
    reasons = tuple(dict.fromkeys([*record.reasons, *found]))
    status = "not_reportable" if is_limited else "suspect"
    return record.model_copy(update={"status": status, "reasons": reasons})


def _examined(opened: Opened, cache: Path | None) -> tuple[Peer | None, list[Finding]]:
    """Check a record by its own files; also return it as a `Peer` if others can be compared."""
    record = opened.record
    if record is None:
        return None, list(opened.findings)
    findings = [*opened.findings, check_protocol(record)]
    is_box = record.task.unit == "box"
    if "predictions" not in opened.files or (is_box and "truth" not in opened.files):
        for name in ("belongs", "rows", "manifest", "metrics"):
            findings.append(unchecked(name, "the files are missing"))
        return None, findings

    def check() -> tuple[list[Finding], Counted]:
        found, counted = (check_boxes if is_box else check_clips)(opened, record)
        return [belongs(opened, record), *found], counted

    found, counted = cached(opened, cache, check)
    peer = Peer(record=record, path=opened.path, counted=counted)
    return (None if counted == Counted() else peer), [*findings, *found]


def _verdict(opened: Opened, findings: Sequence[Finding], strict: bool) -> Verdict:
    found = {finding.sentence for finding in findings if finding.check != "status"}
    checked = [
        suspect(finding.check, f"not checked: {finding.sentence}")
        if strict and finding.outcome == "unchecked"
        else finding
        for finding in findings
        if finding.check != "status" or finding.sentence not in found  # said by its own check
    ]
    return Verdict(
        record_id=opened.record_id, path=opened.path, findings=tuple(checked), record=opened.record
    )
