"""Reorder the columns of released heads to the task's class order.

V-JEPA's released Kinetics-400 heads are not alphabetical (issue 18 of facebookresearch/jepa). Their
order comes from a list of names, or is learned on the training split alone: every class gets the
column that its rows are predicted as.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.discover.label_files import read_label_map
from bench.data.discover.label_map import LabelMap
from bench.errors import UsageError
from bench.metrics.assignment import best_relabelling, first_halves
from bench.types import BoolArray, Fitted, Head, IntArray

LEARN = "fit"  # in place of a file of names
ROWS_PER_CLASS = 50
MIN_AGREEMENT = 0.4  # of held-out training rows, averaged over classes
MIN_ROWS = 5  # that must support for the column of a class
MAX_P = 1e-3  # that two classes are interchangeable
SHOWN = 8
KEY = "head_order"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadOrder:
    """The head's column for every class of the task, int64 `[C]`; `facts` are JSON-able."""

    columns: IntArray
    source: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the columns."""
        return hashlib.sha256(" ".join(map(str, self.columns.tolist())).encode()).hexdigest()


def parse_head_classes(text: str) -> Path | int:
    """Parse `--head-classes`: a file of names, or rows per class to learn from (`fit`, `fit:50`).

    Raises:
        UsageError: `fit:` is not followed by a large enough number of rows.
    """
    word, colon, number = text.partition(":")
    if word != LEARN:
        return Path(text)
    if not colon:
        return ROWS_PER_CLASS
    if not number.isascii() or not number.isdigit() or int(number) < MIN_ROWS:
        raise UsageError(
            f"--head-classes {text}: {number!r} training rows per class cannot determine the order;"
            f" use at least fit:{MIN_ROWS}, better fit:{ROWS_PER_CLASS} or more."
        )
    return int(number)


def read_head_order(path: Path, labels: LabelMap) -> HeadOrder:
    """Read a head's class names, in its order, from a label map of any format.

    Raises:
        DataError: the file is not a label map.
        UsageError: a class of the task (`labels`) is missing, unknown or named twice.
    """
    return named_order(read_label_map(path).names, labels, source=str(path))


def named_order(names: Sequence[str], labels: LabelMap, *, source: str) -> HeadOrder:
    """Return the order of a head whose column j is the class `names[j]`.

    Raises:
        UsageError: a class of the task (`labels`) is missing, unknown or named twice.
    """
    classes = [labels.index(name) for name in names]
    unknown = [name for name, index in zip(names, classes, strict=True) if index is None]
    counts = Counter(index for index in classes if index is not None)
    missing = [name for index, name in enumerate(labels.names) if index not in counts]
    repeated = [labels.names[index] for index, count in counts.items() if count > 1]
    if unknown or missing or repeated:
        found = {"unknown": unknown, "missing": missing, "named twice": repeated}
        problems = "; ".join(f"{what}: {_shortened(who)}" for what, who in found.items() if who)
        raise UsageError(
            f"{source} should name each of the task's {len(labels)} classes once, in the order of"
            f" the head. It has {len(names)} names; {problems}. Case, blanks and underscores are"
            " ignored; use a list for this data set."
        )
    columns = np.empty(len(labels), dtype=np.int64)
    columns[np.array(classes, dtype=np.int64)] = np.arange(len(labels))
    return HeadOrder(columns=columns, source=source)


def in_named_order(released: Fitted, labels: LabelMap, source: str) -> Fitted:
    """Return a released probe in the task's class order (`labels`) if its file names its classes.

    Raises:
        UsageError: they are not the task's classes.
    """
    told = getattr(released, "told", None)
    names = told.classes if told else ()
    if len(names) != len(labels) or tuple(names) == tuple(labels.names):
        return released
    try:
        return Reordered(fitted=released, order=named_order(names, labels, source=source))
    except UsageError as error:
        raise UsageError(
            f"{error} Or give the names in the head's order (--head-classes FILE), or learn the"
            " order on the training split (--head-classes fit)."
        ) from error


def learned_order(predicted: IntArray, labels: IntArray, classes: Sequence[str]) -> HeadOrder:
    """Return the order that maps the columns `predicted` for training rows to their `labels`.

    Both are int64 `[rows]`. The order is accepted if both halves of every class's rows agree on it
    and `MIN_ROWS` support it, if no two classes are interchangeable (Fisher's exact test), and if
    the order from one half holds for enough rows of the other.

    Raises:
        UsageError: the order is unclear, with the number of uncertain classes.
    """
    num_classes, first = len(classes), first_halves(labels)
    halves = [
        best_relabelling(predicted[on], labels[on], num_classes, prefer_given=False)
        for on in (first, ~first)
    ]
    columns = best_relabelling(predicted, labels, num_classes, prefer_given=False)
    certain = (columns >= 0) & (columns == halves[0]) & (columns == halves[1])
    support = np.bincount(labels[predicted == columns[labels]], minlength=num_classes)
    certain &= (support >= MIN_ROWS) & ~_exchangeable(columns, predicted, labels)
    agreement = _agreement(halves, first, predicted, labels, num_classes)
    if agreement < MIN_AGREEMENT or not certain.all():
        uncertain = [classes[c] for c in np.flatnonzero(~certain).tolist()]
        raise UsageError(
            "the order of the head's classes cannot be learned from"
            f" {len(labels):,} training rows: {len(uncertain)} of {num_classes} classes are"
            f" uncertain{f' ({_shortened(uncertain)})' if uncertain else ''}, and the order found"
            f" on one half of the rows holds for {100 * agreement:.1f} % of the other (required:"
            f" {100 * MIN_AGREEMENT:.0f} %). Check that the probe was trained on this encoder and"
            " data set; then use more rows per class (--head-classes fit:100), or give the names"
            " in the head's order (--head-classes FILE)."
        )
    facts = {"training_rows": len(labels), "holdout_agreement": agreement}
    return HeadOrder(columns=columns, source="learned on the training split", facts=facts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reordered:
    """A `Fitted` that wraps another and puts its columns in the order of the task's classes."""

    fitted: Fitted
    order: HeadOrder

    @property
    def heads(self) -> Sequence[Head]:
        """The heads of the wrapped probe."""
        return self.fitted.heads

    @property
    def log(self) -> Mapping[str, Any]:
        """The log of the wrapped probe, and where the order of its classes comes from."""
        order = {"source": self.order.source, "digest": self.order.digest, **self.order.facts}
        return {**self.fitted.log, KEY: order}

    @property
    def told(self) -> Any:
        """What the file of the wrapped probe says of it, None if nothing."""
        return getattr(self.fitted, "told", None)

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[K, B, C]` in the task's order from `[B, V, ...]` features.

        Raises:
            UsageError: the number of classes is not that of the task.
        """
        probabilities = self.fitted.probabilities(x)
        found, num_classes = probabilities.shape[-1], len(self.order.columns)
        if found != num_classes:
            raise UsageError(
                f"the probe file has {found} classes, but the task has {num_classes}: name the task"
                " that the probe was trained for."
            )
        columns = torch.from_numpy(self.order.columns).to(probabilities.device)
        return probabilities.index_select(-1, columns)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return the state of the wrapped probe with the order, for `in_saved_order`."""
        tensors, facts = self.fitted.state()
        order = {
            "columns": self.order.columns.tolist(),
            "source": self.order.source,
            "facts": dict(self.order.facts),
        }
        return tensors, {**facts, KEY: order}


def in_saved_order(fitted: Fitted, facts: Mapping[str, Any]) -> Fitted:
    """Reorder a restored probe as it was saved, if its state has an order."""
    if KEY not in facts:
        return fitted
    saved = facts[KEY]
    columns = np.array(saved["columns"], dtype=np.int64)
    order = HeadOrder(columns=columns, source=saved["source"], facts=saved["facts"])
    return Reordered(fitted=fitted, order=order)


def _exchangeable(columns: IntArray, predicted: IntArray, labels: IntArray) -> BoolArray:
    """Mark classes whose columns are interchangeable.

    Fisher's exact test on the two rows and columns: does the head distinguish the two classes at
    all, however much it prefers one of them?
    """
    from scipy.stats import hypergeom  # takes a second to import

    num_classes = len(columns)
    owner = np.full(num_classes, -1, dtype=np.int64)
    owner[columns[columns >= 0]] = np.flatnonzero(columns >= 0)
    cells, counts = np.unique(labels * num_classes + predicted, return_counts=True)

    def count(label: IntArray, column: IntArray) -> IntArray:
        cell = label * num_classes + column
        place = np.minimum(np.searchsorted(cells, cell), len(cells) - 1)
        return np.where(cells[place] == cell, counts[place], 0)

    label, column = np.divmod(cells, num_classes)
    other = owner[column]
    confused = (other >= 0) & (other != label) & (columns[label] >= 0)
    label, other = label[confused], other[confused]
    own, taken = count(label, columns[label]), count(label, columns[other])
    others_own, others_taken = count(other, columns[other]), count(other, columns[label])
    total = own + taken + others_own + others_taken
    doubtful = hypergeom.sf(own - 1, total, own + taken, own + others_taken) > MAX_P
    marked = np.zeros(num_classes, dtype=np.bool_)
    marked[label[doubtful]] = marked[other[doubtful]] = True
    return marked


def _agreement(
    halves: Sequence[IntArray],
    first: BoolArray,
    predicted: IntArray,
    labels: IntArray,
    num_classes: int,
) -> float:
    """Return the fraction of rows that agree with the order from the other half, class-averaged."""
    agrees = predicted == np.where(first, halves[1][labels], halves[0][labels])
    sizes = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[agrees], minlength=num_classes)
    return float(np.mean(hits / np.maximum(sizes, 1)))


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
