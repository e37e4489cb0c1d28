"""Does a record hold: are its files its own, do they give its numbers, and can these be believed?

Everything is computed from the files of the record, offline. What this cannot find is a forger who
makes predictions up and writes a whole consistent record around them; `bench replay` can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.records.record import Record
from bench.verify.boxes import check_boxes
from bench.verify.cache import remembered
from bench.verify.clips import check_clips
from bench.verify.controls import Peer, controls, may_concern
from bench.verify.findings import Finding, Verdict, suspect, unchecked
from bench.verify.own_words import Opened, belongs, open_record
from bench.verify.protocol import check_protocol
from bench.verify.recount import Counted


def verify(
    path: Path, *, others: Sequence[Record] = (), strict: bool = False, cache: Path | None = None
) -> Verdict:
    """Check a record file and the files beside it; content that is wrong never raises.

    `others` are records of the same folder, among which controls are looked for, such as that of
    the untrained network. With `strict` what cannot be checked is suspect.
    """
    opened = open_record(path)
    own, findings = _examined(opened, cache)
    if own is None:
        return _verdict(opened, findings, strict)
    near = [path.parent / f"{other.id}.json" for other in others if may_concern(own.result, other)]
    peers = [_examined(open_record(file), cache)[0] for file in near]
    found = controls(own, [peer for peer in peers if peer is not None], cache)
    return _verdict(opened, [*findings, *found], strict)


def verify_folder(folder: Path, cache: Path | None = None) -> list[Verdict]:
    """Verify every record `folder/*.json`, with each other as controls; return them by name.

    What depends on a record's own files alone is kept under `cache/verified`, by their bytes.
    """
    return verify_all(sorted(folder.glob("*.json")), cache=cache)


def verify_all(
    paths: Iterable[Path], *, strict: bool = False, cache: Path | None = None
) -> list[Verdict]:
    """Verify records of any folders, with each other as controls, in the order given."""
    examined = []
    for path in paths:
        opened = open_record(path)
        examined.append((opened, *_examined(opened, cache)))
    by_rows: dict[str, list[Peer]] = {}
    for _, peer, _ in examined:
        if peer is not None:
            by_rows.setdefault(peer.result.data.score.digest, []).append(peer)
    verdicts = []
    for opened, own, findings in examined:
        found = controls(own, by_rows[own.result.data.score.digest], cache) if own else []
        verdicts.append(_verdict(opened, [*findings, *found], strict))
    return verdicts


def _examined(opened: Opened, cache: Path | None) -> tuple[Peer | None, list[Finding]]:
    """Check one record by its own files; return what others can be compared with, if anything."""
    result = opened.result
    if result is None:
        return None, list(opened.findings)
    findings = [*opened.findings, check_protocol(result)]
    is_box = result.task.unit == "box"
    if "predictions" not in opened.files or (is_box and "truth" not in opened.files):
        for name in ("belongs", "rows", "manifest", "metrics"):
            findings.append(unchecked(name, "the files are not there"))
        return None, findings

    def check() -> tuple[list[Finding], Counted]:
        own, counted = (check_boxes if is_box else check_clips)(opened, result)
        return [belongs(opened, result), *own], counted

    found, counted = remembered(opened, cache, check)
    peer = Peer(result=result, path=opened.path, counted=counted)
    return (None if counted == Counted() else peer), [*findings, *found]


def _verdict(opened: Opened, findings: Sequence[Finding], strict: bool) -> Verdict:
    told = [
        suspect(finding.check, f"not checked: {finding.sentence}")
        if strict and finding.outcome == "unchecked"
        else finding
        for finding in findings
    ]
    return Verdict(
        record=opened.record, path=opened.path, findings=tuple(told), result=opened.result
    )
