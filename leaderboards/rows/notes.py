"""Footnotes: every way in which a record differs from the rest of its column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.compare.comparable import decisive_options
from bench.records.record import Record, TrainLabelsPart

LABELS = {
    "none": "without its labels",
    "some": "with some of its labels",
    "all": "with its labels",
    "unknown": "use of its labels unknown",
}


def measured(record: Record) -> tuple[str, ...]:
    """Return what two records must share, besides the protocol's name, to compare unmarked."""
    return (
        record.protocol.digest,
        *record.protocol.deviations,
        record.task.score_split,
        record.data.score.digest,
        left_out(record),
        _pool_digest(record),
        trained_on(record),
        _options_text(_probe_options(record)),
        *_of_boxes(record),
    )


def _probe_options(record: Record) -> dict[str, Any]:
    asked = record.config.get("probe_options")
    return dict(asked) if isinstance(asked, dict) else {}


def _options_text(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in sorted(options.items()))


def _pool_digest(record: Record) -> str:
    """Return the digest of the training rows; for a drawn share, of those it was drawn from."""
    fit, labels = record.data.fit, record.train_labels
    if fit is None or labels is None:
        return "released probe"
    whole = record.task.options.get("whole_sha256")
    return whole if isinstance(whole, str) and not labels.are_all else fit.digest


def left_out(record: Record) -> str:
    """Return a digest of the unreadable rows excluded from the score.

    It is empty if there are none, or if they count as wrong.
    """
    split = record.data.score
    if not split.lost or record.counts_lost:
        return ""
    return hashlib.sha256(
        "\n".join(sorted([*split.missing, *split.undecodable])).encode()
    ).hexdigest()


def trained_on(record: Record) -> str:
    """Return which share of the training labels was used, draw aside; empty if none were."""
    labels = record.train_labels
    return repr((labels.fraction, labels.shots, labels.subset_sha256)) if labels else ""


def _of_boxes(record: Record) -> tuple[str, ...]:
    """Return what determines how boxes are read and scored; empty for clips."""
    if record.task.unit != "box":
        return ()
    return json.dumps(decisive_options(record), sort_keys=True), *sorted(record.task.files.values())


def notes_on(
    record: Record,
    reference: Record,
    protocol: str | None,
    *,
    is_named: bool = False,
    draws: Sequence[int] = (),
) -> list[str]:
    """Return a sentence for everything that a reader of the column has to know about a record.

    `is_named`: the column itself is for a share of the training labels. `draws`: those that the
    number averages, if several.
    """
    notes = [
        _protocol(record, reference, protocol),
        _deviations(record),
        best_on_score(record),
        _pretrained_on_task(record),
        _score_split(record, reference),
        *_boxes(record, reference),
        _probe(record, reference),
        _training(record, reference, is_named, draws),
        _rows(record),
        record.caveat,
        *record.marks,
    ]
    return [note for note in notes if note]


def own_notes(record: Record) -> list[str]:
    """Return the notes on a record that do not depend on its column."""
    notes = (_deviations(record), best_on_score(record), _pretrained_on_task(record))
    on_rows = (_rows(record), record.caveat, *record.marks)
    return [note for note in (*notes, *on_rows) if note]


def _protocol(record: Record, reference: Record, protocol: str | None) -> str:
    actual = record.protocol
    if actual.name != protocol:
        return f"protocol {actual.name}; the column uses {protocol}"
    if actual.digest != reference.protocol.digest:
        return f"different definition of {actual.name} (digest {actual.digest[:8]})"
    return ""


def _deviations(record: Record) -> str:
    listed = record.protocol.deviations
    return f"deviates from {record.protocol.name}: {'; '.join(listed)}" if listed else ""


def best_on_score(record: Record) -> str:
    """Return a warning if the head was chosen on the scored rows themselves, else nothing."""
    chosen = record.probe.selection
    if chosen.rule != "best_on_score" or not chosen.score_split_scores:
        return ""
    heads = len(chosen.score_split_scores)
    return f"best of {heads} heads, chosen on the scored rows themselves: optimistically biased"


def _pretrained_on_task(record: Record) -> str:
    card, task = record.encoder.card, record.task.name
    if task not in card.trained_on:
        return ""
    return f"encoder pretrained on {task} ({LABELS[card.labels]})"


def _score_split(record: Record, reference: Record) -> str:
    data, other = record.data.score, reference.data.score
    split, usual = record.task.score_split, reference.task.score_split
    if split != usual:
        return f"scored on {split}; the column uses {usual}"
    if data.digest == other.digest:
        return ""
    what = "boxes" if record.task.unit == "box" else "samples"
    return (
        f"different list of {split} {what} ({data.listed:,} rows, manifest {data.digest[:8]};"
        f" the column uses {other.listed:,} rows, manifest {other.digest[:8]})"
    )


def _boxes(record: Record, reference: Record) -> list[str]:
    """Return the options and files of boxes in which a record differs from its column."""
    if {record.task.unit, reference.task.unit} != {"box"}:
        return []
    options, other = decisive_options(record), decisive_options(reference)
    files, others = record.task.files, reference.task.files
    return [
        *(
            f"{key} {_or_none(options.get(key))}; the column uses {_or_none(other.get(key))}"
            for key in _differing(options, other)
        ),
        *(
            f"different {name.replace('_', ' ')} file ({_short(files.get(name))}; the column uses"
            f" {_short(others.get(name))})"
            for name in _differing(files, others)
        ),
    ]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def _probe(record: Record, reference: Record) -> str:
    """Return the probe settings that differ and are not listed as deviations."""
    options, other = _probe_options(record), _probe_options(reference)
    listed = " ".join((*record.protocol.deviations, *reference.protocol.deviations))
    keys = {k for k in _differing(options, other) if f"{record.probe.name} {k} " not in listed}
    if not keys:
        return ""
    asked, usual = (
        _options_text({key: one[key] for key in keys & one.keys()}) or "the default settings"
        for one in (options, other)
    )
    return f"{record.probe.name} with {asked}; the column uses {usual}"


def _or_none(value: Any) -> str:
    return "none" if value is None else str(value)


def _short(digest: str | None) -> str:
    return "none" if digest is None else f"sha256 {digest[:8]}"


def _training(record: Record, reference: Record, is_named: bool, draws: Sequence[int]) -> str:
    fit, labels, other = record.data.fit, record.train_labels, reference.data.fit
    if fit is None or labels is None:
        order = record.probe.head_order
        how = "classes reordered to match the task" if order else "scored as is"
        return f"released probe, {how}"
    if not labels.are_all and not (is_named and trained_on(record) == trained_on(reference)):
        return f"{share_of(labels, draws)} ({labels.used:,} rows)"
    if other is not None and _pool_digest(record) != _pool_digest(reference):
        return (
            f"trained on a different list of {record.task.fit_split} samples"
            f" ({fit.listed:,} rows, manifest {fit.digest[:8]})"
        )
    is_drawn = not labels.are_all and labels.subset_sha256 is None
    return f"draw {labels.draw} only" if is_drawn and not draws else ""


def share_of(labels: TrainLabelsPart, draws: Sequence[int] = ()) -> str:
    """Describe which training labels were used: `5 % of the training labels, draw 1`."""
    drawn = f"mean over draws {', '.join(map(str, draws))}" if draws else f"draw {labels.draw}"
    if labels.subset_sha256:
        return f"training labels from a list (sha256 {labels.subset_sha256[:8]})"
    if labels.shots is not None:
        return f"{labels.shots} training label{'s' * (labels.shots != 1)} per class, {drawn}"
    return f"{100 * labels.fraction:g} % of the training labels, {drawn}"


def _rows(record: Record) -> str:
    metrics, split = record.metrics, record.data.score
    if metrics.scored == metrics.expected == split.listed:
        return ""
    parts = []
    if split.lost:
        how = "counted as wrong" if record.counts_lost else "excluded from the score"
        lost = {"missing": len(split.missing), "undecodable": len(split.undecodable)}
        named = " and ".join(f"{count:,} {what}" for what, count in lost.items() if count)
        parts.append(f"{named}, {how}")
    if split.excluded:
        parts.append(f"{len(split.excluded):,} excluded by rule")
    if split.listed + len(split.excluded) < metrics.expected:
        unlisted = metrics.expected - split.listed - len(split.excluded)
        parts.append(f"{unlisted:,} not in the annotation file")
    if split.listed > metrics.expected:
        parts.append(f"{split.listed - metrics.expected:,} more than published")
    width = 100 * (metrics.bounds.high - metrics.bounds.low)
    what = "boxes" if record.task.unit == "box" else "rows"
    rows = f"scored {metrics.scored:,} of {metrics.expected:,} {what} ({'; '.join(parts)})"
    return f"{rows}; the rest could change the result by up to {width:.1f} points"
