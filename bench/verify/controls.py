"""Control a number against chance, against untrained weights and against other records.

A consistent record may still be worthless: garbage features, predictions of another model, an
easier ground truth. Such findings are suspect, never failed: nothing contradicts the record itself.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.metrics.mcnemar import mcnemar_above
from bench.records.doubts import not_above_chance, percent
from bench.records.metrics import MetricsPart
from bench.records.record import Record
from bench.verify.findings import Finding, ok, suspect, unchecked
from bench.verify.recount import Counted

ALPHA = 0.05  # one-sided: better than untrained weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Peer:
    """A sound record and what is needed to compare it with others."""

    record: Record
    path: Path
    counted: Counted


def controls(subject: Peer, others: Sequence[Peer], cache: Path | None = None) -> list[Finding]:
    """Compare a number with chance, the untrained control and the other records."""
    record, counted = subject.record, subject.counted
    rest = [peer for peer in others if peer.record.id != record.id]
    rows = [peer for peer in rest if peer.record.data.score.digest == record.data.score.digest]
    content = rows if counted.content is not None else []
    features = [p for p in rows if p.record.features.score_key == record.features.score_key]
    truths = [
        peer
        for peer in rows
        if record.task.files == peer.record.task.files != {}
        and None not in (counted.truth, peer.counted.truth)
    ]
    alike = "no record of other weights has the same predictions"
    return [
        *_chance(record),
        *_untrained(subject, rest, cache),
        *_first_doubt("copies", subject, content, _copied, alike),
        *_first_doubt(
            "split", subject, rows, _renamed, "other records use the same names for these rows"
        ),
        *_first_doubt(
            "features", subject, features, _remade, "other records name the same network for them"
        ),
        *_first_doubt(
            "truth", subject, truths, _easier, "the same ground truth as in other records"
        ),
    ]


def may_concern(subject: Record, other: Record) -> bool:
    """Whether another record is worth opening to control `subject`; cheap to compute."""
    if subject.id == other.id:
        return False
    same_rows = subject.data.score.digest == other.data.score.digest
    is_control = _is_untrained(other) and measured(subject) == measured(other)
    same_files = bool(subject.task.files) and subject.task.files == other.task.files
    same_features = subject.features.score_key == other.features.score_key
    is_alike = is_control or same_features or subject.metrics == other.metrics
    return same_files or (same_rows and is_alike)


def measured(record: Record) -> str:
    """Return what two records must share for their numbers to compare encoders, as JSON."""
    fit, labels = record.data.fit, record.train_labels
    facts: dict[str, Any] = {
        "task": [record.task.name, record.task.metric, record.task.score_split],
        "rows": [fit.digest if fit else None, record.data.score.digest],
        "labels": [labels.used, labels.fraction, labels.draw] if labels else None,
        "files": dict(record.task.files),
        "protocol": record.protocol.digest,
        "probe": [record.probe.name, dict(record.probe.settings), list(record.probe.heads)],
        "released": record.probe.released_sha256,
        "skips": not record.counts_lost,
    }
    return json.dumps(facts, sort_keys=True)


# ------------------------------------------------------------------------------------------- chance
def _chance(record: Record) -> list[Finding]:
    metrics = record.metrics
    if not isinstance(metrics, MetricsPart):
        return []  # mean AP has no chance level
    is_floor = record.encoder.is_floor
    if doubt := not_above_chance(metrics, record.num_counted, is_floor=is_floor):
        return [suspect("chance", doubt)]
    fine = "a floor may be at" if is_floor else "above"
    return [ok("chance", f"{fine} chance, {percent(metrics.chance)}")]


# ---------------------------------------------------------------------------------------- untrained
def _is_untrained(record: Record) -> bool:
    """Whether the encoder is a floor with random weights; raw pixels have no weights."""
    return record.encoder.is_floor and record.encoder.weights_sha256 is not None


def _untrained(subject: Peer, others: Sequence[Peer], cache: Path | None) -> list[Finding]:
    record = subject.record
    if record.encoder.is_floor:
        return [ok("control", "a floor needs no untrained control")]
    if record.data.fit is None:
        return [ok("control", "a released probe cannot be used with untrained weights")]
    key = measured(record)
    found = [p for p in others if _is_untrained(p.record) and measured(p.record) == key]
    if not found:
        return [unchecked("control", f"there is no untrained control; {_command(subject)}")]
    network = _network(record)
    same = [p for p in found if _network(p.record) == network]
    control = max(same or found, key=lambda p: (p.record.headline, p.record.id))
    name = f"{control.record.encoder.name} (record {control.record.id})"
    try:
        p_above = _p_above(subject, control, cache)
    except BenchError as error:
        return [unchecked("control", f"{name} cannot be compared: {str(error).rstrip('.')}")]
    if p_above is None:
        return [unchecked("control", f"{name} was scored on other rows, or on too few videos")]
    both = f"{percent(record.headline)}, {name} {percent(control.record.headline)}"
    if p_above > ALPHA:
        return [suspect("control", f"not better than untrained: {both}, one-sided p {p_above:.3g}")]
    return [ok("control", f"better than untrained: {both}, one-sided p {p_above:.2g}")]


def _network(record: Record) -> str:
    """Return the name of a network without the source of its weights."""
    spec = str(record.config.get("encoder", record.encoder.spec))
    name, _, weights = spec.partition(":")
    return weights if name == "random" else name


def _command(subject: Peer) -> str:
    """Describe how to make the untrained control of a record."""
    record, network = subject.record, _network(subject.record)
    if record.encoder.spec == "arrays":
        return "compute features with untrained weights and probe them with the same settings"
    words = ["bench", "run", str(subject.path)]
    if network in ("timm", "hf") or network.startswith("timm/"):
        return f"make one: {shlex.join([*words, '--set', 'encoder.random=true'])}"
    return f"make one: {shlex.join([*words, '--encoder', f'random:{network}'])}"


def _p_above(subject: Peer, control: Peer, cache: Path | None) -> float | None:
    """Return the one-sided p of beating the control on the same rows, or (boxes) the same videos.

    Boxes are compared with a jackknife over videos.
    """
    a, b = subject.counted.right_rows(), control.counted.right_rows()
    if a is not None and b is not None:
        if a.shape != b.shape:
            return None
        return float(mcnemar_above(int((a & ~b).sum()), int((b & ~a).sum())))
    if subject.counted.truth is None or subject.counted.truth != control.counted.truth:
        return None
    from bench.records.score_intervals import compare_boxes  # torch, not needed for clips

    sides = (subject.record, subject.path.parent, control.record, control.path.parent)
    paired = compare_boxes(*sides, cache)
    return None if paired is None else paired.p_above


# ----------------------------------------------------------------------------------- other records
def _first_doubt(
    check: str,
    subject: Peer,
    others: Sequence[Peer],
    doubt: Callable[[Peer, Peer], str | None],
    fine: str,
) -> list[Finding]:
    """Return the first doubt that another record raises; empty if there are no other records."""
    for other in others:
        if sentence := doubt(subject, other):
            return [suspect(check, sentence)]
    return [ok(check, fine)] if others else []


def _copied(subject: Peer, other: Peer) -> str | None:
    """Describe a record of other weights with bit-identical predictions."""
    there = other.record.encoder
    is_same = other.counted.content == subject.counted.content
    if not is_same or there.weights_sha256 == subject.record.encoder.weights_sha256:
        return None
    return (
        f"the predictions are bit-identical to those of {there.name} (record {other.record.id}),"
        " which has other weights"
    )


def _renamed(subject: Peer, other: Peer) -> str | None:
    """Describe a record with the same rows under another task or split name."""
    here, there = subject.record.task, other.record.task
    if (here.name, here.score_split) == (there.name, there.score_split):
        return None
    return (
        f"its rows are named {here.name} {here.score_split}, but {there.name} {there.score_split}"
        f" in record {other.record.id}"
    )


def _remade(subject: Peer, other: Peer) -> str | None:
    """Describe a record with the same features of another network or other clips."""
    here, there = _made_by(subject.record), _made_by(other.record)
    for name, fact in here.items():
        if fact != there[name]:
            return (
                f"its features are those of record {other.record.id}, but {name} is {fact!r} here"
                f" and {there[name]!r} there"
            )
    return None


def _made_by(record: Record) -> dict[str, Any]:
    """Return the facts that the key of the scored features determines."""
    names = ("weights_sha256", "name", "num_parameters", "width", "is_floor")
    facts = {f"encoder.{name}": getattr(record.encoder, name) for name in names}
    return {**facts, "plan.score": record.plan.score}


def _easier(subject: Peer, other: Peer) -> str | None:
    """Describe a record of the same ground-truth files with another ground truth."""
    if other.counted.truth == subject.counted.truth:
        return None
    return (
        f"its ground truth differs from that of record {other.record.id}, made from the same files"
    )
