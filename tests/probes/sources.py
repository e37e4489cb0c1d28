"""Features in memory and small helpers that the probe tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.types import Batch, IntArray, Reads

FIXTURES = Path(__file__).parent.parent / "fixtures"


class MemorySource:
    """A feature source over tensors `[rows, V, ...]`; `shuffle=False` keeps the order of rows.

    `y` is `[rows]`, or 0 and 1 `[rows, C]`.
    """

    def __init__(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        num_classes: int,
        *,
        shuffle: bool = True,
        groups: IntArray | None = None,
    ) -> None:
        self.x, self.y, self.num_classes, self.shuffle = x, y, num_classes, shuffle
        self.groups = groups

    @property
    def reads(self) -> Reads:
        return "tokens" if self.x.ndim == 4 else "vector"

    @property
    def labels(self) -> IntArray:
        return self.y.numpy().astype(np.int64)

    @property
    def width(self) -> int:
        return self.x.shape[-1]

    def __len__(self) -> int:
        return len(self.y)

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        order = torch.arange(len(self))
        if seed is not None and self.shuffle:
            generator = torch.Generator().manual_seed(1000 * seed + number)
            order = torch.randperm(len(self), generator=generator)
        for rows in torch.split(order, batch_size):
            yield Batch(x=self.x[rows], y=self.y[rows], row=rows)

    def subset(self, rows: IntArray) -> MemorySource:
        chosen = torch.from_numpy(np.asarray(rows))
        groups = None if self.groups is None else self.groups[rows]
        return MemorySource(
            self.x[chosen], self.y[chosen], self.num_classes, shuffle=self.shuffle, groups=groups
        )


def blobs(
    *, rows: int, classes: int, width: int, seed: int, spread: float = 1.0, tokens: int = 0
) -> MemorySource:
    """Classes around fixed random centres (the same for every seed), as vectors or as tokens."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % classes
    shape = (rows, 1, tokens, width) if tokens else (rows, 1, width)
    noise = spread * torch.randn(shape, generator=generator)
    x = noise + (centres[y][:, None, None] if tokens else centres[y][:, None])
    return MemorySource(x, y, classes)


def several_labels(
    *, rows: int, classes: int, width: int, seed: int, tokens: int = 0, share: float = 0.3
) -> MemorySource:
    """Every class has a fixed direction, and rows have each of them with probability `share`."""
    directions = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(rows, classes, generator=generator) < share).long()
    shape = (rows, 1, tokens, width) if tokens else (rows, 1, width)
    own = 3 * (y.float() @ directions)
    x = torch.randn(shape, generator=generator) + own[(slice(None), *[None] * (len(shape) - 2))]
    return MemorySource(x, y, classes)


def accuracy(probabilities_KBC: torch.Tensor, y: torch.Tensor) -> list[float]:
    return (probabilities_KBC.argmax(-1) == y).double().mean(dim=1).tolist()
