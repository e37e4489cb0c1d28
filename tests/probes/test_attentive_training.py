"""Training of a stack against the released two-step run and against separate plain trainings."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.encoders.vjepa import vjepa
from bench.types import Head, Silent
from benchmarks.plain_attentive import PlainAttentiveProbe
from probes.stack.attentive_head import AttentiveHeads
from probes.stack.fit import FittedStack
from probes.stack.optimizer import StackedOptimizer
from probes.stack.products import StackedHeads
from probes.stack.released_probe import read_released_probe, to_released
from probes.stack.train_heads import TrainingRecipe, finite_heads, head_losses, train
from tests.probes.sources import FIXTURES, MemorySource
from tests.probes.stacks import KEY_BIAS, plain_probes, random_stack

CPU = torch.device("cpu")


def test_two_released_training_steps_and_a_validation_pass() -> None:
    golden = json.loads((FIXTURES / "probe_step_v1.json").read_text())
    encoder = vjepa(
        weights=str(FIXTURES / "v1_encoder.pt"), num_heads=4, num_frames=8, image_size=32
    )
    arrays = np.load(FIXTURES / "pretrain_step_batches.npz")
    clips = [torch.from_numpy(arrays[f"clip_{i}"]) for i in range(3)]

    def tokens(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.cat([encoder(first).last, encoder(second).last], dim=1)

    probe = read_released_probe(FIXTURES / "attentive_v1.pt", num_attention_heads=4)[0]
    optimizer = StackedOptimizer(probe)
    # Two steps of an epoch, three epochs planned: after step 2 of 6 the cosine stands at 3/4.
    recipe = TrainingRecipe(epochs=3, batch_size=2, final_weight_decay=1e-6, clip_norm=1.0)
    heads = [Head(settings={"lr": 1e-3, "weight_decay": 0.01})]
    batches = [(tokens(clips[0], clips[1]), [3, 1]), (tokens(clips[1], clips[2]), [0, 4])]
    expected = torch.tensor(golden["initial_logits_train0"])
    torch.testing.assert_close(probe(batches[0][0])[0], expected, atol=5e-5, rtol=0)
    for step, (x, y) in enumerate(batches, start=1):
        lr, decay = recipe.at(step, heads, steps_per_epoch=2)
        head_losses(probe(x), torch.tensor(y)).sum().backward()
        optimizer.step(lr=lr, weight_decay=decay, clip_norm=recipe.clip_norm)
    assert (lr[0], decay[0]) == pytest.approx((0.00075, 0.007500250000000001), abs=1e-12)

    views = [clips, [c.flip(-1) for c in clips], [0.5 * c for c in clips]]
    x = torch.stack([tokens(v[0], v[2]) for v in views], dim=1)
    for view, logits in enumerate(golden["val_logits_per_view"]):
        torch.testing.assert_close(probe(x[:, view])[0], torch.tensor(logits), atol=5e-5, rtol=0)
    shares = FittedStack(heads=heads, log={}, module=probe).probabilities(x)
    expected = torch.tensor(golden["val_mean_softmax"])
    torch.testing.assert_close(shares[0], expected, atol=2e-5, rtol=0)

    for name, tensor in to_released(probe, 0).items():
        values, sums = tensor.double().flatten(), golden["after"][name]
        if name == KEY_BIAS:
            continue  # its gradient is rounding noise in the released run, and zero here
        cosines = torch.arange(1, len(values) + 1, dtype=torch.float64).cos()
        assert values.sum().item() == pytest.approx(sums["sum"], abs=2e-4), name
        assert values.abs().sum().item() == pytest.approx(sums["abs_sum"], abs=2e-4), name
        assert (values**2).sum().item() == pytest.approx(sums["sq_sum"], abs=2e-4), name
        assert (values @ cosines).item() == pytest.approx(sums["idx_dot"], abs=2e-4), name


@pytest.mark.parametrize("clip_norm", [0.5, None])
def test_stacked_training_equals_separate_plain_trainings(clip_norm: float | None) -> None:
    heads = [
        Head(settings={"lr": lr, "weight_decay": decay})
        for lr in (1e-2, 1e-3)
        for decay in (0.5, 0.0)
    ]
    source = token_source(rows=10, num_classes=3)
    stack = random_stack(
        num_probes=4, width=16, num_attention_heads=2, num_classes=3, dtype=torch.float64
    )
    plain = plain_probes(stack)
    epochs, batch_size = 3, 4
    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        warmup=1.0,
        final_weight_decay=1e-6,
        clip_norm=clip_norm,
    )
    train(stack, heads=heads, recipe=recipe, source=source, seed=1, device=CPU, progress=Silent())
    for head, probe in zip(heads, plain, strict=True):
        train_plainly(probe, head, source, epochs, batch_size, clip_norm)
    for k, probe in enumerate(plain):
        got = to_released(stack, k)
        for name, tensor in probe.state_dict().items():
            if name == KEY_BIAS:
                width = stack.width
                torch.testing.assert_close(got[name][width:], tensor[width:], atol=1e-9, rtol=1e-9)
            else:
                torch.testing.assert_close(got[name], tensor, atol=1e-9, rtol=1e-9)


def train_plainly(
    probe: PlainAttentiveProbe,
    head: Head,
    source: MemorySource,
    epochs: int,
    batch_size: int,
    clip_norm: float | None,
) -> None:
    """The usual loop over one plain probe, with an epoch (3 steps) of warm-up."""
    optimizer = torch.optim.AdamW(probe.groups(0.0), betas=(0.9, 0.999), eps=1e-8)
    step, total = 0, epochs * math.ceil(len(source) / batch_size)
    for epoch in range(epochs):
        for batch in source.epoch(epoch, batch_size=batch_size, seed=1):
            step += 1
            cosine = 0.5 * (1 + math.cos(math.pi * (step - 3) / (total - 3)))
            share = step / 3 if step < 3 else cosine
            decay = 0.5 * (1 + math.cos(math.pi * step / total))
            decay = 1e-6 + (head.settings["weight_decay"] - 1e-6) * decay
            for group in optimizer.param_groups:
                group["lr"] = head.settings["lr"] * share
                group["weight_decay"] = decay if group["decayed"] else 0.0
            optimizer.zero_grad()
            functional.cross_entropy(probe(batch.x[:, 0]), batch.y).backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(probe.parameters(), clip_norm)
            optimizer.step()


def test_clipping_one_head_leaves_the_others_alone() -> None:
    # Gradients of norm 10 and 0.125: only the first is scaled, to 1. SGD with rate 1 shows it.
    module = StackedHeads()
    module.weight = torch.nn.Parameter(torch.zeros(2, 1, 4))
    module.weight.grad = torch.tensor([[[5.0, 5.0, 5.0, 5.0]], [[0.125, 0.0, 0.0, 0.0]]])
    optimizer = StackedOptimizer(module, kind="sgd", momentum=0.0)
    norms = optimizer.step(lr=[1.0, 1.0], weight_decay=[0.0, 0.0], clip_norm=1.0)
    assert norms.tolist() == pytest.approx([10.0, 0.125])
    assert module.weight[0, 0].tolist() == pytest.approx([-0.5] * 4, abs=1e-6)
    assert module.weight[1, 0].tolist() == [-0.125, 0.0, 0.0, 0.0]


def test_vectors_and_biases_are_not_decayed() -> None:
    module = StackedHeads()
    module.weight = torch.nn.Parameter(torch.ones(1, 2, 2))
    module.norm_weight = torch.nn.Parameter(torch.ones(1, 2))
    module.bias = torch.nn.Parameter(torch.ones(1, 2))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    StackedOptimizer(module).step(lr=[0.5], weight_decay=[0.2])
    assert module.weight.flatten().tolist() == pytest.approx([0.9] * 4)  # 1 - 0.5 * 0.2
    assert module.norm_weight.tolist() == [[1.0, 1.0]]
    assert module.bias.tolist() == [[1.0, 1.0]]


def test_head_that_diverges_is_dropped_and_the_others_are_unaffected() -> None:
    source = token_source(rows=8, num_classes=3, dtype=torch.float32)
    heads = [Head(settings={"lr": 1e-3, "weight_decay": decay}) for decay in (0.0, 0.1, 0.2)]
    recipe = TrainingRecipe(epochs=2, batch_size=4, clip_norm=1.0)

    def trained(break_second: bool) -> tuple[AttentiveHeads, dict[str, int | list[Any]]]:
        stack = random_stack(
            num_probes=3, width=16, num_attention_heads=2, num_classes=3, dtype=torch.float32
        )
        if break_second:
            with torch.no_grad():
                stack.fc1_weight[1, 0, 0] = torch.inf
        facts = train(
            stack,
            heads=heads,
            recipe=recipe,
            source=source,
            seed=0,
            device=CPU,
            progress=Silent(),
        )
        return stack, facts

    healthy, whole = trained(break_second=False)
    broken, facts = trained(break_second=True)
    assert whole["dropped"] == [] and whole["kept"] == [0, 1, 2]
    assert facts["kept"] == [0, 2]
    (dropped,) = facts["dropped"]
    assert dropped["head"] == {"lr": 1e-3, "weight_decay": 0.1}
    assert (dropped["epoch"], dropped["step"]) == (0, 1)
    assert finite_heads(broken).tolist() == [True, False, True]
    for name, parameter in broken.named_parameters():
        assert torch.equal(parameter[[0, 2]], healthy.get_parameter(name)[[0, 2]]), name
    assert [len(losses) for losses in facts["loss_per_epoch"]] == [2, 2]


def token_source(
    *, rows: int, num_classes: int, dtype: torch.dtype = torch.float64
) -> MemorySource:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(rows, 1, 9, 16, generator=generator).to(dtype)
    return MemorySource(x, torch.arange(rows) % num_classes, num_classes)
