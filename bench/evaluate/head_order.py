"""Released heads that tell the task's classes apart in another order, put into the task's order.

V-JEPA's released Kinetics-400 heads are not alphabetical (issue 18 of facebookresearch/jepa). Their
order comes from a list of names, or is learned: the head is run over rows of the training split,
and every class gets the column that its rows are predicted as. The split that is scored has no part
in that.
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

LEARN = "fit"  # what stands for a file of names
ROWS_PER_CLASS = 50
MIN_AGREEMENT = 0.4  # of held-out training rows, averaged over classes
MIN_ROWS = 5  # that must speak for the column of a class
MAX_P = 1e-3  # that two classes could as well be exchanged
SHOWN = 8
KEY = "head_order"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadOrder:
    """`columns[c]` is the head's column for class c of the task, int64 `[C]`.

    `source` says where the order comes from, `facts` (JSON-able) what a learned one rests on.
    """

    columns: IntArray
    source: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the columns."""
        return hashlib.sha256(" ".join(map(str, self.columns.tolist())).encode()).hexdigest()


def parse_head_classes(text: str) -> Path | int:
    """Read `--head-classes`: a file of names, or rows a class to learn from (`fit`, `fit:50`).

    Raises:
        UsageError: what follows `fit:` is no number of rows that could do.
    """
    word, colon, number = text.partition(":")
    if word != LEARN:
        return Path(text)
    if not colon:
        return ROWS_PER_CLASS
    if not number.isascii() or not number.isdigit() or int(number) < MIN_ROWS:
        raise UsageError(
            f"--head-classes {text}: {number!r} is no number of training rows a class that could"
            f" tell the order; write at least fit:{MIN_ROWS}, better fit:{ROWS_PER_CLASS} or more."
        )
    return int(number)


def read_head_order(path: Path, labels: LabelMap) -> HeadOrder:
    """Read the names of a head's classes, in the head's order, in any format of a label map.

    Raises:
        DataError: the file is no label map.
        UsageError: a class of the task (`labels`) is missing, unknown or named twice.
    """
    return named_order(read_label_map(path).names, labels, source=str(path))


def named_order(names: Sequence[str], labels: LabelMap, *, source: str) -> HeadOrder:
    """Return the order of a head whose column j tells the class `names[j]`.

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
            f"{source} should name the {len(labels)} classes of the task in the order of the head,"
            f" each once. It has {len(names)} names; {problems}. Names are compared without regard"
            " to case, blanks and underscores; give a list of this data set."
        )
    columns = np.empty(len(labels), dtype=np.int64)
    columns[np.array(classes, dtype=np.int64)] = np.arange(len(labels))
    return HeadOrder(columns=columns, source=source)


def learned_order(predicted: IntArray, labels: IntArray, classes: Sequence[str]) -> HeadOrder:
    """Return the order under which the columns `predicted` for training rows are their `labels`.

    Both are int64 `[rows]`. The order stands if the halves of every class's rows give it each for
    themselves and `MIN_ROWS` speak for it, if no two classes could as well be exchanged (Fisher's
    exact test), and if an order from one half holds for enough rows of the other.

    Raises:
        UsageError: it is not clear, with the number of classes that are uncertain.
    """
    num_classes, first = len(classes), first_halves(labels)
    halves = [
        best_relabelling(predicted[on], labels[on], num_classes, prefer_given=False)
        for on in (first, ~first)
    ]
    columns = best_relabelling(predicted, labels, num_classes, prefer_given=False)
    certain = (columns >= 0) & (columns == halves[0]) & (columns == halves[1])
    speak = np.bincount(labels[predicted == columns[labels]], minlength=num_classes)
    certain &= (speak >= MIN_ROWS) & ~_exchangeable(columns, predicted, labels)
    agreement = _agreement(halves, first, predicted, labels, num_classes)
    if agreement < MIN_AGREEMENT or not certain.all():
        uncertain = [classes[c] for c in np.flatnonzero(~certain).tolist()]
        raise UsageError(
            "the order of the head's classes cannot be learned from"
            f" {len(labels):,} training rows: {len(uncertain)} of {num_classes} classes are"
            f" uncertain{f' ({_shortened(uncertain)})' if uncertain else ''}, and an order found on"
            f" one half of the rows holds for {100 * agreement:.1f} % of the other (wanted:"
            f" {100 * MIN_AGREEMENT:.0f} %). Check that the probe was trained on this encoder and"
            " this data set; then learn from more rows a class (--head-classes fit:100), or give"
            " the names in the head's order (--head-classes FILE)."
        )
    facts = {"training_rows": len(labels), "holdout_agreement": agreement}
    return HeadOrder(columns=columns, source="learned on the training split", facts=facts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reordered:
    """A fitted probe with its columns in the order of the task's classes; itself a `Fitted`."""

    fitted: Fitted
    order: HeadOrder

    @property
    def heads(self) -> Sequence[Head]:
        """The heads of the probe within."""
        return self.fitted.heads

    @property
    def log(self) -> Mapping[str, Any]:
        """The log of the probe within, and where the order of its classes comes from."""
        order = {"source": self.order.source, "digest": self.order.digest, **self.order.facts}
        return {**self.fitted.log, KEY: order}

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[K, B, C]` in the task's order from `[B, V, ...]` features.

        Raises:
            UsageError: the head tells another number of classes apart than the task has.
        """
        probabilities = self.fitted.probabilities(x)
        found, wanted = probabilities.shape[-1], len(self.order.columns)
        if found != wanted:
            raise UsageError(
                f"the probe file tells {found} classes apart, but the task has {wanted}: name the"
                " task that it was trained for."
            )
        columns = torch.from_numpy(self.order.columns).to(probabilities.device)
        return probabilities.index_select(-1, columns)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return the state of the probe within, with the order, for `in_saved_order`."""
        tensors, facts = self.fitted.state()
        order = {
            "columns": self.order.columns.tolist(),
            "source": self.order.source,
            "facts": dict(self.order.facts),
        }
        return tensors, {**facts, KEY: order}


def in_saved_order(fitted: Fitted, facts: Mapping[str, Any]) -> Fitted:
    """Give a restored probe the order that its state was saved with, if there was one."""
    if KEY not in facts:
        return fitted
    saved = facts[KEY]
    columns = np.array(saved["columns"], dtype=np.int64)
    order = HeadOrder(columns=columns, source=saved["source"], facts=saved["facts"])
    return Reordered(fitted=fitted, order=order)


def _exchangeable(columns: IntArray, predicted: IntArray, labels: IntArray) -> BoolArray:
    """Mark classes whose columns could as well be exchanged with each other.

    Fisher's exact test of the two rows and columns: it asks whether the head tells the two classes
    apart at all, however much it prefers one of them.
    """
    from scipy.stats import hypergeom  # takes a second to import

    num_classes = len(columns)
    owner = np.full(num_classes, -1, dtype=np.int64)
    owner[columns[columns >= 0]] = np.flatnonzero(columns >= 0)
    cells, counts = np.unique(labels * num_classes + predicted, return_counts=True)

    def count(label: IntArray, column: IntArray) -> IntArray:
        wanted = label * num_classes + column
        place = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
        return np.where(cells[place] == wanted, counts[place], 0)

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
    """Return the share of rows that agree with the order found on the other half, by class."""
    agrees = predicted == np.where(first, halves[1][labels], halves[0][labels])
    sizes = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[agrees], minlength=num_classes)
    return float(np.mean(hits / np.maximum(sizes, 1)))


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
