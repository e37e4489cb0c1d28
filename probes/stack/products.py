"""Products with stacked weights whose gradients are written into memory that is used again.

The gradient of a stack of weights is one block of up to gigabytes. Left to autograd it is either
laid out transposed and copied, or fetched from and returned to the operating system at every step;
with few rows per batch either takes longer than the arithmetic (measured on CPUs; a GPU's
allocator keeps its memory).

Shape letters: K probes, B samples, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class GradientMemory:
    """Blocks of used gradients, by size; whoever takes one overwrites it."""

    def __init__(self) -> None:
        self._free: dict[int, list[torch.Tensor]] = {}
        self._lent: dict[int, int] = {}

    @property
    def num_free(self) -> int:
        """Number of blocks at hand."""
        return sum(map(len, self._free.values()))

    def take(self, like: torch.Tensor) -> torch.Tensor:
        """Return memory of the shape, type and device of `like`, with any content."""
        size = like.numel()
        self._lent[size] = self._lent.get(size, 0) + 1
        blocks = self._free.get(size)
        block = blocks.pop() if blocks else None
        if block is None or block.dtype != like.dtype or block.device != like.device:
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        return block.view(like.shape)

    def give(self, gradient: torch.Tensor) -> None:
        """Keep a gradient that nobody reads any more, never more of a size than were taken."""
        size = gradient.numel()
        if self._lent.get(size, 0) and gradient.is_contiguous():
            self._lent[size] -= 1
            self._free.setdefault(size, []).append(gradient.view(-1))

    def clear(self) -> None:
        """Let go of every block."""
        self._free.clear()
        self._lent.clear()


class StackedHeads(nn.Module):
    """A module whose parameters all have the K heads of a sweep as their first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = GradientMemory()

    def backward(self, x: torch.Tensor, y: torch.Tensor, losses_of: Losses) -> torch.Tensor:
        """Return the loss of every head, `[K]`, and leave the gradients in the parameters.

        `losses_of` makes losses `[K]` of logits `[K, B, C]` and labels, means over rows.
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
        """Return the product for every k."""
        ctx.save_for_backward(x, weight)
        ctx.memory, ctx.transposed = memory, transposed
        return torch.bmm(x, weight.transpose(1, 2) if transposed else weight)

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, None, None]:
        """Return the gradients of both factors, that of the weights in lent memory."""
        x, weight = ctx.saved_tensors
        out_side, in_side = (gradient, x) if ctx.transposed else (x, gradient)
        of_weight = ctx.memory.take(weight)
        torch.bmm(out_side.transpose(1, 2), in_side, out=of_weight)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.bmm(gradient, weight if ctx.transposed else weight.transpose(1, 2))
        return of_x, of_weight, None, None
