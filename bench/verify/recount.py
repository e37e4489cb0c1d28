"""The numbers of a record counted again, and what is kept of a count to compare records by."""

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
FEW_VALUES = 16  # two models may agree bit for bit where probabilities take fewer values


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What comparing records needs of one: digests, and the right rows as bits in hexadecimal.

    `content` is the digest of all predicted probabilities, None where they take few values;
    `truth` that of what boxes are scored against.
    """

    content: str | None = None
    truth: str | None = None
    right: str | None = None
    rows: int = 0

    def right_rows(self) -> BoolArray | None:
        """Return the right rows, bool `[rows]`; None of boxes."""
        if self.right is None:
            return None
        packed = np.frombuffer(bytes.fromhex(self.right), dtype=np.uint8)
        return np.unpackbits(packed, count=self.rows).astype(np.bool_)


def check_metrics(rows: Rows, result: Record) -> Finding:
    """Count every accuracy of a record of clips again."""
    metrics = result.metrics
    assert isinstance(metrics, MetricsPart)
    stated = {k: v for k, v in metrics.model_dump().items() if k != "bounds"}
    stated |= {"bounds.low": metrics.bounds.low, "bounds.high": metrics.bounds.high}
    if ((rows.labels < 0) | (rows.labels >= result.task.num_classes)).any():
        return unchecked("metrics", "labels that no class has cannot be counted")
    counted = _recount(rows, result)
    if counted is None:
        return failed("metrics", "no row was scored, so nothing gives the number")
    return all_of("metrics", differing(stated, counted), f"{len(counted)} numbers, counted again")


def content_digest(
    values: npt.NDArray[np.float32],
    scored: BoolArray,
    *,
    beside: npt.NDArray[Any] | None = None,
) -> str | None:
    """Return a digest of predictions: `values` `[scored, K]`, what stands beside them, `[rows]`.

    None where the values are so few that two models may well agree in all of them bit for bit.
    """
    few = values[:SOME_ROWS]
    if len(np.unique(few)) < FEW_VALUES and len(np.unique(values)) < FEW_VALUES:
        return None
    state = hashlib.sha256()
    for part in (beside, values, np.packbits(scored)):
        if part is not None:
            state.update(np.ascontiguousarray(part).tobytes())
    return state.hexdigest()


def differing(stated: Mapping[str, Any], counted: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every number on record that the predictions do not give."""
    found = []
    for name in sorted({*stated, *counted}, key=[*stated, *counted].index):
        own, again = stated.get(name), counted.get(name)
        if isinstance(own, int | float) and isinstance(again, int | float):
            is_same = abs(own - again) <= ROUNDING
        else:
            is_same = own == again
        if not is_same:
            found.append(f"{name} is {own} on record, the predictions give {again}")
    return found


def _recount(rows: Rows, result: Record) -> dict[str, Any] | None:
    """Count every accuracy; unreadable rows are wrong, or left out by a run that skips them."""
    kept = np.ones(len(rows.labels), dtype=np.bool_) if result.counts_lost else rows.scored
    listed, right, num_classes = int(kept.sum()), rows.right, result.task.num_classes
    if not listed:
        return None
    labels, correct = rows.labels[kept], int(right.sum())
    in_top = (rows.classes[:, :TOP] == rows.labels[rows.scored][:, None]).any(axis=1)
    sizes = np.bincount(labels)
    hits = np.bincount(rows.labels[right], minlength=len(sizes))
    seen = sizes > 0
    stated = result.data.score.expected
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
