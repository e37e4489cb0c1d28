"""The one-to-one relabelling of classes that agrees best with predictions, from counts alone."""

from __future__ import annotations

import numpy as np

from bench.metrics.frame_matching import ranks
from bench.types import BoolArray, FloatArray, IntArray


def best_relabelling(
    predicted: IntArray, labels: IntArray, num_classes: int, *, prefer_given: bool = True
) -> IntArray:
    """Return the predicted class assigned to every label, int64 `[C]`, -1 if none is left.

    Maximises the one-to-one sum over labels of count / (rows + 1). A label only moves to a class
    that was predicted for one of its rows; with `prefer_given` it stays unless half a row or more
    favours moving. Ties are broken by row numbers, never by class numbers.
    """
    # scipy is slow to import and only needed at the end of a run
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    sizes = np.bincount(labels, minlength=num_classes)
    cells, rows, counts = np.unique(
        labels * num_classes + predicted, return_index=True, return_counts=True
    )
    label, column = np.divmod(cells, num_classes)
    staying = 0.5 * (label == column) if prefer_given else 0.0
    ties = 1e-9 * np.random.RandomState(0).random_sample(len(labels))[rows]
    weights = (counts + staying) / (sizes[label] + 1) + ties
    every = np.arange(num_classes)
    never = np.setdiff1d(every, label[label == column]) if prefer_given else every[:0]
    stay = np.where(sizes[never] > 0, 0.5 / (sizes[never] + 1), 1e-12)
    # Each label has an extra column for "none is left"; 1 is added since weight 0 means no edge.
    graph = csr_array(
        (
            1 + np.concatenate([weights, stay, np.zeros(num_classes)]),
            (
                np.concatenate([label, never, every]),
                np.concatenate([column, never, num_classes + every]),
            ),
        ),
        shape=(num_classes, 2 * num_classes),
    )
    labels_in_order, columns = min_weight_full_bipartite_matching(graph, maximize=True)
    found = np.empty(num_classes, dtype=np.int64)
    found[labels_in_order] = np.where(columns < num_classes, columns, -1)
    return found


def first_halves(labels: IntArray) -> BoolArray:
    """Mark the first half of every class's rows (rounded up), bool `[rows]`.

    Blocks instead of alternate rows, since neighbours are often clips of one recording.
    """
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)[labels[order]]
    first = np.zeros(len(labels), dtype=np.bool_)
    first[order] = ranks(labels[order]) < (sizes + 1) // 2
    return first


def mcnemar_one_sided(better: FloatArray | IntArray, worse: FloatArray | IntArray) -> FloatArray:
    """Return P(at least `better` heads in `better + worse` tosses of a fair coin), exactly."""
    from scipy.special import betainc  # the binomial tail is an incomplete beta function

    tail = betainc(np.maximum(better, 1), worse + 1.0, 0.5)
    return np.asarray(np.where(better > 0, tail, 1.0), dtype=np.float64)
