"""Probes on rows with several labels: the loss, the schedule, files, and who refuses them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.errors import CheckpointError, UsageError
from bench.evaluate.probe_files import FACTS, load_fitted, save_fitted
from bench.metrics.multilabel import mean_average_precision
from bench.types import Head, Silent
from probes.attentive import attentive
from probes.knn import KnnProbe, knn
from probes.linear import LinearHeads, linear
from probes.logistic import LogisticProbe, logistic
from probes.stack.fit import FittedStack, StackedProbe
from probes.stack.train_heads import TrainingRecipe, head_losses
from tests.probes.sources import MemorySource, blobs, several_labels

CPU = torch.device("cpu")
PROBES = {
    "linear": lambda **options: linear(batch_size=16, **options),
    "attentive": lambda **options: attentive(num_heads=2, batch_size=16, **options),
}


def fit(probe: StackedProbe, source: MemorySource, seed: int = 0) -> FittedStack:
    return probe.fit(source, seed=seed, device=CPU, progress=Silent())


def source_for(name: str, rows: int = 96, seed: int = 1) -> MemorySource:
    tokens = 4 if name == "attentive" else 0
    return several_labels(rows=rows, classes=5, width=8, seed=seed, tokens=tokens)


# ------------------------------------------------------------------------------------------- loss
def test_loss_is_the_mean_over_rows_and_classes_of_every_head() -> None:
    logits = torch.tensor([[[0.0, 2.0], [-1.0, 3.0]], [[1.0, 1.0], [0.0, 0.0]]])
    y = torch.tensor([[1, 0], [0, 1]])

    def bce(logit: int, label: int) -> float:
        share = 1 / (1 + math.exp(-logit))
        return -math.log(share if label else 1 - share)

    expected = [
        (bce(0, 1) + bce(2, 0) + bce(-1, 0) + bce(3, 1)) / 4,
        (bce(1, 1) + bce(1, 0) + bce(0, 0) + bce(0, 1)) / 4,
    ]
    torch.testing.assert_close(head_losses(logits, y), torch.tensor(expected))


def test_linear_heads_are_what_a_plain_layer_learns_with_warmup_and_final_rate() -> None:
    source = several_labels(rows=40, classes=3, width=6, seed=1)
    rates, epochs, batch = (0.1, 0.01), 4, 8
    probe = linear(
        epochs=epochs,
        batch_size=batch,
        lr=rates,
        weight_decay=(0.05,),
        batch_norm=False,
        warmup=2.0,
        start_lr=1e-3,
        final_lr=2e-3,
    )
    fitted = fit(probe, source, seed=4)
    for k, rate in enumerate(rates):
        plain = torch.nn.Linear(6, 3)
        start = LinearHeads(num_probes=1, width=6, num_classes=3, batch_norm=False)
        start.initialise(4)
        with torch.no_grad():
            plain.weight.copy_(start.weight[0])
            plain.bias.zero_()
        train_plainly(plain, rate, source, epochs, batch)
        torch.testing.assert_close(fitted.module.weight[k], plain.weight, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(fitted.module.bias[k], plain.bias, atol=1e-5, rtol=1e-5)
        expected = plain(source.x[:, 0]).sigmoid()
        torch.testing.assert_close(fitted.probabilities(source.x)[k], expected, atol=1e-5, rtol=0)


def train_plainly(
    plain: torch.nn.Linear, rate: float, source: MemorySource, epochs: int, batch_size: int
) -> None:
    steps = math.ceil(len(source) / batch_size)
    optimizer = torch.optim.AdamW(
        [
            {"params": [plain.weight], "weight_decay": 0.05},
            {"params": [plain.bias], "weight_decay": 0.0},
        ]
    )
    step, warm, total = 0, 2 * steps, epochs * steps
    for epoch in range(epochs):
        for batch in source.epoch(epoch, batch_size=batch_size, seed=4):
            step += 1
            lr = 1e-3 + (rate - 1e-3) * step / warm
            if step >= warm:
                cosine = math.cos(math.pi * (step - warm) / (total - warm))
                lr = 2e-3 + (rate - 2e-3) * (1 + cosine) / 2
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            logits = plain(batch.x[:, 0])
            functional.binary_cross_entropy_with_logits(logits, batch.y.float()).backward()
            optimizer.step()


def test_schedule_of_table_10() -> None:
    # 30 epochs of 10 steps, 2 of them warm: 1e-6 -> 1e-4 at step 20 -> 1e-6 at step 300.
    recipe = TrainingRecipe(epochs=30, batch_size=64, warmup=2.0, start_lr=1e-6, final_lr=1e-6)
    heads = [Head(settings={"lr": 1e-4, "weight_decay": 0.05})]
    rates = {step: recipe.at(step, heads, 10)[0][0] for step in (1, 10, 20, 160, 300)}
    middle = (1e-4 + 1e-6) / 2
    wanted = {1: 1e-6 + 99e-6 / 20, 10: middle, 20: 1e-4, 160: middle, 300: 1e-6}
    assert rates == pytest.approx(wanted, rel=1e-12)


# ------------------------------------------------------------------------------------ probabilities
@pytest.mark.parametrize("name", PROBES)
def test_every_class_has_its_own_probability_and_unseen_rows_are_told(name: str) -> None:
    source, unseen = source_for(name), source_for(name, seed=2)
    fitted = fit(PROBES[name](epochs=30, lr=(1e-2, 1e-3)), source)
    shares = fitted.probabilities(unseen.x)
    assert shares.shape == (2, 96, 5) and shares.min() >= 0 and shares.max() <= 1
    assert (shares[0].sum(dim=-1) - 1).abs().max() > 0.5
    chance = unseen.labels.mean()
    assert mean_average_precision(shares[0].numpy(), unseen.labels) > 0.9 > 2 * chance


@pytest.mark.parametrize("name", PROBES)
def test_views_are_averaged_as_probabilities(name: str) -> None:
    source = source_for(name)
    fitted = fit(PROBES[name](epochs=2), source)
    x = torch.randn(7, 3, *source.x.shape[2:])
    expected = sum(fitted.probabilities(x[:, v : v + 1]) for v in range(3)) / 3
    torch.testing.assert_close(fitted.probabilities(x), expected, atol=1e-6, rtol=0)


def test_rows_without_a_label_are_trained_on() -> None:
    x = torch.cat([torch.ones(8, 1, 2), -torch.ones(8, 1, 2)])
    y = torch.zeros(16, 2, dtype=torch.int64)
    y[:8, 0] = 1
    probe = linear(epochs=100, batch_size=16, lr=(0.1,), batch_norm=False)
    shares = fit(probe, MemorySource(x, y, 2)).probabilities(x)[0]
    assert (shares[:8, 0] > 0.9).all() and (shares[8:] < 0.1).all() and (shares[:, 1] < 0.2).all()


@pytest.mark.parametrize("name", PROBES)
def test_training_rows_without_any_label_are_refused(name: str) -> None:
    source = source_for(name)
    source.y = torch.zeros_like(source.y)
    with pytest.raises(UsageError, match="none of the 96 training rows has a label"):
        fit(PROBES[name](epochs=1), source)


# ------------------------------------------------------------------------------------------- files
@pytest.mark.parametrize("name", PROBES)
def test_saved_probe_scores_as_before(tmp_path: Path, name: str) -> None:
    source = source_for(name)
    fitted = fit(PROBES[name](epochs=1, lr=(1e-2, 1e-3)), source)
    save_fitted(tmp_path, name, PROBES[name](epochs=1).settings, fitted, {})
    again = load_fitted(tmp_path).fitted
    assert torch.equal(again.probabilities(source.x), fitted.probabilities(source.x))
    assert json.loads((tmp_path / FACTS).read_text())["state"]["output"] == "sigmoid"


@pytest.mark.parametrize("name", PROBES)
def test_files_of_one_label_a_row_say_nothing_new_and_read_back_as_softmax(name: str) -> None:
    source = blobs(rows=12, classes=3, width=4, seed=0, tokens=5 if name == "attentive" else 0)
    probe = PROBES[name](epochs=1)
    fitted = fit(probe, source)
    tensors, facts = fitted.state()
    own = {"linear": {"batch_norm"}, "attentive": {"width", "num_heads", "num_classes"}}
    assert set(facts) == {"heads", "log", *own[name]}  # as in files of earlier versions
    again = probe.restore(tensors, facts)
    sums = again.probabilities(source.x).sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_file_with_an_unknown_output_is_refused() -> None:
    fitted = fit(linear(epochs=1, batch_size=8), blobs(rows=12, classes=3, width=4, seed=0))
    tensors, facts = fitted.state()
    with pytest.raises(CheckpointError, match=r"output 'sparsemax'.*fit it again"):
        linear().restore(tensors, {**facts, "output": "sparsemax"})


# ---------------------------------------------------------------------------------------- settings
def test_schedule_is_in_the_settings_only_where_it_is_not_the_default() -> None:
    plain = linear(epochs=30)
    assert {"warmup", "start_lr", "final_lr"}.isdisjoint(plain.settings)
    own = linear(epochs=30, warmup=2.0, start_lr=1e-6, final_lr=1e-5)
    schedule = {"warmup": 2.0, "start_lr": 1e-6, "final_lr": 1e-5}
    assert own.settings == {**plain.settings, **schedule}
    assert linear(epochs=30, warmup=0.0, final_lr=0.0).settings == plain.settings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 2, "warmup": 2.0}, "warmup of 2 epochs leaves none of 2"),
        ({"lr": (1e-3, 1e-5), "final_lr": 1e-4}, "final_lr 0.0001 is above the learning rate"),
        ({"lr": (1e-5,), "start_lr": 1e-4}, "start_lr 0.0001 is above the learning rate"),
        ({"warmup": -1.0}, "warmup -1.0 must be at least 0"),
        ({"final_lr": math.nan}, "final_lr nan"),
    ],
)
def test_schedules_that_cannot_work_are_refused(
    options: dict[str, float | tuple[float, ...]], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        linear(**options)


@pytest.mark.parametrize("probe", [knn(k=(1,)), logistic(C=(1.0,))])
def test_probes_of_one_label_a_row_name_those_that_take_several(
    probe: KnnProbe | LogisticProbe,
) -> None:
    source = several_labels(rows=8, classes=3, width=4, seed=0)
    said = rf"'{probe.name}' needs exactly one label.*of 3 classes.*linear or attentive"
    with pytest.raises(UsageError, match=said):
        fit(probe, source)
    with pytest.raises(UsageError, match=said):
        probe.check_labels(source.labels)
    probe.check_labels(np.zeros(8, dtype=np.int64))
