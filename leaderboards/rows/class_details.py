"""Per-class results of a record, from its stored predictions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.records.metrics import FrameMapPart
from bench.records.record import Record, RecordError
from bench.types import IntArray

ALL_UP_TO = 24  # with more classes only the worst and the best are shown
AT_EACH_END = 10
CONFUSED = 5  # number of the worst classes whose confusions are shown
TAKEN_FOR = 3


@dataclass(frozen=True, kw_only=True)
class ScoredClass:
    """A class by its index in `names`; `value` is a fraction, `count` its rows or true boxes."""

    place: int
    value: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What the `count` rows of a class were mistaken for: (class, rows), most frequent first.

    `lost` rows were unreadable, which counts as wrong.
    """

    place: int
    count: int
    taken: tuple[tuple[int, int], ...]
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class ClassDetails:
    """Classes from the worst to the best; `metric` is the name of their values."""

    metric: str
    names: tuple[str, ...]
    scores: tuple[ScoredClass, ...]
    confusions: tuple[Confusion, ...] = ()


def class_details(record: Record, folder: Path) -> ClassDetails:
    """Return the results per class of a record in `folder`; classes without rows are left out.

    Raises:
        RecordError: the predictions are missing, or not those the record was written with.
    """
    if isinstance(record.metrics, FrameMapPart):
        classes = record.metrics.classes
        scores = [
            ScoredClass(place=i, value=one.ap, count=one.num_truth)
            for i, one in enumerate(classes)
            if one.ap is not None
        ]
        scores.sort(key=_worst_first)
        names = tuple(one.name for one in classes)
        return ClassDetails(metric="AP", names=names, scores=tuple(scores))
    import pyarrow.parquet as pq  # imports pandas (half a second), not needed to list boards

    from bench.records.record_files import kept_file, prediction_facts

    path = kept_file(record, "predictions", folder)
    table = pq.read_table(path, columns=["label", "status", "predicted"])
    stored = (prediction_facts(path) or {}).get("classes") or ()
    labels = np.asarray(table["label"].to_numpy(), dtype=np.int64)
    predicted = table["predicted"].fill_null(-1).to_numpy().astype(np.int64)
    if not record.counts_lost:
        scored = np.asarray(table["status"].to_numpy() == "scored")
        labels, predicted = labels[scored], predicted[scored]
    highest = int(max(labels.max(initial=-1), predicted.max(initial=-1)))
    number = max(record.task.num_classes, highest + 1, len(stored))
    names = tuple(stored) + tuple(f"class {i}" for i in range(len(stored), number))
    return _of_clips(labels, predicted, names)


def _of_clips(labels: IntArray, predicted: IntArray, names: tuple[str, ...]) -> ClassDetails:
    totals = np.bincount(labels, minlength=len(names))
    right = np.bincount(labels[labels == predicted], minlength=len(names))
    scores = [
        ScoredClass(place=int(i), value=float(right[i] / totals[i]), count=int(totals[i]))
        for i in np.flatnonzero(totals)
    ]
    scores.sort(key=_worst_first)
    imperfect = [one.place for one in scores if one.value < 1]
    confusions = tuple(_confusion(place, labels, predicted) for place in imperfect[:CONFUSED])
    return ClassDetails(metric="accuracy", names=names, scores=tuple(scores), confusions=confusions)


def _worst_first(one: ScoredClass) -> tuple[float, int, int]:
    return one.value, -one.count, one.place


def _confusion(place: int, labels: IntArray, predicted: IntArray) -> Confusion:
    guesses = predicted[labels == place]
    counts = np.bincount(guesses[(guesses >= 0) & (guesses != place)])
    order = np.argsort(-counts, kind="stable")[:TAKEN_FOR]
    taken = tuple((int(i), int(counts[i])) for i in order if counts[i])
    return Confusion(place=place, count=len(guesses), taken=taken, lost=int((guesses < 0).sum()))


# ------------------------------------------------------------------------------------- for the page
def details_of(
    records: Iterable[Record], folder: Path, limit: int
) -> tuple[dict[str, ClassDetails], list[str]]:
    """Return the details of the first `limit` records by id, and the errors of the others."""
    found: dict[str, ClassDetails] = {}
    failed: list[str] = []
    for record in list(records)[:limit]:
        try:
            found[record.id] = class_details(record, folder)
        except RecordError as error:
            failed.append(str(error))
    return found, failed


def compact_json(details: Mapping[str, ClassDetails]) -> str:
    """Return the details as JSON that is safe within a script element.

    `names` are lists of class names; a record has the index of its list, its worst and best
    classes as [class, value, count], and confusions as [class, count, lost, [[class, rows]...]].
    """
    lists: dict[tuple[str, ...], int] = {}
    records: dict[str, Any] = {}
    for key, one_record in sorted(details.items()):
        every = [[one.place, round(one.value, 4), one.count] for one in one_record.scores]
        is_short = len(every) <= ALL_UP_TO
        records[key] = {
            "metric": one_record.metric,
            "names": lists.setdefault(one_record.names, len(lists)),
            "classes": len(every),
            "worst": every if is_short else every[:AT_EACH_END],
            "best": [] if is_short else every[-AT_EACH_END:],
            "confused": [[c.place, c.count, c.lost, c.taken] for c in one_record.confusions],
        }
    text = json.dumps({"names": [*lists], "records": records}, separators=(",", ":"))
    return text.replace("<", "\\u003c")
