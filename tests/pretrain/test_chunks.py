import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import UsageError
from bench.pretrain.chunks import chunk_masks, chunk_positions, local_batch_size, plan_chunks
from bench.pretrain.masks import MultiBlock, block_size
from bench.pretrain.recipe import PretrainRecipe
from tests.pretrain.two_processes import RECIPE


def recipe(batch_size: int = 8, mask_batch: int = 4, **changes: Any) -> PretrainRecipe:
    return dataclasses.replace(RECIPE, batch_size=batch_size, mask_batch=mask_batch, **changes)


def masks_of_step(
    made: PretrainRecipe, world_size: int, micro_batch: int, step: int = 3, seed: int = 0
) -> list[list[list[int]]]:
    """Contexts and targets of every clip of a step, in order, over all processes."""
    clips = []
    for rank in range(world_size):
        for chunk in plan_chunks(made, world_size=world_size, rank=rank, micro_batch=micro_batch):
            masks = chunk_masks(made, chunk, step=step, seed=seed)
            clips += [
                [lists[i].tolist() for mask in masks for lists in (mask.context, mask.target)]
                for i in range(len(chunk))
            ]
    return clips


@pytest.mark.parametrize(
    ("batch", "group", "world_size"),
    [*itertools.product([1, 6, 8, 24, 30], [1, 4, 6, 24], [1, 2, 3, 8])],
)
def test_processes_split_a_step_evenly_and_chunks_stay_inside_a_group(
    batch: int, group: int, world_size: int
) -> None:
    made = recipe(batch, group)
    if batch % world_size:
        with pytest.raises(UsageError, match=f"batch_size {batch}"):
            plan_chunks(made, world_size=world_size, rank=0)
        return
    plans = [plan_chunks(made, world_size=world_size, rank=rank) for rank in range(world_size)]
    assert [clip for plan in plans for chunk in plan for clip in chunk] == list(range(batch))
    assert len({len(plan) for plan in plans}) == 1
    sizes = {len(chunk) for plan in plans for chunk in plan}
    assert len(sizes) == 1
    # The largest size that works, by trying them all.
    share = batch // world_size
    fits = [
        size
        for size in range(1, share + 1)
        if share % size == 0
        and all(s // group == (s + size - 1) // group for s in range(0, batch, size))
    ]
    assert sizes == {max(fits)}


def test_a_process_takes_its_share_in_chunks_of_the_size_asked_for() -> None:
    made = recipe(16, 8)
    assert plan_chunks(made, world_size=2, rank=1, micro_batch=4) == (range(8, 12), range(12, 16))


def test_a_share_is_split_by_accumulation() -> None:
    assert local_batch_size(recipe(24, 24), world_size=2) == 12
    assert local_batch_size(recipe(24, 24), world_size=2, accumulate=3) == 4


def test_positions_go_on_from_step_to_step() -> None:
    chunks = plan_chunks(recipe(8, 4), world_size=2, rank=1, micro_batch=2)
    made = list(itertools.islice(chunk_positions(recipe(8, 4), chunks, first_step=3), 4))
    assert [p.tolist() for p in made] == [[20, 21], [22, 23], [28, 29], [30, 31]]
    assert all(p.dtype == np.int64 for p in made)


def test_masks_do_not_depend_on_processes_and_chunks() -> None:
    expected = masks_of_step(recipe(), 1, None)
    assert len(expected) == 8
    for world_size, micro_batch in ((1, 1), (2, None), (2, 2), (4, 1), (8, None)):
        assert masks_of_step(recipe(), world_size, micro_batch) == expected


def test_a_batch_below_the_mask_batch_has_the_first_masks_of_a_whole_group() -> None:
    assert masks_of_step(recipe(3, 8), 3, None) == masks_of_step(recipe(8, 8), 1, None)[:3]


def test_masks_differ_between_groups_steps_and_seeds() -> None:
    first = masks_of_step(recipe(), 1, None)
    groups = {
        str(first[:4]),
        str(first[4:]),
        str(masks_of_step(recipe(), 1, None, step=4)[:4]),
        str(masks_of_step(recipe(), 1, None, seed=1)[:4]),
    }
    assert len(groups) == 4


def test_all_groups_of_a_step_have_blocks_of_the_size_of_batch_number_step_minus_one() -> None:
    kind = MultiBlock(num_blocks=1, spatial_scale=(0.2, 0.9), temporal_scale=(0.2, 1.0))
    predictor = dataclasses.replace(RECIPE.predictor, num_mask_tokens=1)
    made = recipe(masks=(kind,), predictor=predictor)
    for step in (1, 2, 7):
        t, h, w = block_size(kind, made.encoder.grid, step - 1)
        for _, target in masks_of_step(made, 1, None, step=step):
            assert len(target) == t * h * w


def test_drawing_masks_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    chunk_masks(recipe(), range(4), step=9, seed=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_that_do_not_divide_the_batch_are_refused_with_some_that_do() -> None:
    with pytest.raises(UsageError, match=r"48 of recipe tiny .* by 5 processes; use 4 or 6"):
        plan_chunks(recipe(48, 24), world_size=5, rank=0)
    with pytest.raises(UsageError, match="by 2 processes x 5 chunks; use 8 or 12 in total"):
        local_batch_size(recipe(48, 24), world_size=2, accumulate=5)


def test_chunks_that_cross_groups_are_refused_with_sizes_that_work() -> None:
    with pytest.raises(UsageError, match=r"12 \(--accumulate 4\), 6 \(--accumulate 8\)"):
        plan_chunks(recipe(48, 12), world_size=1, rank=0, micro_batch=24)
    with pytest.raises(UsageError, match="chunks of 0 clips"):
        plan_chunks(recipe(48, 12), world_size=1, rank=0, micro_batch=0)
