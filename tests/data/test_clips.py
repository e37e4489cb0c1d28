import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.views.clip_frames import frame_indices, repeated_frames
from bench.errors import DataError, UsageError
from bench.types import ClipPlan

GOLDEN = json.loads((Path(__file__).parents[1] / "fixtures" / "clip_indices.json").read_text())


def released_cases() -> Iterator[pytest.ParameterSet]:
    for name, config in GOLDEN.items():
        if "lengths" not in config:
            continue
        sampler = "vjepa" if config["allow_clip_overlap"] else "vjepa_pretrain"
        plan = ClipPlan(
            num_frames=config["frames_per_clip"],
            num_clips=config["num_clips"],
            num_views=1,
            stride=config["frame_step"],
            sampler=sampler,
        )
        for length, expected in config["lengths"].items():
            yield pytest.param(plan, int(length), expected, id=f"{name}-{length}")


@pytest.mark.parametrize(("plan", "length", "expected"), list(released_cases()))
def test_released_sampler_gives_the_released_frames(
    plan: ClipPlan, length: int, expected: dict[str, Any]
) -> None:
    assert frame_indices(plan, length).tolist() == expected["deterministic"]


@pytest.mark.parametrize(("plan", "length", "expected"), list(released_cases()))
def test_released_sampler_draws_exactly_within_the_released_bounds(
    plan: ClipPlan, length: int, expected: dict[str, Any]
) -> None:
    draws = [frame_indices(plan, length, np.random.default_rng(seed)) for seed in range(40)]
    if expected["branch"] != "window":
        assert all(draw.tolist() == expected["deterministic"] for draw in draws)
        return
    offsets = np.array(expected["deterministic"][0])
    for clip, (low, high) in enumerate(expected["random_start_bounds_inclusive"]):
        starts = {int(draw[clip, 0]) for draw in draws}
        assert low <= min(starts) and max(starts) <= high
        assert len(starts) > 1 or low == high
        for draw in draws:
            np.testing.assert_array_equal(draw[clip] - draw[clip, 0], offsets)


def test_both_ends_of_the_released_bounds_are_reached() -> None:
    plan = ClipPlan.parse("16x1@4", sampler="vjepa")  # 70 frames: starts 0..5
    starts = {int(frame_indices(plan, 70, np.random.default_rng(s))[0, 0]) for s in range(200)}
    assert starts == {0, 1, 2, 3, 4, 5}


def test_scored_windows_are_first_centred_or_drawn() -> None:
    plan = ClipPlan.parse("4x2@2", sampler="vjepa")  # windows of 8 in segments of 30
    first = frame_indices(plan, 60)
    assert first.tolist() == [[0, 2, 5, 7], [30, 32, 35, 37]]
    centred = frame_indices(replace(plan, sampler="vjepa_centred"), 60)
    assert centred.tolist() == [[11, 13, 16, 18], [41, 43, 46, 48]]
    drawn = replace(plan, sampler="vjepa_drawn")
    generators = (np.random.default_rng(3) for _ in range(2))
    a, b = (frame_indices(drawn, 60, generator) for generator in generators)
    assert a.tolist() == b.tolist() != first.tolist()
    for sampler in ("vjepa_centred", "vjepa_drawn"):  # clips that overlap are never moved
        other = frame_indices(replace(plan, sampler=sampler), 12, np.random.default_rng(0))
        assert other.tolist() == frame_indices(plan, 12).tolist()


@pytest.mark.parametrize("length", sorted(GOLDEN["v1_edge_short"], key=int))
def test_very_short_videos_match_the_release_save_for_the_single_frame(length: str) -> None:
    plan = ClipPlan.parse("16x2@4", sampler="vjepa")
    released = np.array(GOLDEN["v1_edge_short"][length])
    # One frame: the release asks for frame -1, which only some decoders take for the last one.
    np.testing.assert_array_equal(frame_indices(plan, int(length)), np.maximum(released, 0))


@pytest.mark.parametrize("case", sorted(GOLDEN["v2_pretrain_fps4_16f"]))
def test_pretraining_sampler_matches_the_release_at_any_step(case: str) -> None:
    expected = GOLDEN["v2_pretrain_fps4_16f"][case]
    if "error" in expected:
        return  # a step of 0, which is no plan
    plan = ClipPlan(
        num_frames=16,
        num_clips=1,
        num_views=1,
        stride=expected["frame_step"],
        sampler="vjepa_pretrain",
    )
    length = int(case.rsplit("len", 1)[1])
    assert frame_indices(plan, length).tolist() == expected["deterministic"]


def test_plain_clip_is_centred_on_its_segment() -> None:
    # 20 frames, 2 segments of 10. A clip of 3 frames at stride 2 covers 5: starts 2.5 and 12.5 cut
    # to 2 and 12.
    assert frame_indices(ClipPlan.parse("3x2@2"), 20).tolist() == [[2, 4, 6], [12, 14, 16]]
    # One clip of 5 frames at stride 1 in 9: two frames left over on either side.
    assert frame_indices(ClipPlan.parse("5@1"), 9).tolist() == [[2, 3, 4, 5, 6]]


def test_plain_clips_longer_than_their_segment_overlap_within_the_video() -> None:
    # 10 frames, segments of 5, clips cover 7 (starts 0..3 fit): centres 2.5 and 7.5 give starts
    # -1 and 4, moved to 0 and 3.
    assert frame_indices(ClipPlan.parse("4x2@2"), 10).tolist() == [[0, 2, 4, 6], [3, 5, 7, 9]]


def test_plain_clip_of_a_short_video_repeats_the_last_frame() -> None:
    indices = frame_indices(ClipPlan.parse("4x2@4"), 6)
    assert indices.tolist() == [[0, 4, 5, 5], [0, 4, 5, 5]]
    assert repeated_frames(indices) == 2


def test_plain_random_starts_fill_the_segment_and_no_more() -> None:
    # 20 frames, 2 segments of 10, a clip covers 5: starts 0..5 and 10..15.
    plan = ClipPlan.parse("3x2@2")
    draws = [frame_indices(plan, 20, np.random.default_rng(seed)) for seed in range(200)]
    assert {int(draw[0, 0]) for draw in draws} == set(range(6))
    assert {int(draw[1, 0]) for draw in draws} == set(range(10, 16))


def test_plain_random_starts_of_one_clip_reach_the_whole_video() -> None:
    plan = ClipPlan.parse("3@2")
    starts = {int(frame_indices(plan, 9, np.random.default_rng(s))[0, 0]) for s in range(100)}
    assert starts == {0, 1, 2, 3, 4}


@given(
    frames=st.integers(1, 20),
    clips=st.integers(1, 9),
    stride=st.integers(0, 6),
    length=st.integers(1, 1000),
    sampler=st.sampled_from(["plain", "vjepa", "vjepa_pretrain"]),
    seed=st.none() | st.integers(0, 99),
)
def test_indices_are_in_range_and_in_order(
    frames: int, clips: int, stride: int, length: int, sampler: str, seed: int | None
) -> None:
    plan = ClipPlan(num_frames=frames, num_clips=clips, num_views=1, stride=stride, sampler=sampler)
    rng = None if seed is None else np.random.default_rng(seed)
    indices = frame_indices(plan, length, rng)
    assert indices.shape == (clips, frames) and indices.dtype == np.int64
    assert indices.min() >= 0 and indices.max() < length
    assert (np.diff(indices, axis=1) >= 0).all()
    again = None if seed is None else np.random.default_rng(seed)
    np.testing.assert_array_equal(indices, frame_indices(plan, length, again))


@given(
    frames=st.integers(1, 20),
    clips=st.integers(1, 9),
    stride=st.integers(1, 6),
    spare=st.integers(0, 300),
    seed=st.none() | st.integers(0, 99),
)
def test_plain_clips_keep_the_true_stride_in_a_long_enough_video(
    frames: int, clips: int, stride: int, spare: int, seed: int | None
) -> None:
    length = (frames - 1) * stride + 1 + spare
    plan = ClipPlan(num_frames=frames, num_clips=clips, num_views=1, stride=stride)
    rng = None if seed is None else np.random.default_rng(seed)
    indices = frame_indices(plan, length, rng)
    assert (np.diff(indices, axis=1) == stride).all()
    assert repeated_frames(indices) == 0


def test_a_still_is_frame_zero_throughout() -> None:
    assert not frame_indices(ClipPlan.parse("16x2@0", sampler="vjepa"), 300).any()


def test_repeats_are_counted_within_a_clip_only() -> None:
    assert repeated_frames(np.array([[0, 4, 9, 9, 9], [0, 4, 9, 13, 18]])) == 2


def test_released_k400_clips_repeat_one_frame_each() -> None:
    assert repeated_frames(frame_indices(ClipPlan.parse("16x8@4", sampler="vjepa"), 300)) == 8


def test_unknown_sampler_names_the_closest() -> None:
    with pytest.raises(UsageError, match=r"unknown sampler .vjep.\. Did you mean .vjepa.\?"):
        frame_indices(ClipPlan.parse("16@4", sampler="vjep"), 100)


@pytest.mark.parametrize("sampler", ["plain", "vjepa"])
def test_a_video_without_frames_is_an_error(sampler: str) -> None:
    with pytest.raises(DataError, match="0 frames"):
        frame_indices(ClipPlan.parse("16@4", sampler=sampler), 0)
