import json

import numpy as np
import pytest
import torch
from torch.nn import functional

import probes.knn
from bench.errors import UsageError
from bench.types import Silent
from probes.knn import knn, nearest, weighted_votes
from tests.probes.sources import FIXTURES, MemorySource, blobs

CPU = torch.device("cpu")
EXPECTED = json.loads((FIXTURES / "knn_expected.json").read_text())
KS = (10, 20, 100, 200)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    arrays = np.load(FIXTURES / "knn_golden.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def golden_source(
    golden: dict[str, torch.Tensor], rows: torch.Tensor | None = None
) -> MemorySource:
    x, y = golden["train_features"][:, None], golden["train_labels"]
    return MemorySource(x, y, 12) if rows is None else MemorySource(x[rows], y[rows], 12)


def fit(probe: probes.knn.KnnProbe, source: MemorySource) -> probes.knn.FittedKnn:
    return probe.fit(source, seed=0, device=CPU, progress=Silent())


def top(probabilities: torch.Tensor, y: torch.Tensor, n: int) -> float:
    return 100 * (probabilities.topk(n).indices == y[:, None]).any(dim=1).double().mean().item()


def test_predictions_and_accuracies_are_the_published_ones(golden: dict[str, torch.Tensor]) -> None:
    shares = fit(knn(k=KS), golden_source(golden)).probabilities(golden["test_features"][:, None])
    for k, share in zip(KS, shares, strict=True):
        assert torch.equal(share.argmax(-1), golden[f"pred_k{k}"].long())
        assert top(share, golden["test_labels"], 1) == pytest.approx(
            EXPECTED[str(k)]["dino_top1"], abs=1e-4
        )
        assert top(share, golden["test_labels"], 5) == pytest.approx(
            EXPECTED[str(k)]["dino_top5"], abs=1e-4
        )
        torch.testing.assert_close(share.sum(-1), torch.ones(240))


def test_votes_are_dinov2s_scores_cut_from_the_softmax_over_the_largest_k(
    golden: dict[str, torch.Tensor],
) -> None:
    queries = functional.normalize(golden["test_features"][:8], dim=-1)
    keys = functional.normalize(golden["train_features"], dim=-1)
    similarity, index = nearest(queries, keys, k=200)
    votes = weighted_votes(
        similarity, golden["train_labels"][index], k=(20, 200), temperature=0.07, num_classes=12
    )
    for scores, k in zip(votes, (20, 200), strict=True):
        expected = golden[f"dinov2_scores_k{k}_first8"]
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    sums = golden["dinov2_score_row_sums_k20_first8"]
    torch.testing.assert_close(votes[0].sum(-1), sums, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shots", [1, 5])
def test_few_shot_accuracies_are_the_published_ones(
    golden: dict[str, torch.Tensor], shots: int
) -> None:
    expected = EXPECTED["few_shot"][f"{shots} per class"][str(shots)]["per_try_top1"]
    for seed, value in enumerate(expected):
        rows = golden[f"fewshot_{shots}_per_class_seed{seed}_indices"].long()
        fitted = fit(knn(k=(shots,)), golden_source(golden, rows))
        (share,) = fitted.probabilities(golden["test_features"][:, None])
        assert top(share, golden["test_labels"], 1) == pytest.approx(value, abs=1e-4)


def test_blocks_give_the_neighbours_of_the_whole_matrix(
    golden: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes.knn, "QUERY_BLOCK", 7)
    monkeypatch.setattr(probes.knn, "KEY_BLOCK", 50)
    queries, keys = golden["test_features"], golden["train_features"]
    similarity, index = nearest(queries, keys, k=60)
    values, rows = (queries.double() @ keys.double().T).sort(dim=1, descending=True)
    assert torch.equal(index, rows[:, :60])
    torch.testing.assert_close(similarity, values[:, :60].float(), atol=1e-4, rtol=1e-6)


def test_vote_worked_out_by_hand() -> None:
    # Similarities 1, 0.5 and 0.5 at T = 0.5: weights e^2, e, e for classes 0, 1, 1.
    similarity, labels = torch.tensor([[1.0, 0.5, 0.5]]), torch.tensor([[0, 1, 1]])
    votes = weighted_votes(similarity, labels, k=(1, 2, 3), temperature=0.5, num_classes=2)
    e, total = np.e, np.e**2 + 2 * np.e
    expected = torch.tensor([[e**2, 0.0], [e**2, e], [e**2, 2 * e]]).float() / total
    torch.testing.assert_close(votes[:, 0], expected, atol=1e-6, rtol=0)


def test_k_above_the_training_rows_is_left_out_and_recorded() -> None:
    fitted = fit(knn(k=(5, 50)), blobs(rows=12, classes=3, width=4, seed=0))
    assert [head.settings for head in fitted.heads] == [{"k": 5}]
    assert fitted.log["dropped"] == [
        {"head": {"k": 50}, "reason": "k is above the 12 training rows"}
    ]


def test_no_fitting_k_is_refused() -> None:
    with pytest.raises(UsageError, match="smallest k is 20, but there are only 12 training rows"):
        fit(knn(k=(20, 50)), blobs(rows=12, classes=3, width=4, seed=0))


def test_views_are_averaged_as_probabilities() -> None:
    fitted = fit(knn(k=(3, 7)), blobs(rows=30, classes=3, width=4, seed=0, spread=3.0))
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = sum(fitted.probabilities(x[:, v : v + 1]) for v in range(3)) / 3
    torch.testing.assert_close(fitted.probabilities(x), expected, atol=1e-6, rtol=0)


def test_state_restores_the_same_probabilities() -> None:
    fitted = fit(knn(k=(3, 7)), blobs(rows=30, classes=3, width=4, seed=0))
    again = knn().restore(*fitted.state())
    x = torch.randn(5, 3, 4)
    assert torch.equal(again.probabilities(x), fitted.probabilities(x))
