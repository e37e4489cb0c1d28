"""Which frames of a video each clip of a plan has: a pure function of plan, length and generator.

Samplers:

`plain`
    True stride. The video is split into equal segments, one per clip. Without a generator the clip
    is centred on its segment; with one its start is uniform between the two positions at which the
    clip is flush with an edge of the segment. A clip that is longer than its segment overlaps its
    neighbours. Clips are inside the video if it is long enough; in a shorter one they start at
    frame 0 and repeat the last frame.
`vjepa`
    The sampler of the released V-JEPA video evaluation (arXiv 2404.08471; released code, not the
    paper). Segments longer than a clip: a window in each segment, at a random start with a
    generator and at the start of the segment without, whose frames are linspace(start, start+span)
    truncated to integers: the step is span/(frames-1), 4.27 rather than 4. Otherwise: clips at
    equally spaced starts, never random, with a step of 4.5 rather than 4 and the last frame twice.
    For a video of one frame the released code reads index -1; here it is frame 0.
`vjepa_drawn`, `vjepa_centred`
    The same for scoring, with windows drawn at random, as the released code scores, or centred in
    their segment.
`vjepa_pretrain`
    The sampler of the released pretraining: the same windows, but clips stay in their segment, and
    a segment that is not longer than a clip repeats its last frame.

Clips around key frames are not spread over a video; they come from `key_clips`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.errors import DataError, known
from bench.types import ClipPlan, IntArray

Generator = np.random.Generator | None

DRAWN, CENTRED = "vjepa_drawn", "vjepa_centred"
KEYFRAME = "keyframe"  # the sampler's name for clips around key frames


def frame_indices(plan: ClipPlan, num_frames: int, rng: Generator = None) -> IntArray:
    """Return the frame numbers of every clip, int64 `[num_clips, plan.num_frames]`.

    `num_frames` is the length of the video. Without `rng` the result is deterministic (score
    plans); with it samplers are random where their protocol is. A stride of 0 means a still: frame
    0 throughout.

    Raises:
        UsageError: there is no such sampler.
        DataError: the video has no frames.
    """
    sample = _SAMPLERS[known("sampler", plan.sampler, list(_SAMPLERS))]
    if num_frames < 1:
        raise DataError(f"a video with {num_frames} frames cannot give a clip {plan}; remove it.")
    if plan.stride == 0:
        return np.zeros((plan.num_clips, plan.num_frames), dtype=np.int64)
    clips = [sample(plan, num_frames, clip, rng) for clip in range(plan.num_clips)]
    return np.clip(np.stack(clips), 0, num_frames - 1)


def key_clips(plan: ClipPlan, num_frames: int, centres: IntArray) -> IntArray:
    """Return the frame numbers of the clips around key frames, int64 `[S, plan.num_frames]`.

    A clip begins frames * stride // 2 before its key frame, one of `centres` `[S]`; frame numbers
    outside the video become its first or last frame, as in SlowFast's released code.
    """
    assert ((centres >= 0) & (centres < num_frames)).all(), (centres, num_frames)
    first = np.asarray(centres, dtype=np.int64)[:, None] - plan.num_frames * plan.stride // 2
    steps = plan.stride * np.arange(plan.num_frames, dtype=np.int64)
    clips: IntArray = np.clip(first + steps, 0, num_frames - 1)
    return clips


def repeated_frames(indices: IntArray) -> int:
    """Count the frames of `[S, T]` clips that only repeat an earlier frame of their own clip."""
    return sum(len(clip) - len(np.unique(clip)) for clip in indices)


def _plain(plan: ClipPlan, num_frames: int, clip: int, rng: Generator) -> IntArray:
    extent = (plan.num_frames - 1) * plan.stride + 1
    last_start = max(num_frames - extent, 0)
    if rng is None:
        # Twice the centre of the segment, in units of 1/num_clips frames, keeps this in integers.
        centre = (2 * clip + 1) * num_frames
        start = (centre - extent * plan.num_clips) // (2 * plan.num_clips)
        start = min(max(start, 0), last_start)
    else:
        flush_left = clip * num_frames // plan.num_clips
        flush_right = (clip + 1) * num_frames // plan.num_clips - extent
        low, high = np.clip(sorted((flush_left, flush_right)), 0, last_start)
        start = int(rng.integers(low, high + 1))
    return start + plan.stride * np.arange(plan.num_frames, dtype=np.int64)


def _vjepa(plan: ClipPlan, num_frames: int, clip: int, rng: Generator) -> IntArray:
    span = plan.num_frames * plan.stride
    slack = num_frames // plan.num_clips - span
    if slack > 0:
        return _window(plan, num_frames, clip, rng, slack // 2 if plan.sampler == CENTRED else 0)
    spread = (num_frames - span) // (plan.num_clips - 1) if num_frames > span else 0
    return _up_to(min(span, num_frames) - 1, plan) + clip * spread


def _vjepa_pretrain(plan: ClipPlan, num_frames: int, clip: int, rng: Generator) -> IntArray:
    length = num_frames // plan.num_clips
    if length > plan.num_frames * plan.stride:
        return _window(plan, num_frames, clip, rng)
    return _up_to(length, plan) + clip * length


def _window(plan: ClipPlan, num_frames: int, clip: int, rng: Generator, fixed: int = 0) -> IntArray:
    """Return a window of a segment that starts at random, or without a generator at `fixed`."""
    span = plan.num_frames * plan.stride
    length = num_frames // plan.num_clips
    start = int(rng.integers(0, length - span)) if rng is not None else fixed
    points = np.linspace(start, start + span, plan.num_frames)
    return points.clip(start, start + span - 1).astype(np.int64) + clip * length


def _up_to(end: int, plan: ClipPlan) -> IntArray:
    """Return frames up to `end` at the stride of the plan, the last one repeated."""
    points = np.linspace(0, end, end // plan.stride)
    repeated = np.full(plan.num_frames - len(points), end, dtype=np.float64)
    return np.concatenate([points, repeated]).clip(0, max(end - 1, 0)).astype(np.int64)


_SAMPLERS: dict[str, Callable[[ClipPlan, int, int, Generator], IntArray]] = {
    "plain": _plain,
    "vjepa": _vjepa,
    DRAWN: _vjepa,
    CENTRED: _vjepa,
    "vjepa_pretrain": _vjepa_pretrain,
}
