"""Products with stacked weights whose gradients are written into reused memory.

The gradient of a stack of weights is one block of up to gigabytes. Autograd would either lay it out
transposed and copy it, or allocate and free it at every step; with few rows per batch either takes
longer than the arithmetic (measured on CPUs; a GPU's allocator keeps its memory).

Shape letters: K probes, B samples, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class GradientMemory:
    """A pool of gradient blocks by size; the contents of a taken block are arbitrary."""

    def __init__(self) -> None:
        self._free: dict[int, list[torch.Tensor]] = {}
        self._num_taken: dict[int, int] = {}

    @property
    def num_free(self) -> int:
        """Number of free blocks."""
        return sum(map(len, self._free.values()))

    def take(self, like: torch.Tensor) -> torch.Tensor:
        """Return uninitialised memory of the shape, dtype and device of `like`."""
        size = like.numel()
        self._num_taken[size] = self._num_taken.get(size, 0) + 1
        blocks = self._free.get(size)
        block = blocks.pop() if blocks else None
        if block is None or block.dtype != like.dtype or block.device != like.device:
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        return block.view(like.shape)

    def give(self, gradient: torch.Tensor) -> None:
        """Return an unused gradient to the pool, at most as many per size as were taken."""
        size = gradient.numel()
        if self._num_taken.get(size, 0) and gradient.is_contiguous():
            self._num_taken[size] -= 1
            self._free.setdefault(size, []).append(gradient.view(-1))

    def clear(self) -> None:
        """Release every block."""
        self._free.clear()
        self._num_taken.clear()


class StackedHeads(nn.Module):
    """A module whose parameters all have the K heads of a sweep as their first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = GradientMemory()

    def backward(self, x: torch.Tensor, y: torch.Tensor, losses_of: Losses) -> torch.Tensor:
        """Return the loss of every head, `[K]`, and leave the gradients in the parameters.

        `losses_of` maps logits `[K, B, C]` and labels to losses `[K]`, averaged over rows.
        """
        losses = losses_of(self(x), y)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()


def linear(x_KBI: torch.Tensor, weight_KOI: torch.Tensor, memory: GradientMemory) -> torch.Tensor:
    """Return `x @ weight^T` for every k, `[K, B, O]`."""
    product: torch.Tensor = _Product.apply(x_KBI, weight_KOI, memory, True)
    return product


def matmul(x_KBO: torch.Tensor, weight_KOI: torch.Tensor, memory: GradientMemory) -> torch.Tensor:
    """Return `x @ weight` for every k, `[K, B, I]`."""
    product: torch.Tensor = _Product.apply(x_KBO, weight_KOI, memory, False)
    return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, memory: GradientMemory, transposed: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.memory, ctx.transposed = memory, transposed
        return torch.bmm(x, weight.transpose(1, 2) if transposed else weight)

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, None, None]:
        """Return the gradients of both factors, that of the weights in pooled memory."""
        x, weight = ctx.saved_tensors
        out_side, in_side = (gradient, x) if ctx.transposed else (x, gradient)
        of_weight = ctx.memory.take(weight)
        torch.bmm(out_side.transpose(1, 2), in_side, out=of_weight)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.bmm(gradient, weight if ctx.transposed else weight.transpose(1, 2))
        return of_x, of_weight, None, None
