"""Compare two encoders on the same rows: difference, interval, test, and differing inputs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.compare.comparable import Measurement, differing, measurement, paired_repeats
from bench.compare.paired_rows import (
    StoredRecord,
    compare_on_rows,
    compare_on_videos,
    refuse_other_rows,
)
from bench.errors import UsageError
from bench.metrics.paired import Paired, holm
from bench.records.record import Record

ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Numbers (fractions) of several seeds or draws; `std` has ddof 1."""

    mean: float
    std: float
    count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A minus B on one measurement.

    `value_a` and `value_b` are means over `pairs`, one per seed and draw, on the rows that both
    counted; the spreads are over these pairs (None for one). `differing` lists the inputs besides
    the encoder that differ, `remarks` what happened to rows. `holm` is p adjusted for all
    comparisons made at once.
    """

    measurement: Measurement
    pairs: tuple[tuple[Record, Record], ...]
    value_a: float
    value_b: float
    paired: Paired
    holm: float
    spread_a: Spread | None
    spread_b: Spread | None
    spread: Spread | None
    differing: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What `paired.n` counts."""
        return "videos" if self.measurement[1] == "mean_ap" else "rows"


def compare_records(
    a: StoredRecord,
    b: StoredRecord,
    *,
    metric: str | None = None,
    strict: bool = False,
    cache: Path | None = None,
) -> Comparison:
    """Compare two records by `metric` (None: that of their task).

    Raises:
        UsageError: their tasks or metrics differ, or they lack the metric.
        DataError: they share no rows, or disagree on labels or, with `strict`, on rows.
        RecordError: a saved file is missing or was changed.
    """
    for what, field in (("task", "name"), ("metric", "metric")):
        x, y = getattr(a.record.task, field), getattr(b.record.task, field)
        if x != y:
            raise UsageError(
                f"record {a.record.id} has {what} {x!r}, record {b.record.id} has {y!r}: choose two"
                " records of the same task and metric."
            )
    return _compare([(a, b)], metric, strict=strict, cache=cache)


def compare_encoders(
    name_a: str,
    name_b: str,
    records: Sequence[Record],
    folder: Path,
    *,
    metric: str | None = None,
    strict: bool = False,
    include_unreportable: bool = False,
    cache: Path | None = None,
) -> tuple[list[Comparison], list[str]]:
    """Compare two encoders on all common measurements; also list the measurements of only one.

    Encoders are given by their spec or their name in tables. P-values are adjusted for the number
    of comparisons. Records that are not reportable are left out by default. `metric` overrides
    that of the tasks, for records that have it.

    Raises:
        UsageError: an encoder has no records, or the two have no measurement in common.
        DataError, RecordError: as `compare_records`.
    """
    usable = [r for r in records if include_unreportable or r.status != "not_reportable"]
    hidden = len(records) - len(usable)
    by_name = [
        _by_measurement(name, records_of_encoder(name, usable, hidden), metric)
        for name in (name_a, name_b)
    ]
    both = [key for key in by_name[0] if key in by_name[1]]
    if not both:
        listed = ("; ".join(map(measurement_text, keys)) for keys in by_name)
        raise UsageError(
            f"{name_a} and {name_b} have no measurement in common: {' against '.join(listed)}. Run"
            " one of them on a task of the other."
        )
    found = []
    for key in both:
        repeats = paired_repeats(by_name[0][key], by_name[1][key])
        pairs = [
            (StoredRecord(record=x, folder=folder), StoredRecord(record=y, folder=folder))
            for x, y in repeats
        ]
        found.append(_compare(pairs, metric, strict=strict, cache=cache))
    adjusted = holm([one.paired.p for one in found]).tolist()
    alone = [
        f"{measurement_text(key)}: only {name}"
        for name, found_keys in zip((name_a, name_b), by_name, strict=True)
        for key in found_keys
        if key not in both
    ]
    return [replace(one, holm=p) for one, p in zip(found, adjusted, strict=True)], alone


def records_of_encoder(name: str, records: Sequence[Record], hidden: int = 0) -> list[Record]:
    """Return the records of one encoder, given by spec, name, or `name (weights)` as in tables.

    `hidden` is the number of records left out because they are not reportable.

    Raises:
        UsageError: there are none, or the name is ambiguous.
    """
    found = [r for r in records if name in (r.encoder.spec, r.encoder.name, _with_weights(r))]
    if not found:
        known = sorted({r.encoder.spec for r in records})
        raise UsageError(
            f"no record has an encoder {name!r}. Encoders on record: {', '.join(known) or 'none'}."
            + (f" Not reportable, left out without --all: {hidden}." if hidden else "")
        )
    networks = sorted({_with_weights(r) for r in found})
    if len(networks) > 1:
        raise UsageError(
            f"{name!r} matches {len(networks)} networks: {'; '.join(networks)}. Use one of these"
            " names, or give two records."
        )
    return found


def verdict(one: Comparison, name_a: str, name_b: str) -> str:
    """Describe what the comparison shows."""
    paired = one.paired
    better, worse = (name_a, name_b) if paired.difference > 0 else (name_b, name_a)
    gap = f"{100 * abs(paired.difference):.1f} points"
    if one.holm < ALPHA:
        return f"{better} is better than {worse}, by {gap}."
    if paired.p < ALPHA:
        return (
            f"No significant difference: {gap} would be significant alone, but not among so many"
            " comparisons."
        )
    if paired.interval.low == paired.interval.high:
        return f"The two are equal on all {paired.n:,} {one.unit}."
    if paired.mde is None:
        return f"No significant difference; so few {one.unit} could hardly show one."
    return (
        f"No significant difference; one of {100 * paired.mde:.1f} points would have been found"
        " four times out of five."
    )


def measurement_text(key: Measurement) -> str:
    """Return a measurement as text, such as `ssv2 top1, attentive, vjepa@1, 5 %`."""
    task, metric, protocol, probe, share = key
    return ", ".join(part for part in (f"{task} {metric}", probe, protocol, share) if part)


# ---------------------------------------------------------------------------------- one comparison
def _compare(
    pairs: Sequence[tuple[StoredRecord, StoredRecord]],
    metric: str | None,
    *,
    strict: bool,
    cache: Path | None,
) -> Comparison:
    first_a, first_b = (one.record for one in pairs[0])
    key = measurement(first_a, metric)
    for record in (first_a, first_b):
        if record.value(key[1]) is None:
            raise UsageError(
                f"record {record.id} of {record.task.name} has no {key[1]}; leave out --metric."
            )
    if strict:
        refuse_other_rows(pairs)
    remarks: list[str] = []
    if key[1] == "mean_ap":
        values, paired = compare_on_videos(pairs, cache)
    else:
        values, paired, remarks = compare_on_rows(pairs, metric)
    a, b = values.T.tolist()
    records = [one.record for pair in pairs for one in pair]
    remarks += [
        f"record {record.id} is {record.status}: {'; '.join(record.reasons)}"
        for record in records
        if record.status != "complete"
    ]
    return Comparison(
        measurement=key,
        pairs=tuple((x.record, y.record) for x, y in pairs),
        value_a=statistics.fmean(a),
        value_b=statistics.fmean(b),
        paired=paired,
        holm=paired.p,
        spread_a=_spread(a),
        spread_b=_spread(b),
        spread=_spread([x - y for x, y in zip(a, b, strict=True)]),
        differing=tuple(differing(first_a, first_b)),
        remarks=tuple(remarks),
    )


def _spread(values: Sequence[float]) -> Spread | None:
    if len(values) < 2:
        return None
    return Spread(mean=statistics.fmean(values), std=statistics.stdev(values), count=len(values))


# -------------------------------------------------------------------------------------------- names
def _by_measurement(
    name: str, records: Sequence[Record], metric: str | None
) -> Mapping[Measurement, list[Record]]:
    found: dict[Measurement, list[Record]] = {}
    for record in records:
        if metric is None or record.value(metric) is not None:
            found.setdefault(measurement(record, metric), []).append(record)
    if not found:
        raise UsageError(f"no record of {name} has {metric}; leave out --metric.")
    return dict(sorted(found.items()))


def _with_weights(record: Record) -> str:
    return f"{record.encoder.name} ({(record.encoder.weights_sha256 or 'no weights')[:8]})"
