"""What a footnote says: every way in which a record is not simply one more number of its column."""

from __future__ import annotations

from bench.result import Result, TrainLabelsPart, is_ratio


def measured(record: Result) -> tuple[str, ...]:
    """Return what two records must share, beside the protocol's name, to compare without a mark."""
    fit = record.data.fit
    return (
        record.protocol.digest,
        *record.protocol.deviations,
        record.task.score_split,
        record.data.score.digest,
        fit.digest if fit else "released probe",
        trained_on(record),
    )


def trained_on(record: Result) -> str:
    """Return which share of the training labels was used, without the draw; empty for none."""
    labels = record.train_labels
    return repr((labels.fraction, labels.shots, labels.subset_sha256)) if labels else ""


def notes_on(record: Result, reference: Result, protocol: str | None) -> list[str]:
    """Return a sentence for everything that a reader of the column has to know about a record."""
    notes = [
        _protocol(record, reference, protocol),
        _deviations(record),
        _score_split(record, reference),
        _training(record, reference),
        _rows(record),
        _status(record),
    ]
    return [note for note in notes if note]


def own_notes(record: Result) -> list[str]:
    """Return the sentences on a record that need no other one to compare with."""
    notes = [_deviations(record), _rows(record), _status(record)]
    return [note for note in notes if note]


def _protocol(record: Result, reference: Result, protocol: str | None) -> str:
    own = record.protocol
    if own.name != protocol:
        return f"protocol {own.name}; the column shows {protocol}"
    if own.digest != reference.protocol.digest:
        return f"another definition of {own.name} (digest {own.digest[:8]})"
    return ""


def _deviations(record: Result) -> str:
    listed = record.protocol.deviations
    return f"departs from {record.protocol.name}: {'; '.join(listed)}" if listed else ""


def _score_split(record: Result, reference: Result) -> str:
    own, other = record.data.score, reference.data.score
    if record.task.score_split != reference.task.score_split:
        return f"scored on {record.task.score_split}; the column shows {reference.task.score_split}"
    if own.digest != other.digest:
        return (
            f"another list of {record.task.score_split} samples ({own.listed:,} rows,"
            f" manifest {own.digest[:8]}; the column has {other.listed:,} rows,"
            f" manifest {other.digest[:8]})"
        )
    return ""


def _training(record: Result, reference: Result) -> str:
    fit, labels, other = record.data.fit, record.train_labels, reference.data.fit
    if fit is None or labels is None:
        order = record.probe.head_order
        how = "its classes put in the task's order" if order else "scored as it is"
        return f"a released probe, {how}"
    if not labels.are_all:
        return f"{share_of(labels)} ({labels.used:,} rows)"
    if other is not None and fit.digest != other.digest:
        return (
            f"fitted on another list of {record.task.fit_split} samples"
            f" ({fit.listed:,} rows, manifest {fit.digest[:8]})"
        )
    return ""


def share_of(labels: TrainLabelsPart) -> str:
    """Say which part of the training labels was used, such as `5 % of the labels, draw 1`."""
    if labels.subset_sha256:
        return f"the training labels of a list (sha256 {labels.subset_sha256[:8]})"
    if labels.shots is not None:
        labels_a_class = "training label" if labels.shots == 1 else "training labels"
        return f"{labels.shots} {labels_a_class} a class, draw {labels.draw}"
    return f"{100 * labels.fraction:g} % of the training labels, draw {labels.draw}"


def _rows(record: Result) -> str:
    metrics, split = record.metrics, record.data.score
    if metrics.scored == metrics.expected == split.listed:
        return ""
    parts = []
    if split.lost:
        as_wrong = is_ratio(metrics.top1, metrics.correct, split.listed)
        how = "counted as wrong" if as_wrong else "left out of the count"
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
    rows = f"scored {metrics.scored:,} of {metrics.expected:,} rows ({'; '.join(parts)})"
    return f"{rows}; the others are worth up to {width:.1f} points"


def _status(record: Result) -> str:
    if record.status == "complete":
        return ""
    return f"{record.status.replace('_', ' ')}: {'; '.join(record.reasons)}"
