import json
import math
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.pretrain.masks import Mask, MultiBlock, RandomTube, block_size, draw_masks

FIXTURES = Path(__file__).parent.parent / "fixtures"
STATS = json.loads((FIXTURES / "masks_stats.json").read_text())
SHORT = MultiBlock(num_blocks=8, spatial_scale=(0.15, 0.15))
LONG = MultiBlock(num_blocks=2, spatial_scale=(0.7, 0.7))
KINDS = {"short_range": SHORT, "long_range": LONG}
GRIDS = {"224": (8, 14, 14), "256_16f": (8, 16, 16), "384": (8, 24, 24)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def released_run(
    size: str, clips: int, calls: int, max_keep: int | None = None
) -> list[list[Mask]]:
    """Masks of `calls` batches, short- and long-range, from one stream as in a released run."""
    kinds = [replace(kind, max_keep=max_keep) for kind in KINDS.values()]
    draws = generator()
    return [
        draw_masks(kinds, GRIDS[size], clips, batch=batch, generator=draws)
        for batch in range(calls)
    ]


@pytest.mark.parametrize("size", ["224", "384"])
@pytest.mark.parametrize("name", KINDS)
def test_block_sizes_are_the_released_ones_for_the_first_32_batches(size: str, name: str) -> None:
    wanted = STATS["block_size_t_h_w_for_seed_0_to_31"][f"{size}/{name}"]
    assert [list(block_size(KINDS[name], GRIDS[size], batch)) for batch in range(32)] == wanted


def test_block_size_of_batch_0_by_hand() -> None:
    # The golden uniforms of seed 0: 0.768 picks no area (0.15 to 0.15), 0.0885 an aspect of 0.816.
    # area int(196 * 0.15) = 29: height round(sqrt(29 * 0.816)) = 5, width round(sqrt(29 / 0.816)).
    uniforms = STATS["three_uniforms_for_seed_0_to_3 (temporal, spatial, aspect)"][0]
    aspect = 0.75 + uniforms[2] * 0.75
    assert (round(math.sqrt(29 * aspect)), round(math.sqrt(29 / aspect))) == (5, 6)
    assert block_size(SHORT, (8, 14, 14), 0) == (8, 5, 6)
    # Half of the first range of time steps: int(8 * (0.25 + 0.496 * 0.5)) = 3.
    assert block_size(replace(SHORT, temporal_scale=(0.25, 0.75)), (8, 14, 14), 0)[0] == 3


def test_masks_of_the_first_released_batch_are_reproduced_exactly() -> None:
    # The released code draws all clips of the short-range mask first, then all of the long-range.
    masks = draw_masks(list(KINDS.values()), (8, 14, 14), 2, batch=0, generator=generator(0))
    for name, mask in zip(KINDS, masks, strict=True):
        wanted = STATS["exact_example_torch_seed0_bs2"][name]
        assert mask.context.tolist() == wanted["mask_enc"]
        assert mask.target.shape == (2, wanted["mask_pred_len"])
        assert mask.target.sum(dim=1).tolist() == wanted["mask_pred_sum"]
        assert mask.target[:, -1].tolist() == wanted["mask_pred_last"]


def within_3_standard_errors(lengths: list[int], golden: dict[str, float]) -> bool:
    found = torch.tensor(lengths, dtype=torch.float64)
    errors = (found.std() / math.sqrt(len(found)), golden["std"] / math.sqrt(golden["n"]))
    return abs(found.mean() - golden["mean"]) <= 3 * math.hypot(*errors)


@pytest.mark.parametrize(
    ("golden", "size", "clips", "calls", "max_keep"),
    [
        ("v1_224", "224", 1, 1000, None),
        ("v1_224", "224", 24, 150, None),
        ("v1_384", "384", 1, 800, None),
        ("v1_384", "384", 10, 150, None),
        ("v2_256_16f", "256_16f", 24, 100, None),
        ("v2_256_16f_max_keep_200", "256_16f", 4, 200, 200),
    ],
)
def test_numbers_of_tokens_are_those_of_the_released_code(
    golden: str, size: str, clips: int, calls: int, max_keep: int | None
) -> None:
    drawn = released_run(size, clips, calls, max_keep)
    for number, name in enumerate(KINDS):
        wanted = STATS[f"{golden}/{name}/bs{clips}"]
        contexts = [masks[number].context.shape[1] for masks in drawn]
        targets = [masks[number].target.shape[1] for masks in drawn]
        assert within_3_standard_errors(contexts, wanted["context_tokens"])
        assert within_3_standard_errors(targets, wanted["predicted_tokens"])


@pytest.mark.parametrize("name", KINDS)
def test_cutting_lists_from_the_end_leaves_the_context_in_early_frames(name: str) -> None:
    number = list(KINDS).index(name)
    drawn = released_run("224", 24, 150)
    steps = torch.stack(
        [torch.bincount(masks[number].context.flatten() // 196, minlength=8) for masks in drawn]
    )
    per_clip = steps.double() / 24
    wanted = torch.tensor(STATS[f"context_tokens_per_time_step_bs24/{name}"], dtype=torch.float64)
    # The golden does not say of how many batches it is the mean; taken to be as many as here.
    errors = per_clip.std(dim=0) * math.sqrt(2 / len(drawn))
    assert ((per_clip.mean(dim=0) - wanted).abs() <= 3 * errors).all()
    assert per_clip.mean(dim=0)[0] > 15 * per_clip.mean(dim=0)[7]


def test_context_of_a_single_clip_is_spread_evenly_over_time() -> None:
    context = torch.cat([masks[0].context[0] for masks in released_run("224", 1, 1000)])
    counts = torch.bincount(context // 196, minlength=8)
    assert counts.tolist() == [counts[0]] * 8


def test_lists_are_cut_to_their_first_entries() -> None:
    whole = [generator(5), generator(5)]
    (cut,) = draw_masks([LONG], (8, 14, 14), 6, batch=3, generator=whole[0])
    for row in range(6):  # the same stream, one clip at a time, is not cut
        (one,) = draw_masks([LONG], (8, 14, 14), 1, batch=3, generator=whole[1])
        assert torch.equal(cut.context[row], one.context[0, : cut.context.shape[1]])
        assert torch.equal(cut.target[row], one.target[0, : cut.target.shape[1]])


def test_context_is_no_longer_than_max_keep() -> None:
    kind = replace(SHORT, max_keep=50)
    (mask,) = draw_masks([kind], (8, 14, 14), 3, batch=0, generator=generator())
    (free,) = draw_masks([SHORT], (8, 14, 14), 3, batch=0, generator=generator())
    assert torch.equal(mask.context, free.context[:, :50])
    assert torch.equal(mask.target, free.target)


def test_random_tubes_are_the_same_places_at_every_time_step() -> None:
    (mask,) = draw_masks([RandomTube(ratio=0.9)], (8, 14, 14), 4, batch=0, generator=generator())
    golden = STATS["random_tube_ratio0.9_224"]
    assert mask.context.shape == (4, golden["context_tokens"])
    assert mask.target.shape == (4, golden["predicted_tokens"])
    for part in (mask.context, mask.target):
        steps = part.view(4, 8, -1)
        assert torch.equal(steps, steps[:, :1] + 196 * torch.arange(8)[:, None])
    assert len({tuple(row) for row in mask.context.tolist()}) == 4


@pytest.mark.parametrize(("frames", "steps"), [(6, 3), (12, 6)])
def test_causal_context_lies_in_the_first_frames_and_the_rest_is_predicted(
    frames: int, steps: int
) -> None:
    # Tubelets of 2 frames: the first 6 of 16 frames are 3 of 8 time steps.
    kind = replace(SHORT, max_temporal_keep=frames / 16)
    (mask,) = draw_masks([kind], (8, 14, 14), 1, batch=0, generator=generator())
    assert mask.context.max() < steps * 196
    assert mask.context.max() >= (steps - 1) * 196
    late = torch.arange(steps * 196, 8 * 196)
    assert torch.isin(late, mask.target).all()


BLOCKS = st.builds(
    MultiBlock,
    num_blocks=st.integers(1, 4),
    spatial_scale=st.just((0.1, 0.4)),
    temporal_scale=st.sampled_from([(1.0, 1.0), (0.25, 0.75)]),
    max_temporal_keep=st.sampled_from([0.01, 0.5, 1.0]),
    max_keep=st.sampled_from([None, 1, 7]),
)
TUBES = st.builds(RandomTube, ratio=st.floats(0.1, 0.8))


@settings(max_examples=60, deadline=None)
@given(
    kind=st.one_of(BLOCKS, TUBES),
    grid=st.tuples(st.integers(1, 5), st.integers(4, 7), st.integers(4, 7)),
    clips=st.integers(1, 5),
    batch=st.integers(0, 10_000),
    seed=st.integers(0, 99),
)
def test_context_and_target_are_disjoint_ascending_lists_of_tokens(
    kind: MultiBlock | RandomTube, grid: tuple[int, int, int], clips: int, batch: int, seed: int
) -> None:
    (mask,) = draw_masks([kind], grid, clips, batch=batch, generator=generator(seed))
    for tokens in (mask.context, mask.target):
        assert tokens.dtype == torch.int64
        assert tokens.ndim == 2
        assert len(tokens) == clips
        assert tokens.shape[1] > 0
        assert (tokens.diff(dim=1) > 0).all()
        assert tokens.min() >= 0
        assert tokens.max() < math.prod(grid)
    for shown, hidden in zip(mask.context.tolist(), mask.target.tolist(), strict=True):
        assert not set(shown) & set(hidden)
    if clips == 1 and getattr(kind, "max_keep", None) is None:  # nothing was cut
        assert mask.context.shape[1] + mask.target.shape[1] == math.prod(grid)


def test_hidden_tokens_of_one_clip_are_the_union_of_blocks_of_the_drawn_size() -> None:
    # Brute force: one block, so that the hidden tokens are a full box of the size of the batch.
    kind, grid = MultiBlock(num_blocks=1, spatial_scale=(0.3, 0.5)), (3, 9, 7)
    for batch in range(20):
        (mask,) = draw_masks([kind], grid, 1, batch=batch, generator=generator(batch))
        hidden = torch.zeros(grid, dtype=torch.bool).flatten()
        hidden[mask.target[0]] = True
        places = hidden.view(grid).nonzero()
        size = places.max(dim=0).values - places.min(dim=0).values + 1
        assert tuple(size.tolist()) == block_size(kind, grid, batch)
        assert hidden.sum() == size.prod()


def test_same_seed_gives_the_same_masks_and_global_state_is_not_read() -> None:
    kinds = [SHORT, RandomTube(ratio=0.5)]
    torch.manual_seed(1)
    first = draw_masks(kinds, (4, 14, 14), 3, batch=2, generator=generator(7))
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = draw_masks(kinds, (4, 14, 14), 3, batch=2, generator=generator(7))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.context, other.context)
        assert torch.equal(one.target, other.target)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_are_the_masks_of_some_clips() -> None:
    mask = Mask(context=torch.arange(8).view(4, 2), target=torch.arange(12).view(4, 3))
    part = mask.rows(1, 3)
    assert part.context.tolist() == [[2, 3], [4, 5]]
    assert part.target.tolist() == [[3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            MultiBlock(num_blocks=1, spatial_scale=(1.0, 1.0), aspect=(1.0, 1.0)),
            "leaves no context",
        ),
        (MultiBlock(num_blocks=1, spatial_scale=(0.001, 0.001)), "leaves nothing to predict"),
        (RandomTube(ratio=0.999), "leaves no context"),
    ],
)
def test_masks_that_leave_nothing_are_refused(kind: MultiBlock | RandomTube, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        draw_masks([kind], (2, 6, 6), 2, batch=0, generator=generator())


@pytest.mark.parametrize(
    "values",
    [
        {"spatial_scale": (0.0, 0.5)},
        {"spatial_scale": (0.5, 0.2)},
        {"spatial_scale": (0.5, 1.5)},
        {"temporal_scale": (0.5, 0.2)},
        {"aspect": (1.5, 0.75)},
        {"max_temporal_keep": 0.0},
        {"max_keep": 0},
        {"num_blocks": 0},
    ],
)
def test_impossible_blocks_are_refused(values: dict[str, float | tuple[float, float]]) -> None:
    with pytest.raises(UsageError):
        MultiBlock(**{"num_blocks": 2, "spatial_scale": (0.2, 0.2), **values})
    with pytest.raises(UsageError, match="ratio must lie between 0 and 1"):
        RandomTube(ratio=1.0)


def test_masks_of_a_batch_take_milliseconds() -> None:
    took = []
    for batch in range(5):
        start = time.perf_counter()
        draw_masks(list(KINDS.values()), (8, 14, 14), 24, batch=batch, generator=generator())
        took.append(time.perf_counter() - start)
    assert min(took) < 0.1  # about 4 ms on a free core
