"""The folded, stacked probes against the released numbers and against plain modules."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.plain_attentive import PlainAttentiveProbe
from probes.stack.attentive_head import AttentiveHeads
from probes.stack.released_probe import read_released_probe, to_released
from probes.stack.train_heads import head_losses
from tests.probes.sources import FIXTURES
from tests.probes.stacks import KEY_BIAS, plain_probes, random_stack, released_gradients

META = json.loads((FIXTURES / "attentive_v1_meta.json").read_text())


@pytest.fixture
def golden() -> dict[str, torch.Tensor]:
    arrays = np.load(FIXTURES / "attentive_v1_io.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def test_released_probe_gives_the_released_numbers(golden: dict[str, torch.Tensor]) -> None:
    probe = read_released_probe(FIXTURES / "attentive_v1.pt", num_attention_heads=4)[0]
    pooled, logits = probe.pool(golden["tokens"]), probe(golden["tokens"])
    loss = head_losses(logits, golden["labels"])
    torch.testing.assert_close(pooled[0], golden["pooled"][:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[0], golden["logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(loss[0], golden["loss"], atol=2e-6, rtol=0)


def test_gradient_norms_are_the_released_ones(golden: dict[str, torch.Tensor]) -> None:
    probe = read_released_probe(FIXTURES / "attentive_v1.pt", num_attention_heads=4)[0]
    head_losses(probe(golden["tokens"]), golden["labels"]).sum().backward()
    (gradients,) = released_gradients(probe)
    for name, expected in META["grad_norms"].items():
        if expected is None:
            assert "xattn.proj" in name
            assert not gradients[name].any()
        else:
            assert gradients[name].norm().item() == pytest.approx(expected, abs=1e-5), name


def test_plain_probe_gives_the_released_numbers(golden: dict[str, torch.Tensor]) -> None:
    stack = read_released_probe(FIXTURES / "attentive_v1.pt", num_attention_heads=4)[0]
    (plain,) = plain_probes(stack)
    torch.testing.assert_close(plain(golden["tokens"]), golden["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["f64", "f32"]
)
@pytest.mark.parametrize(
    ("num_probes", "heads", "rows", "length"), [(1, 4, 3, 50), (3, 2, 5, 1), (7, 1, 1, 33)]
)
def test_stack_equals_plain_probes_in_output_and_every_gradient(
    dtype: torch.dtype, tolerance: float, num_probes: int, heads: int, rows: int, length: int
) -> None:
    stack = random_stack(
        num_probes=num_probes, width=24, num_attention_heads=heads, num_classes=5, dtype=dtype
    )
    generator = torch.Generator().manual_seed(length)
    tokens = (3 * torch.randn(rows, length, 24, generator=generator) + 1).to(dtype)
    y = torch.randint(5, (rows,), generator=generator)
    logits = stack(tokens)
    head_losses(logits, y).sum().backward()
    gradients = released_gradients(stack)
    for k, plain in enumerate(plain_probes(stack)):
        expected = plain(tokens)
        functional.cross_entropy(expected, y).backward()
        torch.testing.assert_close(logits[k], expected, atol=tolerance, rtol=tolerance)
        for name, parameter in plain.named_parameters():
            got = gradients[k][name]
            if parameter.grad is None:
                assert "xattn.proj" in name
                continue
            reference = parameter.grad
            scale = max(1.0, reference.abs().max().item())
            assert (got - reference).abs().max().item() <= tolerance * scale, (k, name)


def test_probes_of_one_stack_do_not_see_each_other() -> None:
    stack = random_stack(
        num_probes=3, width=8, num_attention_heads=2, num_classes=4, dtype=torch.float64
    )
    tokens = torch.randn(2, 6, 8, dtype=torch.float64)
    before = stack(tokens)
    with torch.no_grad():
        stack.q_weight[1] = torch.nan
    after = stack(tokens)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert after[1].isnan().all()


def test_key_bias_does_not_move_the_output() -> None:
    stack = random_stack(
        num_probes=1, width=8, num_attention_heads=2, num_classes=4, dtype=torch.float64
    )
    tokens = torch.randn(2, 6, 8, dtype=torch.float64)
    (plain,) = plain_probes(stack)
    with torch.no_grad():
        dict(plain.named_parameters())[KEY_BIAS][:8] += 5.0
    torch.testing.assert_close(plain(tokens), stack(tokens)[0], atol=1e-12, rtol=1e-12)


def test_fresh_probes_start_alike_and_as_released() -> None:
    stack = AttentiveHeads(num_probes=2, width=28, num_attention_heads=4, num_classes=7)
    stack.initialise(seed=3)
    first, second = to_released(stack, 0), to_released(stack, 1)
    for name, released in META["fresh_init"].items():
        assert torch.equal(first[name], second[name]), name
        assert list(first[name].shape) == released["shape"], name
        if "xattn.proj" in name:
            continue  # never applied, so a probe made here has none
        # Sample deviations of n values scatter by about 1/sqrt(2n); 28 values of a query: 0.13.
        allowed = 5 * released["std"] / (2 * first[name].numel()) ** 0.5
        assert abs(first[name].std().item() - released["std"]) <= allowed + 1e-12, name
    assert first["linear.weight"].abs().max().item() <= 28**-0.5


def test_initialisation_follows_the_seed() -> None:
    def query(seed: int) -> torch.Tensor:
        stack = AttentiveHeads(num_probes=1, width=8, num_attention_heads=2, num_classes=3)
        stack.initialise(seed)
        return stack.query.detach()

    assert torch.equal(query(1), query(1))
    assert not torch.equal(query(1), query(2))


def test_plain_probe_decays_seven_of_seventeen_tensors() -> None:
    plain = PlainAttentiveProbe(width=8, num_attention_heads=2, num_classes=3)
    assert [len(g["params"]) for g in plain.groups(0.01)] == [7, 10]
