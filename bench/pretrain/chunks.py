"""Which clips of a step each process handles, and with which masks.

Step n (from 1) covers positions (n-1)*B to n*B-1 of the endless order of clips, where B is the
recipe's `batch_size`. `mask_batch` consecutive clips of a step form a group: their mask lists are
cut to a common length and drawn from (seed, step, group) alone. Processes take contiguous parts of
a step, in chunks of equal size that never cross a group boundary. Clips, masks and losses therefore
depend neither on the number of processes nor on the chunk size: mask lists within a group have
equal length, so the mean over equal chunks is the mean over the group.

A chunk is a `range` of clips of the step, counted from 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch

from bench.errors import UsageError
from bench.pretrain.masks import Grid, Mask, MaskKind, draw_masks
from bench.pretrain.recipe import PretrainRecipe
from bench.types import IntArray


def plan_chunks(
    recipe: PretrainRecipe, *, world_size: int, rank: int, micro_batch: int | None = None
) -> tuple[range, ...]:
    """Return the chunks of every step that process `rank` of `world_size` handles, in order.

    `micro_batch` is the number of clips per chunk; None takes as many as groups allow. Every
    process gets the same number of chunks.

    Raises:
        UsageError: the batch is not divisible by processes or chunks, or a chunk crosses a group.
    """
    local = local_batch_size(recipe, world_size=world_size)
    has_groups = recipe.batch_size > recipe.mask_batch
    largest = math.gcd(local, recipe.mask_batch) if has_groups else local
    size = largest if micro_batch is None else micro_batch
    if size < 1 or largest % size:
        fitting = _divisors(largest)[::-1][:8]
        raise UsageError(
            f"chunks of {size} clips do not evenly divide the {local} clips per process within"
            f" groups of mask_batch {recipe.mask_batch}; these do:"
            f" {', '.join(f'{fit} (--accumulate {local // fit})' for fit in fitting)}."
        )
    return tuple(range(s, s + size) for s in range(rank * local, (rank + 1) * local, size))


def local_batch_size(recipe: PretrainRecipe, *, world_size: int, accumulate: int = 1) -> int:
    """Return the number of clips per process and backward pass, of `accumulate` per step.

    Raises:
        UsageError: the batch is not divisible.
    """
    batch, parts = recipe.batch_size, world_size * accumulate
    if parts < 1 or batch % parts:
        over = f"{world_size} processes" + (f" x {accumulate} chunks" if accumulate != 1 else "")
        below = [str(d) for d in _divisors(batch) if d < parts][-1:]
        above = [str(d) for d in _divisors(batch) if d > parts][:1]
        raise UsageError(
            f"batch_size {batch} of recipe {recipe.name} is not divisible by {over}; use"
            f" {' or '.join(below + above)} in total, or --set batch_size to a multiple."
        )
    return batch // parts


def chunk_positions(
    recipe: PretrainRecipe, chunks: Sequence[range], *, first_step: int = 1
) -> Iterator[IntArray]:
    """Yield the positions int64 `[clips]` of each chunk of each step, endlessly."""
    for step in itertools.count(first_step):
        for chunk in chunks:
            start = (step - 1) * recipe.batch_size
            yield np.arange(start + chunk.start, start + chunk.stop, dtype=np.int64)


def chunk_masks(recipe: PretrainRecipe, chunk: range, *, step: int, seed: int) -> list[Mask]:
    """Return the masks, one per kind, for the clips of a chunk of step `step` (from 1).

    If the batch is smaller than a group, masks for a whole group are drawn and the first ones used,
    so that a small batch keeps the statistics of the recipe.
    """
    group = chunk.start // recipe.mask_batch
    assert group == (chunk.stop - 1) // recipe.mask_batch, (chunk, recipe.mask_batch)
    masks = _group_masks(recipe.masks, recipe.encoder.grid, recipe.mask_batch, (seed, step, group))
    first = group * recipe.mask_batch
    return [mask.rows(chunk.start - first, chunk.stop - first) for mask in masks]


# Chunks of one group are consecutive, so each group is drawn once.
@lru_cache(maxsize=1)
def _group_masks(
    kinds: tuple[MaskKind, ...], grid: Grid, num_clips: int, key: tuple[int, int, int]
) -> list[Mask]:
    """Draw the masks of one group; `key` is (seed, step, group)."""
    mixed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
    generator = torch.Generator().manual_seed(mixed)
    return draw_masks(kinds, grid, num_clips, batch=key[1] - 1, generator=generator)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
