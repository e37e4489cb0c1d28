"""Which tokens of a clip are context and which are predicted (V-JEPA, arXiv 2404.08471, 3.2).

A mask is two lists of token indices in (t, y, x) row-major order. The kinds:

`MultiBlock`
    3-D blocks are cut out of the clip and predicted; the rest is the context. As in the released
    code the block size is drawn once per batch, from the batch index alone, and shared by all
    blocks and clips; only the positions differ.
`RandomTube`
    Random patches of the grid, the same at every time step.

A causal multi-block mask is a `MultiBlock` whose context is limited to the first time steps
(`max_temporal_keep`); with it and `RandomTube` the paper's table 4 can be reproduced.

The lists of a batch are truncated to the shortest one. They are in time-major order, so this drops
the latest frames: see `docs/pretraining.md`.

Shape letters: B clips, K tokens of a context or a target, N = t*h*w tokens of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.errors import UsageError

Grid = tuple[int, int, int]
Range = tuple[float, float]

MAX_TRIES = 1000  # to place the blocks of a clip so that some context is left


@dataclass(frozen=True, kw_only=True)
class MultiBlock:
    """Cuts out `num_blocks` blocks of one size; scales are fractions of the grid.

    `aspect` is the height of a block over its width. `max_temporal_keep` is the fraction of time
    steps that the context is limited to, `max_keep` its maximum number of tokens.

    Raises:
        UsageError: a fraction outside (0, 1], an empty range, or a count below 1.
    """

    num_blocks: int
    spatial_scale: Range
    temporal_scale: Range = (1.0, 1.0)
    aspect: Range = (0.75, 1.5)
    max_temporal_keep: float = 1.0
    max_keep: int | None = None

    def __post_init__(self) -> None:
        fractions = (*self.spatial_scale, *self.temporal_scale, self.max_temporal_keep)
        if not all(0 < fraction <= 1 for fraction in fractions):
            raise UsageError(f"{self}: scales and max_temporal_keep must lie within (0, 1].")
        for low, high in (self.spatial_scale, self.temporal_scale, self.aspect):
            if not 0 < low <= high:
                raise UsageError(f"{self}: the range {low} to {high} must be positive, ascending.")
        if self.num_blocks < 1 or (self.max_keep is not None and self.max_keep < 1):
            raise UsageError(f"{self}: num_blocks and max_keep must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class RandomTube:
    """Predicts a fraction `ratio` of the patches, the same ones at every time step.

    Raises:
        UsageError: a ratio outside (0, 1).
    """

    ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UsageError(f"{self}: ratio must lie between 0 and 1.")


MaskKind = MultiBlock | RandomTube


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Token indices: `context` int64 `[B, K]` is encoded, `target` int64 `[B, K']` predicted."""

    context: torch.Tensor
    target: torch.Tensor

    def to(self, device: torch.device) -> Mask:
        """Return the same masks on a device."""
        return Mask(
            context=self.context.to(device, non_blocking=True),
            target=self.target.to(device, non_blocking=True),
        )

    def rows(self, start: int, stop: int) -> Mask:
        """Return the masks of the clips from `start` to before `stop`."""
        return Mask(context=self.context[start:stop], target=self.target[start:stop])


def draw_masks(
    kinds: Sequence[MaskKind],
    grid: Grid,
    num_clips: int,
    *,
    batch: int,
    generator: torch.Generator,
) -> list[Mask]:
    """Return one mask per kind for a batch of clips on the token grid (t, h, w).

    `batch` is the batch index, from 0, and alone decides the block sizes; positions come from
    `generator`.

    Raises:
        UsageError: a mask leaves no context or no target on this grid.
    """
    return [
        _tubes(kind, grid, num_clips, generator)
        if isinstance(kind, RandomTube)
        else _blocks(kind, grid, num_clips, batch, generator)
        for kind in kinds
    ]


def block_size(kind: MultiBlock, grid: Grid, batch: int) -> Grid:
    """Return the block size (t, h, w) of a batch, a function of its index alone."""
    t, h, w = grid
    draws = torch.Generator().manual_seed(batch)
    temporal, spatial, shape = (torch.rand(1, generator=draws).item() for _ in range(3))
    duration = max(1, int(t * _interpolate(kind.temporal_scale, temporal)))
    area = int(h * w * _interpolate(kind.spatial_scale, spatial))
    aspect = _interpolate(kind.aspect, shape)
    height = min(h, round(math.sqrt(area * aspect)))
    width = min(w, round(math.sqrt(area / aspect)))
    return duration, height, width


def _blocks(
    kind: MultiBlock, grid: Grid, num_clips: int, batch: int, generator: torch.Generator
) -> Mask:
    size = block_size(kind, grid, batch)
    is_context = [_draw_context(kind, grid, size, generator) for _ in range(num_clips)]
    contexts = [visible.nonzero().squeeze(1) for visible in is_context]
    targets = [(~visible).nonzero().squeeze(1) for visible in is_context]
    shortest = min(len(context) for context in contexts)
    if kind.max_keep is not None:
        shortest = min(shortest, kind.max_keep)
    fewest = min(len(target) for target in targets)
    if not fewest:
        raise UsageError(f"{kind} leaves nothing to predict on a grid of {grid}; enlarge it.")
    return Mask(
        context=torch.stack([context[:shortest] for context in contexts]),
        target=torch.stack([target[:fewest] for target in targets]),
    )


def _draw_context(
    kind: MultiBlock, grid: Grid, size: Grid, generator: torch.Generator
) -> torch.Tensor:
    """Draw which tokens of one clip lie in no block, bool `[N]`, at least one."""
    t, h, w = grid
    duration, height, width = size
    steps = max(1, int(t * kind.max_temporal_keep))
    for _ in range(MAX_TRIES):
        visible = torch.ones(grid, dtype=torch.bool)
        for _ in range(kind.num_blocks):
            # The three draws are in the order of the released code.
            top = _randint(h - height + 1, generator)
            left = _randint(w - width + 1, generator)
            start = _randint(t - duration + 1, generator)
            visible[start : start + duration, top : top + height, left : left + width] = False
        visible[steps:] = False
        if visible.any():
            return visible.flatten()
    raise UsageError(
        f"{kind} leaves no context on a grid of {grid} in {MAX_TRIES} tries: use fewer or smaller"
        " blocks."
    )


def _tubes(kind: RandomTube, grid: Grid, num_clips: int, generator: torch.Generator) -> Mask:
    t, h, w = grid
    places = h * w
    num_context = int(places * (1 - kind.ratio))
    if not num_context:
        raise UsageError(f"{kind} leaves no context on a grid of {grid}; lower its ratio.")
    orders = torch.stack([torch.randperm(places, generator=generator) for _ in range(num_clips)])
    times = torch.arange(t).view(1, t, 1) * places
    parts = (orders[:, :num_context], orders[:, num_context:])
    context, target = ((p.sort(dim=1).values[:, None] + times).flatten(1) for p in parts)
    return Mask(context=context, target=target)


def _interpolate(ends: Range, fraction: float) -> float:
    return ends[0] + fraction * (ends[1] - ends[0])


def _randint(end: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, end, (1,), generator=generator).item())
