"""What two records must share for their numbers to compare encoders, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.data.few_labels import KEYS
from bench.records.record import Record
from bench.records.run_id import FILE_PLACES, PLACES

Measurement = tuple[str, str, str, str, str]  # task, metric, protocol, probe, share of the labels


def measurement(record: Record, metric: str | None = None) -> Measurement:
    """Return the key by which records of two encoders are matched."""
    labels = record.train_labels
    return (
        record.task.name,
        metric or record.task.metric,
        record.protocol.name,
        record.probe.name,
        labels.title if labels else "",
    )


def repeat_of(record: Record) -> tuple[int, int]:
    """Return the seed and the draw of the labels, which may differ between repeats of one run."""
    labels = record.train_labels
    seed = record.config.get("seed")
    return (seed if isinstance(seed, int) else 0), (labels.repeat if labels else 0)


def inputs(record: Record) -> dict[str, str]:
    """Return every input of a number except encoder, seed and draw, as text by name."""
    labels, score, probe = record.train_labels, record.data.score, record.probe
    heads = [json.dumps(head, sort_keys=True) for head in probe.heads]
    return {
        "task": record.task.name,
        "metric": record.task.metric,
        "protocol": f"{record.protocol.name} ({record.protocol.digest[:8]})",
        "departures from the protocol": "; ".join(record.protocol.deviations) or "none",
        "probe": probe.name,
        "settings of the probe": json.dumps(probe.settings, sort_keys=True),
        "heads": f"{len(heads)}: {', '.join(heads)}",
        "choice of the head": probe.selection.rule,
        "released probe": (probe.released_sha256 or "none")[:8],
        "clips to score": record.plan.score,
        "clips to fit": record.plan.fit,
        "sampler": record.plan.sampler,
        "layers": json.dumps(record.config.get("layers")),
        "precision": record.features.precision,
        "type of features": f"{record.features.dtype} {record.features.mode}",
        "scored split": record.task.score_split,
        "scored rows": f"{score.listed:,} (manifest {score.digest[:8]})",
        "unreadable rows": "wrong" if record.counts_lost else "left out",
        "limit": json.dumps(record.config.get("limit")),
        "labels to fit": labels.title if labels else "none",
        "options of the task": json.dumps(decisive_options(record), sort_keys=True),
        "files of the task": json.dumps(
            {name: digest[:8] for name, digest in sorted(record.task.files.items())}
        ),
    }


def condition(record: Record) -> tuple[str, ...]:
    """Return what repeats of one run have in common: everything but seed and draw."""
    options = json.dumps(record.config.get("encoder_options"), sort_keys=True)
    weights = record.encoder.weights_sha256 or ""
    return record.encoder.name, weights, options, *inputs(record).values()


def differing(a: Record, b: Record) -> list[str]:
    """Describe every input except the encoder in which two records differ."""
    x, y = inputs(a), inputs(b)
    found = [f"{name}: {x[name]} / {y[name]}" for name in x if x[name] != y[name]]
    repeats = zip(("seed", "draw of the labels"), repeat_of(a), repeat_of(b), strict=True)
    found += [f"{name}: {i} / {j}" for name, i, j in repeats if i != j]
    digests = [record.data.fit.digest[:8] if record.data.fit else "none" for record in (a, b)]
    if digests[0] != digests[1] and repeat_of(a)[1] == repeat_of(b)[1]:
        found.append(f"rows to fit: manifest {digests[0]} / {digests[1]}")
    return found


def paired_repeats(a: Sequence[Record], b: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Pair the records of two encoders on one measurement by seed and draw.

    All records of a side share a `condition`. Prefer pairings that differ in the fewest inputs,
    then those with the most pairs, with complete records, and the newest. Without a common seed
    and draw, pair the newest record of each side.
    """
    candidates = [
        pairs
        for x in _by_condition(a)
        for y in _by_condition(b)
        if (pairs := [(x[key], y[key]) for key in sorted(x.keys() & y.keys())])
    ]
    if not candidates:
        return [(max(a, key=_age), max(b, key=_age))] if a and b else []
    return max(candidates, key=_merit)


def _merit(pairs: Sequence[tuple[Record, Record]]) -> tuple[Any, ...]:
    a, b = pairs[-1]
    complete = all(r.status == "complete" for pair in pairs for r in pair)
    created = max(r.created for pair in pairs for r in pair)
    ids = [(x.id, y.id) for x, y in pairs]
    return -len(differing(a, b)), len(pairs), complete, created, ids


def _by_condition(records: Sequence[Record]) -> list[Mapping[tuple[int, int], Record]]:
    """Return the newest record per seed and draw for every condition."""
    found: dict[tuple[str, ...], dict[tuple[int, int], Record]] = {}
    for record in sorted(records, key=_age):
        found.setdefault(condition(record), {})[repeat_of(record)] = record
    return [found[key] for key in sorted(found)]


def _age(record: Record) -> tuple[bool, str, str]:
    return record.status == "complete", record.created, record.id


def decisive_options(record: Record) -> dict[str, Any]:
    """Return the options of a task except for the share of the labels and the paths of files."""
    left_out = {*KEYS, *PLACES, *FILE_PLACES}
    return {key: value for key, value in record.task.options.items() if key not in left_out}
