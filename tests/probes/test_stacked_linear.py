import pytest
import torch

from probes.stacked_linear import GradientMemory, linear, matmul


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_products_and_gradients_are_those_of_autograd(rows):
    x = torch.randn(3, rows, 20, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 30, 20, dtype=torch.float64, requires_grad=True)
    memory = GradientMemory()
    # Used memory holds anything, and nothing of it may come through.
    memory.give(torch.full((3, 30, 20), torch.nan, dtype=torch.float64))
    memory.give(torch.full((3, 30, 20), torch.inf, dtype=torch.float64))
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


def test_memory_is_handed_out_once():
    memory, like = GradientMemory(), torch.zeros(2, 3)
    given = torch.ones(6)
    memory.give(given)
    first, second = memory.take(like), memory.take(like)
    assert first.data_ptr() == given.data_ptr()
    assert second.data_ptr() != given.data_ptr()
    assert first.shape == second.shape == (2, 3)


def test_memory_of_another_type_is_not_used():
    memory = GradientMemory()
    memory.give(torch.ones(6, dtype=torch.float64))
    assert memory.take(torch.zeros(2, 3)).dtype == torch.float32
