"""Compare two encoders on the same rows: difference, interval, test, and what was not the same."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.comparable import (
    Measurement,
    differing,
    measurement,
    paired_repeats,
)
from bench.errors import DataError, UsageError
from bench.metrics.left_out import compare_left_out
from bench.metrics.paired import BoolArray, Paired, compare_means, compare_rows, holm
from bench.record_intervals import left_out_of
from bench.record_rows import RightRows, right_rows, row_ids
from bench.result import Result

ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A record and the folder that its files are in."""

    record: Result
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Numbers (fractions) of several seeds or draws; `std` has ddof 1."""

    mean: float
    std: float
    count: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A minus B on one measurement.

    `value_a` and `value_b` are over the rows that both counted: means over `pairs`, which are of
    one seed and draw each. The spreads are over these pairs (None for one). `differing` names what
    was not the same, beside the encoder; `remarks` what became of rows. `holm` is p adjusted for
    all comparisons made at once.
    """

    measurement: Measurement
    pairs: tuple[tuple[Result, Result], ...]
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
    a: Placed,
    b: Placed,
    *,
    metric: str | None = None,
    strict: bool = False,
    cache: Path | None = None,
) -> Comparison:
    """Compare two records by `metric` (None: that of their task).

    Raises:
        UsageError: they did not measure the same task and metric, or have no such metric.
        DataError: they share no rows, or disagree on labels, or with `strict` on rows.
        RecordError: a kept file is missing, or not the one that was recorded.
    """
    own, other = a.record, b.record
    for name in ("name", "metric"):
        x, y = getattr(own.task, name), getattr(other.task, name)
        if x != y:
            what = "task" if name == "name" else "metric"
            raise UsageError(
                f"record {own.id} is of {what} {x!r}, record {other.id} of {y!r}: the two did not"
                " measure the same. Name two records of one task and metric."
            )
    return _compare([(a, b)], metric, strict=strict, cache=cache)


def compare_encoders(
    name_a: str,
    name_b: str,
    records: Sequence[Result],
    folder: Path,
    *,
    metric: str | None = None,
    strict: bool = False,
    include_unreportable: bool = False,
    cache: Path | None = None,
) -> tuple[list[Comparison], list[str]]:
    """Compare two encoders on every measurement that both have; also say what only one has.

    Encoders are named by their spec, or by their name in tables. P-values are adjusted for the
    number of comparisons. Records that are not reportable are left out unless asked for. `metric`
    picks another one than that of the tasks, where records have it.

    Raises:
        UsageError: an encoder has no records, or the two have no measurement in common.
        DataError, RecordError: as `compare_records`.
    """
    usable = [r for r in records if include_unreportable or r.status != "not_reportable"]
    hidden = len(records) - len(usable)
    by_name = [
        _by_measurement(name, named(name, usable, hidden), metric) for name in (name_a, name_b)
    ]
    both = [key for key in by_name[0] if key in by_name[1]]
    if not both:
        raise UsageError(
            f"{name_a} and {name_b} have no measurement in common: {_listed(by_name[0])} against"
            f" {_listed(by_name[1])}. Run one of them on a task of the other."
        )
    found = [
        _compare(
            [
                (Placed(record=x, folder=folder), Placed(record=y, folder=folder))
                for x, y in paired_repeats(by_name[0][key], by_name[1][key])
            ],
            metric,
            strict=strict,
            cache=cache,
        )
        for key in both
    ]
    adjusted = holm([one.paired.p for one in found]).tolist()
    alone = [
        f"{spelled(key)}: {name} alone"
        for name, own in zip((name_a, name_b), by_name, strict=True)
        for key in own
        if key not in both
    ]
    return [replace(one, holm=p) for one, p in zip(found, adjusted, strict=True)], alone


def named(name: str, records: Sequence[Result], hidden: int = 0) -> list[Result]:
    """Return the records of one encoder, by its spec, its name, or `name (weights)` as in tables.

    `hidden` is how many are not among them, because they are not reportable.

    Raises:
        UsageError: there are none, or the name stands for several networks.
    """
    found = [r for r in records if name in (r.encoder.spec, r.encoder.name, _with_weights(r))]
    if not found:
        known = sorted({r.encoder.spec for r in records})
        raise UsageError(
            f"no record is of an encoder {name!r}, nor is one called so. Encoders on record:"
            f" {', '.join(known) or 'none'}."
            + (f" Not reportable, and left out without --all: {hidden}." if hidden else "")
        )
    networks = sorted({_with_weights(r) for r in found})
    if len(networks) > 1:
        raise UsageError(
            f"{name!r} stands for {len(networks)} networks: {'; '.join(networks)}. Name one of them"
            " so, or two records."
        )
    return found


def verdict(one: Comparison, name_a: str, name_b: str) -> str:
    """Say in a sentence what the comparison shows."""
    paired = one.paired
    better, worse = (name_a, name_b) if paired.difference > 0 else (name_b, name_a)
    gap = f"{100 * abs(paired.difference):.1f} points"
    if one.holm < ALPHA:
        return f"{better} is better than {worse}, by {gap}."
    if paired.p < ALPHA:
        return (
            f"The two cannot be told apart: {gap} would be significant alone, but not among so many"
            " comparisons."
        )
    if paired.interval.low == paired.interval.high:
        return (
            f"The two are equal: no {one.unit.removesuffix('s')} of {paired.n:,} tells them apart."
        )
    if paired.mde is None:
        return f"The two cannot be told apart, and so few {one.unit} could hardly show anything."
    return (
        f"The two cannot be told apart; a difference of {100 * paired.mde:.1f} points would have"
        " been found four times out of five."
    )


def spelled(key: Measurement) -> str:
    """Return a measurement in words, such as `ssv2 top1, attentive, vjepa@1, 5 %`."""
    task, metric, protocol, probe, share = key
    return ", ".join(part for part in (f"{task} {metric}", probe, protocol, share) if part)


# ---------------------------------------------------------------------------------- one comparison
def _compare(
    pairs: Sequence[tuple[Placed, Placed]],
    metric: str | None,
    *,
    strict: bool,
    cache: Path | None,
) -> Comparison:
    first_a, first_b = (one.record for one in pairs[0])
    key = measurement(first_a, metric)
    said = differing(first_a, first_b)
    for record in (first_a, first_b):
        if record.value(key[1]) is None:
            raise UsageError(
                f"record {record.id} of {record.task.name} has no {key[1]}; leave out --metric."
            )
    if strict:
        _refuse_other_rows(pairs)
    if key[1] == "mean_ap":
        values, paired = _boxes(pairs, cache)
        remarks: list[str] = []
    else:
        values, paired, remarks = _rows(pairs, metric)
    a, b = values.T.tolist()
    for placed in (one for pair in pairs for one in pair):
        record = placed.record
        if record.status != "complete":
            remarks.append(f"record {record.id} is {record.status}: {'; '.join(record.reasons)}")
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
        differing=tuple(said),
        remarks=tuple(remarks),
    )


def _rows(
    pairs: Sequence[tuple[Placed, Placed]], metric: str | None
) -> tuple[npt.NDArray[np.float64], Paired, list[str]]:
    """Return the numbers of every pair on the rows that all counted, `[pairs, 2]`, and the test."""
    sides = [side for pair in pairs for side in pair]
    read = [right_rows(side.record, side.folder, metric) for side in sides]
    right, counted, remarks = _aligned(sides, read)
    num_rows = int(counted.sum())
    if not num_rows:
        raise DataError(
            f"records {sides[0].record.id} and {sides[1].record.id} have no row in common"
            f" ({sides[0].record.task.score_split} and {sides[1].record.task.score_split} of"
            f" {sides[0].record.task.name}); score both on one split."
        )
    if num_rows < len(counted):
        remarks.append(
            f"{len(counted) - num_rows:,} rows are left out that some record was told to skip"
        )
    right = right[:, counted]
    values = right.mean(axis=1).reshape(-1, 2)
    if len(pairs) == 1:
        return values, compare_rows(right[0], right[1]), remarks
    gaps = (right[0::2].sum(axis=0) - right[1::2].sum(axis=0, dtype=np.int64)) / len(pairs)
    return values, compare_means(gaps), remarks


def _aligned(
    sides: Sequence[Placed], read: Sequence[RightRows]
) -> tuple[BoolArray, BoolArray, list[str]]:
    """Put the rows of all records under each other: by place, or by id where manifests differ."""
    if len({side.record.data.score.digest for side in sides}) == 1:
        counted = np.logical_and.reduce([rows.counted for rows in read])
        return np.stack([rows.right for rows in read]), np.asarray(counted), []
    ids = [row_ids(side.record, side.folder) for side in sides]
    common = set(ids[0]).intersection(*ids[1:])
    order = [i for i in ids[0] if i in common]
    places = []
    for names in ids:
        place = {name: row for row, name in enumerate(names)}
        places.append(np.array([place[name] for name in order], dtype=np.int64))
    labels = [rows.labels[place] for rows, place in zip(read, places, strict=True)]
    for side, own in zip(sides, labels, strict=True):
        if wrong := np.flatnonzero(own != labels[0]).tolist():
            raise DataError(
                f"{len(wrong):,} of {len(order):,} common rows have another label in record"
                f" {side.record.id} than in {sides[0].record.id}, the first is {order[wrong[0]]!r}:"
                " the two did not measure the same. Score both with one annotation file."
            )
    sizes = " and ".join(dict.fromkeys(f"{len(names):,}" for names in ids))
    remark = f"compared on the {len(order):,} rows that both manifests have ({sizes} rows)"
    right = np.stack([rows.right[place] for rows, place in zip(read, places, strict=True)])
    counted = [rows.counted[place] for rows, place in zip(read, places, strict=True)]
    return right, np.asarray(np.logical_and.reduce(counted)), [remark]


def _boxes(
    pairs: Sequence[tuple[Placed, Placed]], cache: Path | None
) -> tuple[npt.NDArray[np.float64], Paired]:
    """Return the frame mAP of every pair, `[pairs, 2]`, and the test over videos left out."""
    sides = [side for pair in pairs for side in pair]
    left = [left_out_of(side.record, side.folder, cache) for side in sides]
    if len({one.videos for one in left}) > 1:
        raise DataError(
            f"records {sides[0].record.id} and {sides[1].record.id} were scored against other"
            " videos; score both on one ground truth."
        )
    values = np.array([side.record.headline for side in sides]).reshape(-1, 2)
    left_out = np.stack([one.values for one in left])
    found = compare_left_out(
        float(values[:, 0].mean()),
        left_out[0::2].mean(axis=0),
        float(values[:, 1].mean()),
        left_out[1::2].mean(axis=0),
    )
    if found is None:
        raise DataError(
            f"record {sides[0].record.id} is of so few videos that none can be left out; what"
            " others would have given cannot be told from it."
        )
    return values, found


def _refuse_other_rows(pairs: Sequence[tuple[Placed, Placed]]) -> None:
    """Refuse records that were not scored on one list of rows and one set of files."""
    for a, b in pairs:
        same_rows = a.record.data.score.digest == b.record.data.score.digest
        if same_rows and a.record.task.files == b.record.task.files:
            continue
        lists = " and ".join(
            f"{one.record.data.score.listed:,} rows, manifest {one.record.data.score.digest[:8]}"
            for one in (a, b)
        )
        raise DataError(
            f"records {a.record.id} and {b.record.id} were not scored on the same rows ({lists});"
            " leave out --strict to compare what they have in common."
        )


def _spread(values: Sequence[float]) -> Spread | None:
    if len(values) < 2:
        return None
    return Spread(mean=statistics.fmean(values), std=statistics.stdev(values), count=len(values))


# -------------------------------------------------------------------------------------------- names
def _by_measurement(
    name: str, records: Sequence[Result], metric: str | None
) -> Mapping[Measurement, list[Result]]:
    found: dict[Measurement, list[Result]] = {}
    for record in records:
        if metric is None or record.value(metric) is not None:
            found.setdefault(measurement(record, metric), []).append(record)
    if not found:
        raise UsageError(f"no record of {name} has {metric}; leave out --metric.")
    return dict(sorted(found.items()))


def _with_weights(record: Result) -> str:
    return f"{record.encoder.name} ({(record.encoder.weights_sha256 or 'no weights')[:8]})"


def _listed(keys: Mapping[Measurement, object]) -> str:
    return "; ".join(spelled(key) for key in keys)
