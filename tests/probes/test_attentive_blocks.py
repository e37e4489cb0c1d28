"""Stacked probes of four blocks against the released numbers and against plain modules."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.encoders.vjepa2 import vjepa2
from bench.types import Head, Silent
from probes.stack import attentive_blocks
from probes.stack.attentive_blocks import AttentiveBlocks
from probes.stack.fit import FittedStack
from probes.stack.optimizer import StackedOptimizer
from probes.stack.released_blocks import from_released, read_released_blocks, to_released
from probes.stack.train_heads import TrainingRecipe, head_losses, train
from tests.probes.plain_blocks import plain_blocks, random_blocks, released_gradients
from tests.probes.sources import FIXTURES, MemorySource

CPU = torch.device("cpu")
META = json.loads((FIXTURES / "attentive_v2_meta.json").read_text())
KEY_BIASES = ("attn.qkv.bias", "xattn.kv.bias")


@pytest.fixture
def golden() -> dict[str, torch.Tensor]:
    arrays = np.load(FIXTURES / "attentive_v2_io.npz")
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut every batch into single rows of single probes, and compute blocks twice."""
    monkeypatch.setitem(attentive_blocks.PART_SIZE, "cpu", 1)


def test_released_probe_gives_the_released_numbers(golden: dict[str, torch.Tensor]) -> None:
    probe = read_released_blocks(FIXTURES / "attentive_v2.pt", num_attention_heads=4)[0]
    assert (probe.num_probes, probe.num_blocks, probe.width) == (1, 4, 28)
    pooled, logits = probe.pool(golden["tokens"]), probe(golden["tokens"])
    loss = head_losses(logits, golden["labels"])
    torch.testing.assert_close(pooled[0], golden["pooled"][:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[0], golden["logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(loss[0], golden["loss"], atol=2e-6, rtol=0)


def test_plain_probe_gives_the_released_numbers(golden: dict[str, torch.Tensor]) -> None:
    stack = read_released_blocks(FIXTURES / "attentive_v2.pt", num_attention_heads=4)[0]
    (plain,) = plain_blocks(stack)
    torch.testing.assert_close(plain(golden["tokens"]), golden["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("num_probes", "heads", "rows", "length", "blocks"),
    [(1, 4, 3, 20, 4), (3, 2, 5, 1, 2), (5, 1, 2, 9, 3)],
)
@pytest.mark.parametrize("small", [False, True], ids=["whole", "parts"])
def test_stack_equals_plain_probes_in_output_and_every_gradient(
    request: pytest.FixtureRequest,
    small: bool,
    num_probes: int,
    heads: int,
    rows: int,
    length: int,
    blocks: int,
) -> None:
    if small:
        request.getfixturevalue("in_small_parts")
    stack = random_blocks(
        num_probes=num_probes, width=12, num_heads=heads, num_classes=5, num_blocks=blocks
    )
    generator = torch.Generator().manual_seed(length)
    tokens = 3 * torch.randn(rows, length, 12, generator=generator).double() + 1
    y = torch.randint(5, (rows,), generator=generator)
    logits, losses = stack(tokens), stack.backward(tokens, y, head_losses)
    gradients = released_gradients(stack)
    for k, plain in enumerate(plain_blocks(stack)):
        expected = plain(tokens)
        loss = functional.cross_entropy(expected, y)
        loss.backward()
        torch.testing.assert_close(logits[k], expected, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(losses[k], loss.detach(), atol=1e-9, rtol=1e-9)
        for name, parameter in plain.named_parameters():
            expected = parameter.grad
            if name.endswith(KEY_BIASES):  # without its gradient's rounding noise
                expected = without_key_bias(name, expected)
            got = gradients[k][name]
            torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9, msg=name)


def without_key_bias(name: str, bias: torch.Tensor) -> torch.Tensor:
    bias = bias.clone()
    width = len(bias) // (3 if "qkv" in name else 2)
    start = width if "qkv" in name else 0
    assert bias[start : start + width].abs().max() < 1e-12
    bias[start : start + width] = 0
    return bias


def test_backward_gives_what_autograd_gives_through_forward() -> None:
    stack = random_blocks(num_probes=2, width=8, num_heads=2, num_classes=3)
    tokens = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(1)).double()
    y = (torch.rand(4, 3, generator=torch.Generator().manual_seed(2)) < 0.5).long()
    head_losses(stack(tokens), y).sum().backward()
    expected = released_gradients(stack)
    stack.backward(tokens, y, head_losses)
    for got, wanted in zip(released_gradients(stack), expected, strict=True):
        for name in wanted:
            torch.testing.assert_close(got[name], wanted[name], atol=1e-12, rtol=1e-10, msg=name)


def test_parts_are_as_many_as_fit_into_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = random_blocks(num_probes=5, width=8, num_heads=2, num_classes=3)
    tokens = torch.zeros(6, 10, 8)  # 80 numbers a row

    def parts(room: int) -> list[tuple[int, int, int, int]]:
        monkeypatch.setitem(attentive_blocks.PART_SIZE, "cpu", room)
        return [(h.start, h.stop, r.start, r.stop) for h, r in stack._parts(tokens)]

    assert parts(80 * 6 * 5) == [(0, 5, 0, 6)]
    assert parts(80 * 6 * 2) == [(0, 2, 0, 6), (2, 4, 0, 6), (4, 6, 0, 6)]
    assert parts(80 * 4)[:3] == [(0, 1, 0, 4), (0, 1, 4, 8), (1, 2, 0, 4)]
    assert len(parts(1)) == 30


def test_two_heads_take_the_released_training_steps() -> None:
    golden = json.loads((FIXTURES / "probe_step_v2.json").read_text())
    encoder = vjepa2(
        weights=str(FIXTURES / "v2_encoder.pt"), num_heads=2, num_frames=8, image_size=32
    )
    arrays = np.load(FIXTURES / "pretrain_step_batches.npz")
    clips = [torch.from_numpy(arrays[f"clip_{i}"]) for i in range(3)]

    def tokens(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.cat([encoder(first).last, encoder(second).last], dim=1)

    one = read_released_blocks(FIXTURES / "attentive_v2.pt", num_attention_heads=4)[0]
    probe = from_released([to_released(one, 0)] * 2, num_attention_heads=4, what="both")
    heads = [
        Head(settings={"lr": head["ref_lr"], "weight_decay": head["ref_wd"]})
        for head in golden["heads"]
    ]
    recipe = TrainingRecipe(epochs=3, batch_size=2, decay_all=True)
    optimizer = StackedOptimizer(probe, decay_all=recipe.decay_all)
    batches = [(tokens(clips[0], clips[1]), [3, 1]), (tokens(clips[1], clips[2]), [0, 4])]
    expected = torch.tensor(golden["initial_logits_train0"])
    torch.testing.assert_close(probe(batches[0][0])[0], expected, atol=5e-5, rtol=0)
    for step, (x, y) in enumerate(batches, start=1):
        lr, decay = recipe.at(step, heads, steps_per_epoch=2)
        probe.backward(x, torch.tensor(y), head_losses)
        optimizer.step(lr=lr, weight_decay=decay)

    views = [clips, [c.flip(-1) for c in clips], [0.5 * c for c in clips]]
    x = torch.stack([tokens(v[0], v[2]) for v in views], dim=1)
    shares = FittedStack(heads=heads, log={}, module=probe).probabilities(x)
    expected = torch.tensor(golden["val_mean_softmax_per_head"])
    torch.testing.assert_close(shares, expected, atol=5e-5, rtol=0)

    for head, after in enumerate(golden["after_per_head"]):
        for name, tensor in to_released(probe, head).items():
            if name.endswith(KEY_BIASES):
                continue  # a third of it moves by rounding noise in the released run
            values, sums = tensor.double().flatten(), after[name]
            cosines = torch.arange(1, len(values) + 1, dtype=torch.float64).cos()
            assert values.sum().item() == pytest.approx(sums["sum"], abs=2e-4), name
            assert values.abs().sum().item() == pytest.approx(sums["abs_sum"], abs=2e-4), name
            assert (values**2).sum().item() == pytest.approx(sums["sq_sum"], abs=2e-4), name
            assert (values @ cosines).item() == pytest.approx(sums["idx_dot"], abs=2e-4), name


def test_training_equals_separate_plain_trainings_that_decay_everything() -> None:
    heads = [
        Head(settings={"lr": lr, "weight_decay": decay})
        for lr in (1e-2, 1e-3)
        for decay in (0.5, 0.0)
    ]
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(10, 1, 7, 8, generator=generator).double()
    source = MemorySource(x, torch.arange(10) % 3, 3)
    stack = random_blocks(num_probes=4, width=8, num_heads=2, num_classes=3, num_blocks=3)
    plain = plain_blocks(stack)
    recipe = TrainingRecipe(epochs=3, batch_size=4, warmup=1.0, start_lr=1e-4, decay_all=True)
    train(stack, heads=heads, recipe=recipe, source=source, seed=1, device=CPU, progress=Silent())
    for head, probe in zip(heads, plain, strict=True):
        optimizer = torch.optim.AdamW(probe.parameters(), betas=(0.9, 0.999), eps=1e-8)
        step, lr = 0, head.settings["lr"]
        for epoch in range(3):
            for batch in source.epoch(epoch, batch_size=4, seed=1):  # 3 steps an epoch
                step += 1
                cosine = 0.5 * (1 + np.cos(np.pi * (step - 3) / 6))
                warm = 1e-4 + step / 3 * (lr - 1e-4)
                for group in optimizer.param_groups:
                    group["lr"] = warm if step < 3 else lr * cosine
                    group["weight_decay"] = head.settings["weight_decay"]
                optimizer.zero_grad()
                functional.cross_entropy(probe(batch.x[:, 0]), batch.y).backward()
                optimizer.step()
    for k, probe in enumerate(plain):
        got = to_released(stack, k)
        for name, tensor in probe.state_dict().items():
            if not name.endswith(KEY_BIASES):
                torch.testing.assert_close(got[name], tensor, atol=1e-8, rtol=1e-8, msg=name)
                continue
            width = len(tensor) // (3 if "qkv" in name else 2)  # the parts that are no key bias
            parts = [got[name].split(width), tensor.split(width)]
            trained = (0, 2) if "qkv" in name else (1,)
            for part in trained:
                torch.testing.assert_close(parts[0][part], parts[1][part], atol=1e-8, rtol=1e-8)


def test_fresh_probes_start_as_released_and_all_alike() -> None:
    stack = AttentiveBlocks(num_probes=2, width=28, num_attention_heads=4, num_classes=7)
    stack.initialise(0)
    first, second = to_released(stack, 0), to_released(stack, 1)
    assert set(first) == set(META["fresh_init"])
    for name, released in META["fresh_init"].items():
        assert torch.equal(first[name], second[name]), name
        assert list(first[name].shape) == released["shape"], name
        # Sample deviations of n values scatter by about 1/sqrt(2n).
        allowed = 5 * released["std"] / (2 * first[name].numel()) ** 0.5
        assert abs(first[name].std().item() - released["std"]) <= allowed + 1e-12, name
    assert first["linear.weight"].abs().max().item() <= 28**-0.5
    # By depth: 0.02/sqrt(2), 0.02/sqrt(4), 0.02/sqrt(6), and the query's block as the last.
    wide = AttentiveBlocks(num_probes=1, width=128, num_attention_heads=4, num_classes=7)
    wide.initialise(0)
    held = to_released(wide, 0)
    for block, name in enumerate(["pooler.blocks.0", "pooler.blocks.1", "pooler.blocks.2"]):
        for part in ("attn.proj", "mlp.fc2"):
            got = held[f"{name}.{part}.weight"].std().item()
            assert got == pytest.approx(0.02 / (2 * block + 2) ** 0.5, rel=0.03), (name, part)
    got = held["pooler.cross_attention_block.mlp.fc2.weight"].std().item()
    assert got == pytest.approx(0.02 / 6**0.5, rel=0.03)


def test_bf16_computes_in_it_and_keeps_weights_and_logits_in_float32(
    golden: dict[str, torch.Tensor],
) -> None:
    probe, _ = read_released_blocks(
        FIXTURES / "attentive_v2.pt", num_attention_heads=4, precision="bf16"
    )
    logits = probe(golden["tokens"])
    assert logits.dtype == probe.query.dtype == torch.float32
    difference = (logits[0] - golden["logits"]).abs().max().item()
    assert 1e-4 < difference < 0.2
    probe.backward(golden["tokens"], golden["labels"], head_losses)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in probe.parameters())
