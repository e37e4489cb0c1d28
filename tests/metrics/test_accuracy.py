"""Accuracy as integer counts: ties, batches, rows that were not scored."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.metrics.accuracy import label_ranks, predict, report


def rank_by_sorting(row: list[float], label: int) -> int:
    """Place of the label in a stable descending sort, so that ties go to the lower index; the last
    place of all, that of no class, without probability.
    """
    if row[label] == 0:
        return len(row)
    return sorted(range(len(row)), key=lambda c: -row[c]).index(label)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 9).flatmap(
        lambda c: st.lists(
            st.tuples(
                st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5]), min_size=c, max_size=c).filter(any),
                st.integers(0, c - 1),
            ),
            min_size=1,
            max_size=12,
        )
    )
)
def test_ranks_and_counts_agree_with_a_stable_sort(rows: list[tuple[list[float], int]]) -> None:
    probabilities = torch.tensor([row for row, _ in rows])
    labels = torch.tensor([label for _, label in rows])
    ranks = [rank_by_sorting(row, label) for row, label in rows]
    assert label_ranks(probabilities, labels).tolist() == ranks
    assert ((predict(probabilities) == labels) == (torch.tensor(ranks) == 0)).all()
    pairs = zip(probabilities.split(5), labels.split(5), strict=True)
    parts = [label_ranks(*pair) for pair in pairs]
    assert torch.cat(parts).tolist() == ranks


def test_all_heads_are_ranked_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, 11, 7, generator=generator)
    labels = torch.arange(11) % 7
    ranks = label_ranks(probabilities, labels)
    assert ranks.shape == (3, 11)
    for head in range(3):
        assert torch.equal(ranks[head], label_ranks(probabilities[head], labels))
        assert torch.equal(predict(probabilities)[head], predict(probabilities[head]))


def test_tie_goes_to_the_lowest_class() -> None:
    even = torch.full((1, 8), 0.125)
    assert predict(even).tolist() == [0]
    assert [label_ranks(even, torch.tensor([c])).tolist() for c in (0, 4, 5)] == [[0], [4], [5]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_probabilities_that_are_not_finite_are_refused(value: float) -> None:
    bad = torch.tensor([[0.5, 0.5], [value, 0.1]])
    with pytest.raises(BenchError, match="1 of 2 rows"):
        label_ranks(bad, torch.tensor([0, 0]))
    with pytest.raises(BenchError, match="1 of 2 rows"):
        predict(bad)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_report_of_a_small_split_by_hand() -> None:
    # Class 0: 2 of 3 right, class 1: 0 of 1, class 2: 2 of 2; class 3 has no row.
    values = report(
        ints(0, 0, 1, 0, 2, 2), ints(0, 0, 0, 1, 2, 2), None, num_classes=4, num_expected=6
    )
    assert values == {
        "top1": 4 / 6,
        "mean_per_class": pytest.approx((2 / 3 + 0 + 1) / 3, abs=1e-15),
        "top1_lower": 4 / 6,
        "top1_upper": 4 / 6,
        "chance": 0.25,
        "majority": 3 / 6,
    }


def test_unreadable_score_row_counts_as_wrong_and_widens_the_bounds() -> None:
    # 10 published rows, 8 listed, 2 of those unreadable, 5 right: 4 rows are unknown.
    labels = ints(0, 0, 0, 0, 1, 1, 1, 1)
    values = report(ints(0, 0, 0, -1, 1, 1, 0, -1), labels, None, num_classes=2, num_expected=10)
    assert values["top1"] == 5 / 8
    assert values["top1_lower"] == 5 / 10
    assert values["top1_upper"] == 9 / 10
    assert values["mean_per_class"] == (3 / 4 + 2 / 4) / 2


def test_rows_beyond_the_published_number_keep_the_bounds_below_one() -> None:
    values = report(ints(0, 1), ints(0, 1), None, num_classes=2, num_expected=1)
    assert (values["top1_lower"], values["top1_upper"]) == (1.0, 1.0)


def test_top5_needs_six_classes_and_ignores_unscored_rows() -> None:
    hits = np.array([True, True, False, True])
    predicted, labels = ints(0, 3, 2, -1), ints(0, 1, 5, 5)
    assert report(predicted, labels, hits, num_classes=6, num_expected=4)["top5"] == 2 / 4
    assert "top5" not in report(ints(0), ints(0), hits[:1], num_classes=5, num_expected=1)
    with pytest.raises(BenchError, match="top-5 hits"):
        report(predicted, labels, None, num_classes=6, num_expected=4)


def test_empty_split_is_refused() -> None:
    with pytest.raises(BenchError, match="no row"):
        report(ints(), ints(), None, num_classes=2, num_expected=0)
