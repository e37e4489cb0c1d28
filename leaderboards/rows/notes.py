"""What a footnote says: every way in which a record is not simply one more number of its column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.compare.comparable import own_options
from bench.records.record import Record, TrainLabelsPart

LABELS = {
    "none": "without its labels",
    "some": "with some of its labels",
    "all": "with its labels",
    "unknown": "whether with its labels is not known",
}


def measured(record: Record) -> tuple[str, ...]:
    """Return what two records must share, beside the protocol's name, to compare without a mark."""
    return (
        record.protocol.digest,
        *record.protocol.deviations,
        record.task.score_split,
        record.data.score.digest,
        left_out(record),
        _whole(record),
        trained_on(record),
        _spelled_options(_probe_options(record)),
        *_of_boxes(record),
    )


def _probe_options(record: Record) -> dict[str, Any]:
    """Return the settings of the probe that a run asked for itself."""
    asked = record.config.get("probe_options")
    return dict(asked) if isinstance(asked, dict) else {}


def _spelled_options(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in sorted(options.items()))


def _whole(record: Record) -> str:
    """Return the digest of the training rows, of a drawn share that of those it was drawn from."""
    fit, labels = record.data.fit, record.train_labels
    if fit is None or labels is None:
        return "released probe"
    whole = record.task.options.get("whole_sha256")
    return whole if isinstance(whole, str) and not labels.are_all else fit.digest


def left_out(record: Record) -> str:
    """Return a digest of the rows that were left out of the count because they could not be read.

    It is empty where there are none, or where they count as wrong.
    """
    split = record.data.score
    if not split.lost or record.counts_lost:
        return ""
    return hashlib.sha256(
        "\n".join(sorted([*split.missing, *split.undecodable])).encode()
    ).hexdigest()


def trained_on(record: Record) -> str:
    """Return which share of the training labels was used, without the draw; empty for none."""
    labels = record.train_labels
    return repr((labels.fraction, labels.shots, labels.subset_sha256)) if labels else ""


def _of_boxes(record: Record) -> tuple[str, ...]:
    """Return what decides how boxes are read and scored; empty for clips."""
    if record.task.unit != "box":
        return ()
    return json.dumps(own_options(record), sort_keys=True), *sorted(record.task.files.values())


def notes_on(
    record: Record,
    reference: Record,
    protocol: str | None,
    *,
    is_named: bool = False,
    draws: Sequence[int] = (),
) -> list[str]:
    """Return a sentence for everything that a reader of the column has to know about a record.

    `is_named` says that the column itself is one of a share of the training labels, `draws` which
    ones the number is the mean of, if of several.
    """
    notes = [
        _protocol(record, reference, protocol),
        _deviations(record),
        best_on_score(record),
        _seen(record),
        _score_split(record, reference),
        *_boxes(record, reference),
        _probe(record, reference),
        _training(record, reference, is_named, draws),
        _rows(record),
        status_note(record),
    ]
    return [note for note in notes if note]


def own_notes(record: Record) -> list[str]:
    """Return the sentences on a record that need no other one to compare with."""
    said = (_deviations(record), best_on_score(record), _seen(record), _rows(record))
    return [note for note in (*said, status_note(record)) if note]


def _protocol(record: Record, reference: Record, protocol: str | None) -> str:
    own = record.protocol
    if own.name != protocol:
        return f"protocol {own.name}; the column shows {protocol}"
    if own.digest != reference.protocol.digest:
        return f"another definition of {own.name} (digest {own.digest[:8]})"
    return ""


def _deviations(record: Record) -> str:
    listed = record.protocol.deviations
    return f"departs from {record.protocol.name}: {'; '.join(listed)}" if listed else ""


def best_on_score(record: Record) -> str:
    """Say that the scored rows themselves chose the head; empty if they did not."""
    chosen = record.probe.selection
    if chosen.rule != "best_on_score" or not chosen.score_split_scores:
        return ""
    heads = len(chosen.score_split_scores)
    return f"the best of {heads} heads on the scored rows themselves, which is too high a number"


def _seen(record: Record) -> str:
    """Say when the encoder was pretrained on the data set that it is scored on."""
    card, task = record.encoder.card, record.task.name
    if task not in card.trained_on:
        return ""
    return f"the encoder was pretrained on {task} ({LABELS[card.labels]})"


def _score_split(record: Record, reference: Record) -> str:
    own, other = record.data.score, reference.data.score
    split, wanted = record.task.score_split, reference.task.score_split
    if split != wanted:
        return f"scored on {split}; the column shows {wanted}"
    if own.digest == other.digest:
        return ""
    what = "boxes" if record.task.unit == "box" else "samples"
    return (
        f"another list of {split} {what} ({own.listed:,} rows, manifest {own.digest[:8]};"
        f" the column has {other.listed:,} rows, manifest {other.digest[:8]})"
    )


def _boxes(record: Record, reference: Record) -> list[str]:
    """Say by which other rules boxes were chosen, read and scored, and from which other files."""
    if {record.task.unit, reference.task.unit} != {"box"}:
        return []
    own, other = own_options(record), own_options(reference)
    said = [
        f"{key} {_spelled(own.get(key))}; the column has {_spelled(other.get(key))}"
        for key in _apart(own, other)
    ]
    files, others = record.task.files, reference.task.files
    said += [
        f"another {name.replace('_', ' ')} file ({_short(files.get(name))}; the column has"
        f" {_short(others.get(name))})"
        for name in _apart(files, others)
    ]
    return said


def _apart(own: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, sorted."""
    return sorted(key for key in {*own, *other} if own.get(key) != other.get(key))


def _probe(record: Record, reference: Record) -> str:
    """Say that a run set its probe otherwise, where that is not said as a deviation."""
    own, other = _probe_options(record), _probe_options(reference)
    listed = " ".join((*record.protocol.deviations, *reference.protocol.deviations))
    apart = {key for key in _apart(own, other) if f"{record.probe.name} {key} " not in listed}
    if not apart:
        return ""
    asked, usual = (
        _spelled_options({key: one[key] for key in apart & one.keys()}) or "its usual settings"
        for one in (own, other)
    )
    return f"{record.probe.name} with {asked}; the column has {usual}"


def _spelled(value: Any) -> str:
    return "none" if value is None else str(value)


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"sha256 {digest[:8]}"


def _training(record: Record, reference: Record, is_named: bool, draws: Sequence[int]) -> str:
    fit, labels, other = record.data.fit, record.train_labels, reference.data.fit
    if fit is None or labels is None:
        order = record.probe.head_order
        how = "its classes put in the task's order" if order else "scored as it is"
        return f"a released probe, {how}"
    if not labels.are_all and not (is_named and trained_on(record) == trained_on(reference)):
        return f"{share_of(labels, draws)} ({labels.used:,} rows)"
    if other is not None and _whole(record) != _whole(reference):
        return (
            f"fitted on another list of {record.task.fit_split} samples"
            f" ({fit.listed:,} rows, manifest {fit.digest[:8]})"
        )
    is_drawn = not labels.are_all and labels.subset_sha256 is None
    return f"draw {labels.draw} alone" if is_drawn and not draws else ""


def share_of(labels: TrainLabelsPart, draws: Sequence[int] = ()) -> str:
    """Say which part of the training labels was used, such as `5 % of the labels, draw 1`."""
    drawn = f"mean over draws {', '.join(map(str, draws))}" if draws else f"draw {labels.draw}"
    if labels.subset_sha256:
        return f"the training labels of a list (sha256 {labels.subset_sha256[:8]})"
    if labels.shots is not None:
        labels_a_class = "training label" if labels.shots == 1 else "training labels"
        return f"{labels.shots} {labels_a_class} a class, {drawn}"
    return f"{100 * labels.fraction:g} % of the training labels, {drawn}"


def _rows(record: Record) -> str:
    metrics, split = record.metrics, record.data.score
    if metrics.scored == metrics.expected == split.listed:
        return ""
    parts = []
    if split.lost:
        how = "counted as wrong" if record.counts_lost else "left out of the count"
        lost = {"missing": len(split.missing), "undecodable": len(split.undecodable)}
        named = " and ".join(f"{count:,} {what}" for what, count in lost.items() if count)
        parts.append(f"{named}, {how}")
    if split.excluded:
        parts.append(f"{len(split.excluded):,} excluded by rule")
    if split.listed + len(split.excluded) < metrics.expected:
        unlisted = metrics.expected - split.listed - len(split.excluded)
        parts.append(f"{unlisted:,} not in the annotation file")
    if split.listed > metrics.expected:
        parts.append(f"{split.listed - metrics.expected:,} more listed than published")
    width = 100 * (metrics.bounds.high - metrics.bounds.low)
    what = "boxes" if record.task.unit == "box" else "rows"
    rows = f"scored {metrics.scored:,} of {metrics.expected:,} {what} ({'; '.join(parts)})"
    return f"{rows}; the others are worth up to {width:.1f} points"


def status_note(record: Record) -> str:
    """Say why a record is not complete; empty if it is."""
    if record.status == "complete":
        return ""
    return f"{record.status.replace('_', ' ')}: {'; '.join(record.reasons)}"
