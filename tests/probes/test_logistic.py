import pytest
import torch
from sklearn.linear_model import LogisticRegression

from bench.errors import UsageError
from bench.types import Silent
from probes.logistic import FittedLogistic, LogisticProbe, logistic
from tests.probes.sources import MemorySource, blobs

CPU = torch.device("cpu")


def fit(probe: LogisticProbe, source: MemorySource) -> FittedLogistic:
    return probe.fit(source, seed=0, device=CPU, progress=Silent())


@pytest.mark.parametrize("classes", [2, 3])
def test_each_head_is_the_regression_on_standardised_features(classes: int) -> None:
    source = blobs(rows=60, classes=classes, width=5, seed=1, spread=2.0)
    x = source.x[:, 0].double()
    standard = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    fitted = fit(logistic(C=(0.01, 1.0)), source)
    got = fitted.probabilities(source.x)
    for k, C in enumerate((0.01, 1.0)):
        solver = LogisticRegression(C=C, tol=1e-6, max_iter=1000).fit(standard, source.y.numpy())
        expected = torch.from_numpy(solver.predict_proba(standard)).float()
        torch.testing.assert_close(got[k], expected, atol=1e-6, rtol=0)


def test_without_standardising_it_is_the_regression_on_the_features() -> None:
    source = blobs(rows=60, classes=3, width=5, seed=1, spread=2.0)
    x = (source.x[:, 0].double() * torch.tensor([1.0, 10.0, 0.1, 1.0, 5.0])).numpy()
    source = MemorySource(torch.from_numpy(x).float()[:, None], source.y, 3)
    x = source.x[:, 0].double().numpy()
    fitted = fit(logistic(C=(0.1,), standardise=False), source)
    solver = LogisticRegression(C=0.1, tol=1e-6, max_iter=1000).fit(x, source.y.numpy())
    expected = torch.from_numpy(solver.predict_proba(x)).float()
    torch.testing.assert_close(fitted.probabilities(source.x)[0], expected, atol=1e-6, rtol=0)
    assert logistic(standardise=False).settings["standardise"] is False
    assert "standardise" not in logistic().settings  # ids stay those of earlier versions


def test_objective_is_at_its_minimum() -> None:
    source = blobs(rows=40, classes=3, width=4, seed=1, spread=3.0)
    fitted = fit(logistic(C=(0.5,)), source)
    x = (source.x[:, 0].double() - fitted.tensors["mean"]) / fitted.tensors["deviation"]
    weight = fitted.tensors["weight"][0].clone().requires_grad_()
    bias = fitted.tensors["bias"][0].clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, source.y, reduction="sum")
    (0.5 * loss + 0.5 * weight.square().sum()).backward()
    # scikit-learn minimises this divided by C * rows, to a largest slope of tol.
    assert max(weight.grad.abs().max(), bias.grad.abs().max()) <= 1e-6 * 0.5 * 40 * 1.01


def test_class_without_training_rows_has_probability_zero() -> None:
    source = blobs(rows=40, classes=4, width=4, seed=1)
    rows = (source.y != 2).nonzero()[:, 0].numpy()
    shares = fit(logistic(C=(1.0,)), source.subset(rows)).probabilities(source.x)
    assert not shares[..., 2].any()
    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 40))


def test_head_that_did_not_converge_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    source = blobs(rows=60, classes=3, width=5, seed=1, spread=2.0)
    fitted = fit(logistic(C=(1e-3, 100.0), max_iter=3), source)
    assert fitted.log["solutions"][1] == {"iterations": 3, "converged": False}
    assert "logistic C=100.0 did not converge in 3 steps" in caplog.messages
    assert not any("\n" in message for message in caplog.messages)
    assert fit(logistic(C=(1e-3,)), source).log["solutions"][0]["converged"]


def test_constant_feature_counts_for_nothing() -> None:
    source = blobs(rows=40, classes=2, width=4, seed=1)
    source.x[..., 1] = 0.1
    fitted = fit(logistic(C=(1.0,)), source)
    assert fitted.log["constant_features"] == 1
    assert fitted.tensors["weight"][..., 1].abs().max().item() < 1e-12


def test_one_class_is_refused() -> None:
    source = MemorySource(torch.randn(4, 1, 3), torch.ones(4, dtype=torch.int64), 3)
    with pytest.raises(UsageError, match="all 4 training rows are of one class"):
        fit(logistic(), source)


def test_state_restores_the_same_probabilities() -> None:
    source = blobs(rows=40, classes=4, width=4, seed=1)
    fitted = fit(logistic(C=(1.0, 2.0)), source)
    again = logistic().restore(*fitted.state())
    x = torch.randn(3, 2, 4)
    assert torch.equal(again.probabilities(x), fitted.probabilities(x))


def test_views_are_averaged_as_probabilities() -> None:
    fitted = fit(logistic(C=(1.0, 2.0)), blobs(rows=40, classes=4, width=4, seed=1))
    x = torch.randn(5, 3, 4)
    expected = sum(fitted.probabilities(x[:, v : v + 1]) for v in range(3)) / 3
    torch.testing.assert_close(fitted.probabilities(x), expected, atol=1e-6, rtol=0)
