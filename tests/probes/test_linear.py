import pytest
import torch
from torch.nn import functional

from bench.errors import UsageError
from bench.types import Silent
from probes.linear import LinearHeads, LinearProbe, linear
from probes.stack.fit import FittedStack
from tests.probes.sources import MemorySource, accuracy, blobs

CPU = torch.device("cpu")


def fit(probe: LinearProbe, source: MemorySource, seed: int = 0) -> FittedStack:
    return probe.fit(source, seed=seed, device=CPU, progress=Silent())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_heads_are_what_a_plain_linear_layer_learns(optimizer: str) -> None:
    source = blobs(rows=30, classes=3, width=6, seed=1)
    rates, decays = (0.1, 0.01), (0.0, 0.3)
    probe = linear(
        epochs=3,
        batch_size=8,
        lr=rates,
        weight_decay=decays,
        optimizer=optimizer,
        batch_norm=False,
    )
    fitted = fit(probe, source, seed=4)
    for k, head in enumerate(probe.heads):
        plain = torch.nn.Linear(6, 3)
        start = LinearHeads(num_probes=1, width=6, num_classes=3, batch_norm=False)
        start.initialise(4)
        with torch.no_grad():
            plain.weight.copy_(start.weight[0])
            plain.bias.zero_()
        train_plainly(plain, optimizer, head.settings, source)
        module = fitted.module
        torch.testing.assert_close(module.weight[k], plain.weight, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(module.bias[k], plain.bias, atol=1e-5, rtol=1e-5)


def train_plainly(
    plain: torch.nn.Linear, optimizer: str, settings: dict[str, float], source: MemorySource
) -> None:
    decay, total, step = settings["weight_decay"], 3 * 4, 0
    groups = [
        {"params": [plain.weight], "weight_decay": decay},
        {"params": [plain.bias], "weight_decay": 0.0},
    ]
    other = (
        torch.optim.SGD(groups, lr=0.0, momentum=0.9)
        if optimizer == "sgd"
        else torch.optim.AdamW(groups)
    )
    for epoch in range(3):
        for batch in source.epoch(epoch, batch_size=8, seed=4):
            step += 1
            for group in other.param_groups:
                cosine = torch.cos(torch.tensor(torch.pi * step / total, dtype=torch.float64))
                group["lr"] = settings["lr"] * 0.5 * (1 + cosine.item())
            other.zero_grad()
            functional.cross_entropy(plain(batch.x[:, 0]), batch.y).backward()
            other.step()


def test_fitted_probe_separates_unseen_rows_whatever_their_scale() -> None:
    source = blobs(rows=120, classes=4, width=16, seed=1)
    source.x = 1e-3 * source.x + 5
    unseen = blobs(rows=80, classes=4, width=16, seed=2)
    fitted = fit(linear(epochs=20, batch_size=32, lr=(1e-2,)), source)
    (share,) = accuracy(fitted.probabilities(1e-3 * unseen.x + 5), unseen.y)
    assert share > 0.95


def test_batch_norm_ends_at_the_mean_over_the_batches_seen() -> None:
    # Batches {0, 2} and {10, 14}: means 1 and 12, unbiased variances 2 and 8.
    x = torch.tensor([[0.0], [2.0], [10.0], [14.0]])[:, None]
    source = MemorySource(x, torch.tensor([0, 1, 0, 1]), 2, shuffle=False)
    fitted = fit(linear(epochs=2, batch_size=2), source)
    assert fitted.module.norm.running_mean.item() == pytest.approx(6.5)
    assert fitted.module.norm.running_var.item() == pytest.approx(5.0)


def test_last_batch_of_one_row_is_trained_on() -> None:
    source = blobs(rows=9, classes=3, width=4, seed=1)
    fitted = fit(linear(epochs=2, batch_size=8), source)
    assert fitted.log["steps"] == 4
    assert fitted.probabilities(source.x).isfinite().all()


def test_views_are_averaged_as_probabilities() -> None:
    source = blobs(rows=24, classes=3, width=4, seed=1)
    fitted = fit(linear(epochs=2, batch_size=8, lr=(0.1, 0.01)), source)
    x = torch.randn(5, 3, 4)
    expected = sum(fitted.probabilities(x[:, v : v + 1]) for v in range(3)) / 3
    torch.testing.assert_close(fitted.probabilities(x), expected, atol=1e-6, rtol=0)


def test_state_restores_the_same_probabilities() -> None:
    source = blobs(rows=24, classes=3, width=4, seed=1)
    fitted = fit(linear(epochs=2, batch_size=8, lr=(0.1, 0.01)), source)
    again = linear().restore(*fitted.state())
    assert torch.equal(again.probabilities(source.x), fitted.probabilities(source.x))
    assert again.heads == fitted.heads


def test_diverging_head_is_left_out() -> None:
    source = blobs(rows=24, classes=3, width=4, seed=1)
    source.x = source.x * 1e18
    probe = linear(epochs=6, batch_size=8, lr=(1e30, 1e-30), optimizer="sgd", batch_norm=False)
    fitted = fit(probe, source)
    assert [head.settings["lr"] for head in fitted.heads] == [1e-30]
    assert fitted.log["dropped"][0]["head"]["lr"] == 1e30
    assert fitted.probabilities(source.x).shape == (1, 24, 3)


def test_batch_norm_needs_batches_of_two() -> None:
    with pytest.raises(UsageError, match="batch_size 1 must be at least 2"):
        linear(batch_size=1)
    linear(batch_size=1, batch_norm=False)
