"""Which tokens of a clip are shown and which are predicted (V-JEPA, arXiv 2404.08471, section 3.2).

A mask is two lists of token numbers in (t, y, x) row-major order. The kinds:

`MultiBlock`
    3-D blocks are cut out of the clip; the context is what is left, the blocks are predicted. As
    in the released code the size of the blocks is drawn once per batch, from the batch's number
    alone, and is shared by all blocks and all clips; only the positions differ.
`RandomTube`
    Random places of the patch grid, the same at every time step.

A causal multi-block mask is a `MultiBlock` whose context is limited to the first time steps
(`max_temporal_keep`); with it and `RandomTube` the paper's table 4 can be run.

The lists of a batch are cut to the shortest one, from the end. They are in time-major order, so
this drops the latest frames: see `docs/pretraining.md`.

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
    """`num_blocks` blocks of one size are cut out; scales are shares of the grid.

    `aspect` is the height of a block over its width. `max_temporal_keep` is the share of the time
    steps that a context may lie in, `max_keep` the largest number of its tokens.

    Raises:
        UsageError: a share outside of 0 to 1, a range that ends before it begins.
    """

    num_blocks: int
    spatial_scale: Range
    temporal_scale: Range = (1.0, 1.0)
    aspect: Range = (0.75, 1.5)
    max_temporal_keep: float = 1.0
    max_keep: int | None = None

    def __post_init__(self) -> None:
        shares = (*self.spatial_scale, *self.temporal_scale, self.max_temporal_keep)
        if not all(0 < share <= 1 for share in shares):
            raise UsageError(f"{self}: scales and max_temporal_keep are shares, above 0 and to 1.")
        for low, high in (self.spatial_scale, self.temporal_scale, self.aspect):
            if not 0 < low <= high:
                raise UsageError(f"{self}: the range {low} to {high} ends before it begins.")
        if self.num_blocks < 1 or (self.max_keep is not None and self.max_keep < 1):
            raise UsageError(f"{self}: num_blocks and max_keep must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class RandomTube:
    """A share `ratio` of the places is predicted, at every time step the same places.

    Raises:
        UsageError: a ratio that is no share.
    """

    ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UsageError(f"{self}: ratio is a share between 0 and 1.")


MaskKind = MultiBlock | RandomTube


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Token numbers of a batch: `context` int64 `[B, K]` is shown, `target` `[B, K']` predicted."""

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
    """Return one mask of every kind for a batch of clips on the token grid (t, h, w).

    `batch` is the number of the batch, from 0; it alone decides the sizes of blocks. Positions
    come from `generator`.

    Raises:
        UsageError: masks that leave no context or no target on this grid.
    """
    return [
        _tubes(kind, grid, num_clips, generator)
        if isinstance(kind, RandomTube)
        else _blocks(kind, grid, num_clips, batch, generator)
        for kind in kinds
    ]


def block_size(kind: MultiBlock, grid: Grid, batch: int) -> Grid:
    """Return the size (t, h, w) of the blocks of a batch, a function of its number alone."""
    t, h, w = grid
    draws = torch.Generator().manual_seed(batch)
    along, over, shape = (torch.rand(1, generator=draws).item() for _ in range(3))
    duration = max(1, int(t * _between(kind.temporal_scale, along)))
    area = int(h * w * _between(kind.spatial_scale, over))
    aspect = _between(kind.aspect, shape)
    height = min(h, round(math.sqrt(area * aspect)))
    width = min(w, round(math.sqrt(area / aspect)))
    return duration, height, width


def _blocks(
    kind: MultiBlock, grid: Grid, num_clips: int, batch: int, generator: torch.Generator
) -> Mask:
    size = block_size(kind, grid, batch)
    shown = [_uncovered(kind, grid, size, generator) for _ in range(num_clips)]
    contexts = [kept.nonzero().squeeze(1) for kept in shown]
    targets = [(~kept).nonzero().squeeze(1) for kept in shown]
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


def _uncovered(
    kind: MultiBlock, grid: Grid, size: Grid, generator: torch.Generator
) -> torch.Tensor:
    """Draw which tokens of one clip lie in no block, bool `[N]`; at least one does."""
    t, h, w = grid
    duration, height, width = size
    steps = max(1, int(t * kind.max_temporal_keep))
    for _ in range(MAX_TRIES):
        shown = torch.ones(grid, dtype=torch.bool)
        for _ in range(kind.num_blocks):
            # The order of the three draws is that of the released code.
            top = _below(h - height + 1, generator)
            left = _below(w - width + 1, generator)
            start = _below(t - duration + 1, generator)
            shown[start : start + duration, top : top + height, left : left + width] = False
        shown[steps:] = False
        if shown.any():
            return shown.flatten()
    raise UsageError(
        f"{kind} leaves no context on a grid of {grid} in {MAX_TRIES} tries: take fewer or smaller"
        " blocks."
    )


def _tubes(kind: RandomTube, grid: Grid, num_clips: int, generator: torch.Generator) -> Mask:
    t, h, w = grid
    places = h * w
    num_shown = int(places * (1 - kind.ratio))
    if not num_shown:
        raise UsageError(f"{kind} leaves no context on a grid of {grid}; lower its ratio.")
    orders = torch.stack([torch.randperm(places, generator=generator) for _ in range(num_clips)])
    times = torch.arange(t).view(1, t, 1) * places
    parts = (orders[:, :num_shown], orders[:, num_shown:])
    context, target = ((p.sort(dim=1).values[:, None] + times).flatten(1) for p in parts)
    return Mask(context=context, target=target)


def _between(ends: Range, share: float) -> float:
    return ends[0] + share * (ends[1] - ends[0])


def _below(end: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, end, (1,), generator=generator).item())
