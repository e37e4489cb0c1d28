"""Frame mAP without each video: by brute force on renamed files, and honest on clustered data."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.boxes.ava_csv import Boxes, KeyFrames
from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.errors import DataError
from bench.metrics import video_jackknife
from bench.metrics.detections import ScoredBoxes, compared_boxes, score_boxes
from bench.metrics.frame_map import frame_map
from bench.metrics.frame_rules import RULES
from bench.metrics.left_out import (
    compare_left_out,
    interval_of_left_out,
    places_of_left_out,
    standard_errors,
)
from bench.metrics.video_jackknife import names_digest, videos_of, weighted_maps, without_each
from tests.boxes import random_case

SEEDS = st.integers(0, 2**32)


def boxes_of(manifest: Manifest, scores: np.ndarray, truth: FrameTruth, seed: int) -> ScoredBoxes:
    """Some of the boxes scored, one at least."""
    count = len(manifest)
    rows = np.flatnonzero(np.random.default_rng(seed).random(count) < 0.8) if seed % 3 else ()
    rows = rows if len(rows) else np.arange(count)
    return ScoredBoxes.of(manifest, rows, scores[rows], truth)


def copied(
    boxes: Boxes | None, frames: KeyFrames, weights: dict[str, int]
) -> tuple[np.ndarray, KeyFrames]:
    """Return rows and frames in which a video that counts w times is there under w names."""
    names = [frames.videos[i] for i in frames.video]
    rows, copies = [], []
    for row, name in enumerate(names):
        for copy in range(weights.get(name, 1)):
            rows.append(row)
            copies.append(f"{name}#{copy}")
    videos = sorted(set(copies))
    place = {name: i for i, name in enumerate(videos)}
    return np.array(rows, dtype=np.int64), KeyFrames(
        videos=videos,
        video=np.array([place[name] for name in copies], dtype=np.int32),
        micros=frames.micros[rows] if rows else frames.micros[:0],
    )


def duplicated(boxes: Boxes, weights: dict[str, int]) -> Boxes:
    rows, frames = copied(boxes, boxes.frames, weights)
    _, declared = copied(boxes, boxes.declared, weights)
    return replace(boxes.at(rows), frames=frames, declared=declared)


def by_brute_force(
    boxes: ScoredBoxes, truth: FrameTruth, weights: dict[str, int], *, skip: bool
) -> float | None:
    """Write every video as often as it counts, and score the whole anew; None: no number."""
    given, wanted = compared_boxes(boxes, truth, skip=skip)
    out = truth.excluded
    whole = replace(
        truth,
        boxes=duplicated(wanted.boxes, weights),
        excluded=None if out is None else copied(None, out, weights)[1],
    )
    try:
        return frame_map(whole, duplicated(given, weights), RULES[truth.rules]).mean_ap
    except DataError:
        return None


@settings(max_examples=120, deadline=None)
@given(seed=SEEDS, rules=st.sampled_from(sorted(RULES)), skip=st.booleans())
def test_weights_give_the_number_of_files_with_videos_written_that_often(
    seed: int, rules: str, skip: bool
) -> None:
    manifest, truth, scores = random_case(seed, rules=rules)
    boxes = boxes_of(manifest, scores, truth, seed)
    names = videos_of(truth)
    weights = np.random.default_rng(seed).integers(0, 4, size=(4, len(names)))
    try:
        found = weighted_maps(boxes, truth, weights, skip=skip)
    except DataError:
        with pytest.raises(DataError):
            score_boxes(boxes, truth, skip=skip)
        return
    for value, row in zip(found, weights.tolist(), strict=True):
        expected = by_brute_force(boxes, truth, dict(zip(names, row, strict=True)), skip=skip)
        if expected is None:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, rules=st.sampled_from(sorted(RULES)))
def test_every_video_is_left_out_once_and_weights_of_one_give_the_number_itself(
    seed: int, rules: str
) -> None:
    manifest, truth, scores = random_case(seed, rules=rules)
    boxes = ScoredBoxes.of(manifest, np.arange(len(manifest)), scores, truth)
    names = videos_of(truth)
    try:
        number = score_boxes(boxes, truth).frame_map.mean_ap
    except DataError:
        return
    ones = np.ones((1, len(names)), dtype=np.int64)
    assert weighted_maps(boxes, truth, ones)[0] == pytest.approx(number, abs=1e-12)
    found = without_each(boxes, truth)
    assert len(found) == len(names)
    for value, name in zip(found, names, strict=True):
        expected = by_brute_force(boxes, truth, {name: 0}, skip=False)
        assert np.isnan(value) if expected is None else value == pytest.approx(expected, abs=1e-12)


def test_blocks_of_weights_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, truth, scores = random_case(7)
    boxes = ScoredBoxes.of(manifest, np.arange(len(manifest)), scores, truth)
    weights = np.random.default_rng(7).integers(0, 4, size=(9, len(videos_of(truth))))
    whole = weighted_maps(boxes, truth, weights)
    monkeypatch.setattr(video_jackknife, "BLOCK_BYTES", 64)
    assert np.array_equal(weighted_maps(boxes, truth, weights), whole, equal_nan=True)
    assert np.isfinite(whole).any()


def test_the_digest_of_videos_hangs_on_their_names_alone() -> None:
    assert names_digest(["a", "b"]) == names_digest(("a", "b"))
    assert len({names_digest(names) for names in (["a", "b"], ["ab"], ["b", "a"], ["a"])}) == 4


# --------------------------------------------------------------------------- standard error by hand
def test_of_a_mean_the_jackknife_gives_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    left = (x.sum() - x) / 11
    assert standard_errors(left[None])[0] == pytest.approx(x.std(ddof=1) / np.sqrt(12))
    found = compare_left_out(0.3 + x.mean(), left, 0.3, np.zeros(12))
    # Student's t with 11 degrees of freedom is 2.201 at 95 %.
    reach = 2.20099 * x.std(ddof=1) / np.sqrt(12)
    assert found.interval.high - found.interval.low == pytest.approx(2 * reach, rel=1e-5)
    assert (found.n, found.only_a, found.only_b) == (12, None, None)


def test_equal_models_and_too_few_videos() -> None:
    left = np.array([0.3, 0.4, 0.5])
    same = compare_left_out(0.4, left, 0.4, left)
    assert (same.difference, same.p, same.p_above, same.mde) == (0, 1, 0.5, None)
    assert (same.interval.low, same.interval.high) == (0, 0)
    assert compare_left_out(0.4, left[:1], 0.4, left[:1]) is None
    assert interval_of_left_out(0.4, np.array([0.4, np.nan])) is None
    wide = interval_of_left_out(0.9, np.array([0.1, 0.9, 0.95]))
    assert (wide.low, wide.high) == (0, 1)


def test_swapping_the_models_negates_the_difference() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.uniform(0.2, 0.4, size=(2, 15))
    there, back = compare_left_out(0.31, a, 0.29, b), compare_left_out(0.29, b, 0.31, a)
    assert back.difference == -there.difference and back.p == there.p and back.mde == there.mde
    assert (back.interval.low, back.interval.high) == (-there.interval.high, -there.interval.low)
    assert back.p_above == pytest.approx(1 - there.p_above)
    assert there.p_above == pytest.approx(there.p / 2)  # A is the better one


@pytest.mark.parametrize("seed", range(20))  # rounding leaves a variance of either sign
def test_numbers_that_are_always_apart_by_the_same_are_told_apart(seed: int) -> None:
    left = np.random.default_rng(seed).uniform(0.2, 0.4, size=15)
    found = compare_left_out(0.3, left, 0.2, left - 0.1)
    assert found.p == found.p_above == 0 and found.interval.high - found.interval.low < 2e-9
    assert places_of_left_out([0.2, 0.3], np.stack([left - 0.1, left])) == [(2, 2), (1, 1)]


# ----------------------------------------------------------------------------------- clustered data
BOX = np.array([0.1, 0.1, 0.5, 0.5])
NUM_VIDEOS, NUM_FRAMES, NUM_CLASSES, TRIALS = 40, 10, 4, 400


def clustered_case(rng: np.random.Generator) -> tuple[FrameTruth, list[ScoredBoxes]]:
    """A box a frame; labels and the scores of two equal models are alike within a video."""
    video = np.repeat(np.arange(NUM_VIDEOS), NUM_FRAMES)
    size = (NUM_VIDEOS, NUM_CLASSES)
    labels = rng.normal(size=size)[video] + 0.7 * rng.normal(size=(len(video), NUM_CLASSES))
    is_label = labels > NormalDist().inv_cdf(0.8) * np.sqrt(1.49)
    common = rng.normal(size=size)
    frames = KeyFrames(
        videos=[f"v{i:02d}" for i in range(NUM_VIDEOS)],
        video=video.astype(np.int32),
        micros=np.tile(np.arange(NUM_FRAMES, dtype=np.int64), NUM_VIDEOS) * 1_000_000,
    )
    row, column = np.nonzero(is_label)
    truth = FrameTruth(
        boxes=Boxes(
            frames=frames.at(row),
            corners=np.tile(BOX, (len(row), 1)),
            action=(column + 1).astype(np.int32),
            last=np.zeros(len(row)),
            declared=frames,
        ),
        excluded=None,
        classes={i + 1: f"class {i}" for i in range(NUM_CLASSES)},
        ids=np.arange(1, NUM_CLASSES + 1),
        rules="slowfast",
    )
    models = []
    for _ in range(2):
        own = 0.5 * (common + rng.normal(size=size))
        scores = 1.5 * is_label + own[video] + rng.normal(size=is_label.shape)
        models.append(
            ScoredBoxes(
                frames=frames,
                corners=np.tile(BOX, (len(video), 1)),
                scores=(1 / (1 + np.exp(-scores))).astype(np.float32),
                scored=np.ones(len(video), dtype=bool),
                classes=truth.classes,
            )
        )
    return truth, models


def test_intervals_hold_and_equal_models_differ_as_often_as_they_say() -> None:
    """400 trials of 40 videos: the bounds are two standard errors of such a simulation wide."""
    rng = np.random.default_rng(41)
    values, intervals, ps = [], [], []
    ones = np.ones((1, NUM_VIDEOS), dtype=np.int64)
    for _ in range(TRIALS):
        truth, models = clustered_case(rng)
        own = [float(weighted_maps(boxes, truth, ones)[0]) for boxes in models]
        left = [without_each(boxes, truth) for boxes in models]
        values += own
        intervals += [interval_of_left_out(*both) for both in zip(own, left, strict=True)]
        ps.append(compare_left_out(own[0], left[0], own[1], left[1]).p)
    middle = np.mean(values)
    held = np.mean([middle in one for one in intervals])
    assert 0.93 <= held <= 0.98
    assert 0.025 <= np.mean(np.array(ps) < 0.05) <= 0.075
