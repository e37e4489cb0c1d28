import pytest
import torch

from probes.stack.optimizer import StackedOptimizer
from probes.stack.products import GradientMemory, linear, matmul
from tests.probes.stacks import random_stack


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_products_and_gradients_are_those_of_autograd(rows: int) -> None:
    x = torch.randn(3, rows, 20, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 30, 20, dtype=torch.float64, requires_grad=True)
    memory = GradientMemory()
    # Used memory holds anything, and nothing of it may come through.
    for used in [memory.take(weight), memory.take(weight)]:
        memory.give(used.detach().fill_(torch.nan))
    for ours, plain in [
        (linear(x, weight, memory), x @ weight.transpose(1, 2)),
        (matmul(linear(x, weight, memory), weight, memory), x @ weight.mT @ weight),
    ]:
        toward = torch.randn_like(plain)
        got = torch.autograd.grad(ours, (x, weight), toward)
        expected = torch.autograd.grad(plain, (x, weight), toward)
        torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-12)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_memory_is_handed_out_once() -> None:
    memory, like = GradientMemory(), torch.zeros(2, 3)
    given = memory.take(like)
    memory.give(given)
    first, second = memory.take(like), memory.take(like)
    assert first.data_ptr() == given.data_ptr()
    assert second.data_ptr() != given.data_ptr()
    assert first.shape == second.shape == (2, 3)


def test_memory_of_another_type_is_not_used() -> None:
    memory = GradientMemory()
    memory.give(memory.take(torch.zeros(6, dtype=torch.float64)))
    assert memory.take(torch.zeros(2, 3)).dtype == torch.float32


def test_what_was_never_taken_is_not_kept() -> None:
    # Gradients of vectors come from autograd: keeping them would pile them up step by step.
    memory = GradientMemory()
    memory.give(given := torch.ones(6))
    assert memory.take(torch.zeros(6)).data_ptr() != given.data_ptr()


def test_training_steps_do_not_pile_up_memory() -> None:
    stack = random_stack(
        num_probes=2, width=8, num_attention_heads=2, num_classes=3, dtype=torch.float32
    )
    optimizer = StackedOptimizer(stack)
    kept = []
    for _ in range(4):
        stack(torch.ones(2, 3, 8)).sum().backward()
        optimizer.step(lr=[1e-3] * 2, weight_decay=[0.0] * 2)
        kept.append(stack.memory.num_free)
    assert kept == [6] * 4  # q, k, v, fc1, fc2 and the classifier
