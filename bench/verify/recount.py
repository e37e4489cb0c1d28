"""Recompute the numbers of a record, and summarise its predictions to compare records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.records.metrics import ROUNDING, MetricsPart
from bench.records.predictions import Rows
from bench.records.record import Record
from bench.records.record_files import TOP
from bench.types import BoolArray
from bench.verify.findings import Finding, all_of, failed, unchecked

SOME_ROWS = 100
FEW_VALUES = 16  # with fewer values, the probabilities of two models may be bit-identical


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What is needed to compare a record: digests, and the correct rows as bits in hexadecimal.

    `content` is the digest of all predicted probabilities, None if they take few values; `truth`
    that of the ground truth of boxes.
    """

    content: str | None = None
    truth: str | None = None
    right: str | None = None
    rows: int = 0

    def right_rows(self) -> BoolArray | None:
        """Return which rows are correct, bool `[rows]`; None for boxes."""
        if self.right is None:
            return None
        packed = np.frombuffer(bytes.fromhex(self.right), dtype=np.uint8)
        return np.unpackbits(packed, count=self.rows).astype(np.bool_)


def check_metrics(rows: Rows, record: Record) -> Finding:
    """Recompute every accuracy of a record of clips."""
    metrics = record.metrics
    assert isinstance(metrics, MetricsPart)
    stated = {k: v for k, v in metrics.model_dump().items() if k != "bounds"}
    stated |= {"bounds.low": metrics.bounds.low, "bounds.high": metrics.bounds.high}
    if ((rows.labels < 0) | (rows.labels >= record.task.num_classes)).any():
        return unchecked("metrics", "labels outside the classes cannot be counted")
    counted = _recount(rows, record)
    if counted is None:
        return failed("metrics", "no row was scored, so there is no number")
    if record.marks:  # numbers that were left out when it was read
        stated, counted = ({**values, "top5": None} for values in (stated, counted))
    return all_of("metrics", differing(stated, counted), f"{len(counted)} numbers recomputed")


def content_digest(
    values: npt.NDArray[np.float32],
    scored: BoolArray,
    *,
    classes: npt.NDArray[Any] | None = None,
) -> str | None:
    """Return a digest of predictions: `values` and `classes` `[scored, K]`, `scored` `[rows]`.

    None if there are so few different values that two models may well agree in all of them.
    """
    few = values[:SOME_ROWS]
    if len(np.unique(few)) < FEW_VALUES and len(np.unique(values)) < FEW_VALUES:
        return None
    state = hashlib.sha256()
    for part in (classes, values, np.packbits(scored)):
        if part is not None:
            state.update(np.ascontiguousarray(part).tobytes())
    return state.hexdigest()


def differing(stated: Mapping[str, Any], counted: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every recorded number that the predictions do not give."""
    found = []
    for name in sorted({*stated, *counted}, key=[*stated, *counted].index):
        a, b = stated.get(name), counted.get(name)
        if isinstance(a, int | float) and isinstance(b, int | float):
            is_same = abs(a - b) <= ROUNDING
        else:
            is_same = a == b
        if not is_same:
            found.append(f"{name} is {a} on record, but the predictions give {b}")
    return found


def _recount(rows: Rows, record: Record) -> dict[str, Any] | None:
    """Compute every accuracy; unreadable rows count as wrong unless the run skips them."""
    kept = np.ones(len(rows.labels), dtype=np.bool_) if record.counts_lost else rows.scored
    listed, right, num_classes = int(kept.sum()), rows.right, record.task.num_classes
    if not listed:
        return None
    labels, correct = rows.labels[kept], int(right.sum())
    is_label = rows.classes[:, :TOP] == rows.labels[rows.scored][:, None]
    in_top = (is_label & (rows.probabilities[:, :TOP] > 0)).any(axis=1)
    sizes = np.bincount(labels)
    hits = np.bincount(rows.labels[right], minlength=len(sizes))
    seen = sizes > 0
    stated = record.data.score.expected
    expected = stated if stated is not None else len(rows.labels)
    whole, scored = max(expected, listed), int(rows.scored.sum())
    return {
        "top1": correct / listed,
        "top5": int(in_top.sum()) / listed if num_classes > TOP else None,
        "mean_per_class": float((hits[seen] / sizes[seen]).mean()),
        "correct": correct,
        "scored": scored,
        "expected": expected,
        "bounds.low": correct / whole,
        "bounds.high": (correct + whole - scored) / whole,
        "chance": 1 / num_classes,
        "majority": int(sizes.max()) / listed,
    }
