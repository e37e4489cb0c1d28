"""Mean average precision of rows with several labels, against definitions written out."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from bench.metrics.multilabel import class_precisions, mean_average_precision


def test_worked_example() -> None:
    # Class 0: ranks of its positives 1 and 3 of 4, precisions 1 and 2/3: (1 + 2/3) / 2 = 5/6.
    # Class 1: its positives are last, precisions 1/3 and 2/4. The envelope lifts the first to 1/2.
    # Class 2 has no positive and no AP.
    scores = np.array([[0.9, 0.9, 0.1], [0.8, 0.8, 0.2], [0.7, 0.2, 0.3], [0.1, 0.1, 0.4]])
    labels = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]])
    found = class_precisions(scores, labels)
    np.testing.assert_allclose(found[:2], [5 / 6, 1 / 2])
    assert np.isnan(found[2])
    assert mean_average_precision(scores, labels) == pytest.approx(2 / 3)


def test_of_equal_scores_the_first_row_goes_first() -> None:
    labels = np.array([[1, 0], [0, 1]])
    found = class_precisions(np.zeros((2, 2), dtype=np.float32), labels)
    assert found.tolist() == [1.0, 0.5]


def test_without_ties_it_is_the_envelope_of_the_curve_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.permutation(300 * 5).reshape(300, 5).astype(np.float64)
    labels = (rng.random((300, 5)) < [0.5, 0.2, 0.05, 0.01, 0.9]).astype(np.int64)
    for c, found in enumerate(class_precisions(scores, labels)):
        precision, recall, _ = precision_recall_curve(labels[:, c], scores[:, c])
        envelope = np.maximum.accumulate(precision)  # recall falls along the curve
        assert found == pytest.approx((-np.diff(recall) * envelope[:-1]).sum())


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=25).filter(
        lambda rows: any(label for _, label in rows)
    )
)
def test_with_ties_it_is_the_best_precision_at_every_recall(rows: list[tuple[int, float]]) -> None:
    ranked = sorted(range(len(rows)), key=lambda row: (-rows[row][0], row))
    hits = [rows[row][1] for row in ranked]
    precisions = [Fraction(sum(hits[: n + 1]), n + 1) for n in range(len(hits))]
    best = [max(precisions[n:]) for n, hit in enumerate(hits) if hit]
    scores = np.array([[score] for score, _ in rows], dtype=np.float32)
    labels = np.array([[label] for _, label in rows])
    assert mean_average_precision(scores, labels) == pytest.approx(float(sum(best) / len(best)))
