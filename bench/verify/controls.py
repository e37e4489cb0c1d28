"""Can a number be believed: against chance, against untrained weights, and beside other records?

A record may be whole and still worth nothing: features that are garbage, predictions of another
model, a truth that was made easier. Such findings are suspect, never failed: nothing in the record
itself is contradicted.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.metrics.intervals import wilson
from bench.metrics.mcnemar import mcnemar_above
from bench.records.metrics import MetricsPart
from bench.records.record import Record
from bench.verify.findings import Finding, ok, suspect, unchecked
from bench.verify.recount import Counted

ALPHA = 0.05  # one-sided: better than untrained weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Peer:
    """A sound record with what comparing needs of it."""

    result: Record
    path: Path
    counted: Counted


def controls(own: Peer, others: Sequence[Peer], cache: Path | None = None) -> list[Finding]:
    """Return what chance, the untrained control and the other records say of a number."""
    result, counted = own.result, own.counted
    rest = [peer for peer in others if peer.result.id != result.id]
    rows = [peer for peer in rest if peer.result.data.score.digest == result.data.score.digest]
    content = rows if counted.content is not None else []
    features = [p for p in rows if p.result.features.score_key == result.features.score_key]
    truths = [
        peer
        for peer in rows
        if result.task.files == peer.result.task.files != {}
        and None not in (counted.truth, peer.counted.truth)
    ]
    alike = "no record of other weights has the same predictions"
    return [
        *_chance(result),
        *_untrained(own, rest, cache),
        *_beside("copies", own, content, _copied, alike),
        *_beside("split", own, rows, _renamed, "the same rows are called the same elsewhere"),
        *_beside(
            "features", own, features, _remade, "said to be of one network in other records too"
        ),
        *_beside("truth", own, truths, _easier, "the same ground truth as in other records"),
    ]


def may_concern(own: Record, other: Record) -> bool:
    """Whether the files of another record can tell anything on `own`: cheap to say."""
    if own.id == other.id:
        return False
    same_rows = own.data.score.digest == other.data.score.digest
    is_control = _is_untrained(other) and measured(own) == measured(other)
    same_files = bool(own.task.files) and own.task.files == other.task.files
    same_features = own.features.score_key == other.features.score_key
    is_alike = is_control or same_features or own.metrics == other.metrics
    return same_files or (same_rows and is_alike)


def measured(result: Record) -> str:
    """Return everything that two records must share for their numbers to compare encoders."""
    fit, labels = result.data.fit, result.train_labels
    facts: dict[str, Any] = {
        "task": [result.task.name, result.task.metric, result.task.score_split],
        "rows": [fit.digest if fit else None, result.data.score.digest],
        "labels": [labels.used, labels.fraction, labels.draw] if labels else None,
        "files": dict(result.task.files),
        "protocol": result.protocol.digest,
        "probe": [result.probe.name, dict(result.probe.settings), list(result.probe.heads)],
        "released": result.probe.released_sha256,
        "skips": not result.counts_lost,
    }
    return json.dumps(facts, sort_keys=True)


# ------------------------------------------------------------------------------------------- chance
def _chance(result: Record) -> list[Finding]:
    metrics = result.metrics
    if not isinstance(metrics, MetricsPart):
        return []  # a mean AP has no chance level
    if result.encoder.is_floor:
        return [ok("chance", "a floor may be at chance")]
    total = result.num_counted
    if not total:
        return [suspect("chance", "no row was scored")]
    interval, chance = wilson(metrics.correct, total), _percent(metrics.chance)
    if interval.low > metrics.chance:
        return [ok("chance", f"above chance, {chance}")]
    sentence = (
        f"{metrics.correct} of {total} right ({_percent(metrics.correct / total)}, 95 % interval"
        f" {_percent(interval.low)} to {_percent(interval.high)}) is not above chance, {chance}"
    )
    return [suspect("chance", sentence)]


# ---------------------------------------------------------------------------------------- untrained
def _is_untrained(result: Record) -> bool:
    """Whether an encoder is a floor with random weights; raw pixels have none."""
    return result.encoder.is_floor and result.encoder.weights_sha256 is not None


def _untrained(own: Peer, others: Sequence[Peer], cache: Path | None) -> list[Finding]:
    result = own.result
    if result.encoder.is_floor:
        return [ok("control", "a floor needs no untrained control")]
    if result.data.fit is None:
        return [ok("control", "a released probe cannot be put on untrained weights")]
    wanted = measured(result)
    found = [p for p in others if _is_untrained(p.result) and measured(p.result) == wanted]
    if not found:
        return [unchecked("control", f"there is no untrained control; {_command(own)}")]
    network = _network(result)
    same = [p for p in found if _network(p.result) == network]
    control = max(same or found, key=lambda p: (p.result.headline, p.result.id))
    name = f"{control.result.encoder.name} (record {control.result.id})"
    try:
        p_above = _p_above(own, control, cache)
    except BenchError as error:
        return [unchecked("control", f"{name} cannot be compared: {str(error).rstrip('.')}")]
    if p_above is None:
        return [unchecked("control", f"{name} was scored on other rows, or on too few videos")]
    both = f"{_percent(result.headline)}, {name} {_percent(control.result.headline)}"
    if p_above > ALPHA:
        return [suspect("control", f"not better than untrained: {both}, one-sided p {p_above:.3g}")]
    return [ok("control", f"better than untrained: {both}, one-sided p {p_above:.2g}")]


def _network(result: Record) -> str:
    """Return the name of a network without where its weights come from."""
    spec = str(result.config.get("encoder", result.encoder.spec))
    name, _, weights = spec.partition(":")
    return weights if name == "random" else name


def _command(own: Peer) -> str:
    """Say how the untrained control of a record is made."""
    result, network = own.result, _network(own.result)
    if result.encoder.spec == "arrays":
        return "make features with untrained weights, and probe them with the same settings"
    words = ["bench", "run", str(own.path)]
    if network in ("timm", "hf") or network.startswith("timm/"):
        return f"make one: {shlex.join([*words, '--set', 'encoder.random=true'])}"
    return f"make one: {shlex.join([*words, '--encoder', f'random:{network}'])}"


def _p_above(own: Peer, control: Peer, cache: Path | None) -> float | None:
    """Return the one-sided p of being better than the control on the same rows or videos.

    Of boxes it is that of the jackknife over videos.
    """
    a, b = own.counted.right_rows(), control.counted.right_rows()
    if a is not None and b is not None:
        if a.shape != b.shape:
            return None
        return float(mcnemar_above(int((a & ~b).sum()), int((b & ~a).sum())))
    if own.counted.truth is None or own.counted.truth != control.counted.truth:
        return None
    from bench.records.score_intervals import compare_boxes  # torch, which clips do not need

    sides = (own.result, own.path.parent, control.result, control.path.parent)
    paired = compare_boxes(*sides, cache)
    return None if paired is None else paired.p_above


# ----------------------------------------------------------------------------------- other records
def _beside(
    check: str,
    own: Peer,
    others: Sequence[Peer],
    doubt: Callable[[Peer, Peer], str | None],
    fine: str,
) -> list[Finding]:
    """Return the first doubt that another record casts; nothing where there is no other record."""
    for other in others:
        if sentence := doubt(own, other):
            return [suspect(check, sentence)]
    return [ok(check, fine)] if others else []


def _copied(own: Peer, other: Peer) -> str | None:
    """Say whether other weights gave the same predictions, bit for bit."""
    there = other.result.encoder
    is_same = other.counted.content == own.counted.content
    if not is_same or there.weights_sha256 == own.result.encoder.weights_sha256:
        return None
    return (
        f"the predictions are, bit for bit, those of {there.name} (record {other.result.id}),"
        " which has other weights"
    )


def _renamed(own: Peer, other: Peer) -> str | None:
    """Say whether the same rows are called another task or split elsewhere."""
    here, there = own.result.task, other.result.task
    if (here.name, here.score_split) == (there.name, there.score_split):
        return None
    return (
        f"its rows are called {here.name} {here.score_split}, in record {other.result.id} the same"
        f" rows are {there.name} {there.score_split}"
    )


def _remade(own: Peer, other: Peer) -> str | None:
    """Say whether the same features are said to be of another network, or of other clips."""
    here, there = _made_by(own.result), _made_by(other.result)
    for name, fact in here.items():
        if fact != there[name]:
            return (
                f"its features are those of record {other.result.id}, but {name} is {fact!r} here"
                f" and {there[name]!r} there"
            )
    return None


def _made_by(result: Record) -> dict[str, Any]:
    """Return what follows from the key of the features that were scored."""
    names = ("weights_sha256", "name", "num_parameters", "width", "is_floor")
    facts = {f"encoder.{name}": getattr(result.encoder, name) for name in names}
    return {**facts, "plan.score": result.plan.score}


def _easier(own: Peer, other: Peer) -> str | None:
    """Say whether another record of the same ground truth file holds another truth."""
    if other.counted.truth == own.counted.truth:
        return None
    return (
        f"its ground truth is not that of record {other.result.id}, which was made from the same"
        " files"
    )


def _percent(value: float) -> str:
    return f"{np.round(100 * value, 1):g} %"
