"""The registered attentive probe: fitting, scoring, saving, and files in the released layout."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import BenchError, CheckpointError, UsageError
from bench.types import Silent
from probes.attentive import AttentiveProbe, attentive
from probes.stack.fit import FittedStack
from probes.stack.released_probe import read_released_probe, to_released
from tests.probes.sources import FIXTURES, MemorySource, accuracy, blobs
from tests.probes.stacks import plain_probes, random_stack

CPU = torch.device("cpu")


def fit(probe: AttentiveProbe, source: MemorySource, seed: int = 0) -> FittedStack:
    return probe.fit(source, seed=seed, device=CPU, progress=Silent())


@pytest.fixture(scope="module")
def fitted() -> FittedStack:
    probe = attentive(num_heads=2, epochs=12, batch_size=16, lr=(1e-2, 1e-5), weight_decay=(0.0,))
    return fit(probe, blobs(rows=96, classes=4, width=16, seed=1, spread=2.0, tokens=6))


def test_sweep_has_every_combination_in_order() -> None:
    probe = attentive(num_heads=2, lr=(1e-3, 1e-4), weight_decay=(0.1, 0.01))
    assert [tuple(h.settings.values()) for h in probe.heads] == [
        (1e-3, 0.1),
        (1e-3, 0.01),
        (1e-4, 0.1),
        (1e-4, 0.01),
    ]
    assert probe.only(2).heads == (probe.heads[2],)
    assert probe.only(2).settings == probe.settings


def test_defaults_are_the_released_recipe() -> None:
    probe = attentive(num_heads=16)
    assert [dict(h.settings) for h in probe.heads] == [{"lr": 1e-3, "weight_decay": 0.01}]
    assert probe.settings == {
        "num_heads": 16,
        "epochs": 20,
        "batch_size": 256,
        "final_weight_decay": 1e-6,
        "warmup": 0.0,
        "clip_norm": 1.0,
    }


def test_fitted_probe_separates_classes_it_has_not_seen_before(fitted: FittedStack) -> None:
    unseen = blobs(rows=80, classes=4, width=16, seed=2, spread=2.0, tokens=6)
    high, low = accuracy(fitted.probabilities(unseen.x), unseen.y)
    assert high > 0.95
    assert low < high


def test_head_of_a_sweep_is_what_it_is_alone(fitted: FittedStack) -> None:
    source = blobs(rows=96, classes=4, width=16, seed=1, spread=2.0, tokens=6)
    probe = attentive(num_heads=2, epochs=12, batch_size=16, lr=(1e-2, 1e-5), weight_decay=(0.0,))
    alone = fit(probe.only(1), source)
    got, expected = alone.probabilities(source.x)[0], fitted.probabilities(source.x)[1]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_views_are_averaged_as_probabilities() -> None:
    stack = random_stack(
        num_probes=2, width=8, num_attention_heads=2, num_classes=3, dtype=torch.float32
    )
    x = torch.randn(5, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    got = FittedStack(heads=(), log={}, module=stack).probabilities(x)
    assert got.shape == (2, 5, 3)
    for k, plain in enumerate(plain_probes(stack)):
        expected = sum(plain(x[:, v]).softmax(-1) for v in range(3)) / 3
        torch.testing.assert_close(got[k], expected, atol=1e-5, rtol=0)


def test_half_precision_features_are_computed_in_float32() -> None:
    stack = random_stack(
        num_probes=1, width=8, num_attention_heads=2, num_classes=3, dtype=torch.float32
    )
    fitted = FittedStack(heads=(), log={}, module=stack)
    x = torch.randn(2, 1, 7, 8).bfloat16()
    assert torch.equal(fitted.probabilities(x), fitted.probabilities(x.float()))


def test_state_restores_the_same_probabilities(fitted: FittedStack) -> None:
    tensors, facts = fitted.state()
    again = attentive(num_heads=2).restore(tensors, facts)
    x = torch.randn(3, 2, 6, 16)
    assert torch.equal(again.probabilities(x), fitted.probabilities(x))
    assert again.heads == fitted.heads and again.log == fitted.log


def test_fit_fails_when_no_head_survives() -> None:
    source = blobs(rows=8, classes=2, width=8, seed=0, tokens=3)
    source.x[3] = torch.inf
    with pytest.raises(BenchError, match=r"no head is left.*not finite"):
        fit(attentive(num_heads=2, epochs=1, batch_size=4, lr=(1e-3, 1e-4)), source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": ()}, "lr is empty"),
        ({"lr": (1e-3, 1e-3)}, "has a value twice"),
        ({"lr": (0.0,)}, "must be above 0"),
        ({"weight_decay": (-1.0,)}, "at least 0"),
        ({"lr": (float("nan"),)}, "must be"),
        ({"epochs": 0}, "at least 1"),
        ({"clip_norm": 0.0}, "must be above 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    options: dict[str, float | tuple[float, ...]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        attentive(**{"num_heads": 2, **options})


def test_attention_heads_must_divide_the_width() -> None:
    with pytest.raises(UsageError, match="encoder's width 8 is not divisible by 3 attention heads"):
        fit(attentive(num_heads=3), blobs(rows=4, classes=2, width=8, seed=0, tokens=2))


# ------------------------------------------------------------------------------- released files
def test_released_file_survives_a_round_trip() -> None:
    content = torch.load(FIXTURES / "attentive_v1.pt", weights_only=True)["classifier"]
    written = to_released(
        read_released_probe(FIXTURES / "attentive_v1.pt", num_attention_heads=4)[0], 0
    )
    assert {f"module.{name}" for name in written} == set(content)
    for name, tensor in written.items():
        assert torch.equal(tensor, content[f"module.{name}"]), name


def test_released_projection_survives_saving() -> None:
    fitted = attentive(num_heads=4).read_released(FIXTURES / "attentive_v1.pt")
    again = attentive(num_heads=4).restore(*fitted.state())
    name = "pooler.cross_attention_block.xattn.proj.weight"
    assert torch.equal(to_released(again.module, 0)[name], to_released(fitted.module, 0)[name])


def test_released_probe_refuses_tokens_of_another_width() -> None:
    fitted = attentive(num_heads=4).read_released(FIXTURES / "attentive_v1.pt")
    with pytest.raises(CheckpointError, match="width 28, but the encoder gives 32"):
        fitted.probabilities(torch.zeros(1, 1, 5, 32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("module.linear.bias"), "missing linear.bias"),
        (lambda s: s.update({"module.pooler.extra": torch.zeros(1)}), "unknown pooler.extra"),
        (lambda s: s.update({"module.linear.weight": torch.zeros(7, 9)}), "linear.weight gives"),
    ],
)
def test_incomplete_released_files_are_refused_by_name(
    tmp_path: Path, change: Callable[..., Any], message: str
) -> None:
    content = torch.load(FIXTURES / "attentive_v1.pt", weights_only=True)
    change(content["classifier"])
    torch.save(content, tmp_path / "probe.pt")
    with pytest.raises(CheckpointError, match=message):
        attentive(num_heads=4).read_released(tmp_path / "probe.pt")


def test_files_that_are_no_probe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    torch.save({"encoder": {}}, tmp_path / "encoder.pt")
    for name, message in [
        ("page.pt", "is a web page"),
        ("encoder.pt", "has no key 'classifier'"),
        ("none.pt", "no such probe file"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            attentive(num_heads=4).read_released(tmp_path / name)


def test_released_probe_needs_a_fitting_number_of_attention_heads() -> None:
    with pytest.raises(CheckpointError, match="width 28 is not divisible by 16"):
        attentive(num_heads=16).read_released(FIXTURES / "attentive_v1.pt")


def test_selected_probes_keep_their_parameters() -> None:
    stack = random_stack(
        num_probes=3, width=8, num_attention_heads=2, num_classes=3, dtype=torch.float32
    )
    tokens = torch.randn(2, 5, 8)
    expected = stack(tokens)[2]
    stack.keep([2])
    assert stack.num_probes == len(stack.k_bias) == 1
    torch.testing.assert_close(stack(tokens)[0], expected)
