"""The frame mAP of scored boxes: against plain Python on CSV files, and bounds by brute force."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.errors import DataError
from bench.metrics.detections import ScoredBoxes, detections_of, score_boxes
from bench.metrics.frame_rules import RULES
from benchmarks.plain_frame_map import plain_frame_map
from tests.boxes import (
    EVALUATED,
    IDS,
    frame_rows,
    manifest_of,
    random_case,
    truth_of,
    truth_rows,
    write_csv,
)

WHOLE = [0.0, 0.0, 0.5, 0.5]
OTHER = [0.5, 0.5, 1.0, 1.0]
SEEDS = st.integers(0, 2**32)


def some_rows(count: int, seed: int) -> np.ndarray:
    """Row numbers, at least one, in order."""
    rng = np.random.default_rng(seed)
    return np.flatnonzero(rng.random(count) < 0.7) if count > 1 and seed % 4 else np.arange(count)


def plain_numbers(
    folder: Path,
    manifest: Manifest,
    rows: np.ndarray,
    probabilities: np.ndarray,
    truth: FrameTruth,
    *,
    skip: bool,
) -> dict[str, float | None]:
    """Return the mean by rules of plain Python on files, None where there is none."""
    folder.mkdir(exist_ok=True)
    regions = manifest.regions
    frames = frame_rows(regions.frames)
    lost = {frames[row] for row in range(len(frames)) if row not in set(rows.tolist())}
    lost = lost if skip else set()
    lines = [
        (*frames[row], *regions.corners[row].tolist(), key, float(values[list(IDS).index(key)]))
        for row, values in zip(rows.tolist(), probabilities, strict=True)
        for key in sorted(EVALUATED)
        if frames[row] not in lost
    ]
    truths = write_csv(folder / "gt.csv", truth_rows(truth, lost))
    given = write_csv(folder / "det.csv", lines)
    out = write_csv(folder / "out.csv", frame_rows(truth.excluded))
    means = {}
    for rules in RULES:
        mean, _ = plain_frame_map(truths, given, EVALUATED, rules=rules, excluded=out)
        means[rules] = None if math.isnan(mean) else mean
    return means


@settings(max_examples=150, deadline=None)
@example(seed=1_506_227_077, rules="official", skip=True)
@given(seed=SEEDS, rules=st.sampled_from(sorted(RULES)), skip=st.booleans())
def test_scores_are_those_of_plain_python_on_files(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rules: str, skip: bool
) -> None:
    manifest, truth, scores = random_case(seed, rules=rules)
    rows = some_rows(len(manifest), seed)
    boxes = ScoredBoxes.of(manifest, rows, scores[rows], truth)
    folder = tmp_path_factory.mktemp("files")
    expected = plain_numbers(folder, manifest, rows, scores[rows], truth, skip=skip)
    if expected[rules] is None:
        with pytest.raises(DataError):
            score_boxes(boxes, truth, skip=skip)
        return
    found = score_boxes(boxes, truth, skip=skip)
    assert list(found.by_rules) == list(RULES) and found.frame_map.rules == rules
    for name, mean in expected.items():
        assert found.by_rules[name] == (mean if mean is None else pytest.approx(mean, abs=1e-12))
        assert (name in found.undefined) == (mean is None)
    assert found.low - 1e-12 <= found.frame_map.mean_ap
    assert skip or found.frame_map.mean_ap <= found.high + 1e-12


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, rules=st.sampled_from(sorted(RULES)))
def test_whatever_the_missing_scores_had_been_the_number_is_within_the_bounds(
    seed: int, rules: str
) -> None:
    manifest, truth, scores = random_case(seed, rules=rules, ties=False)
    rows = some_rows(len(manifest), seed | 1)
    try:
        found = score_boxes(ScoredBoxes.of(manifest, rows, scores[rows], truth), truth)
    except DataError:
        return
    lost = np.setdiff1d(np.arange(len(manifest)), rows)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        every = scores.copy()
        every[lost] = rng.random((len(lost), len(IDS)))
        if rng.random() < 0.5:
            every[lost] = rng.integers(0, 2, size=(len(lost), len(IDS)))
        whole = ScoredBoxes.of(manifest, np.arange(len(manifest)), every, truth)
        number = score_boxes(whole, truth).frame_map.mean_ap
        assert found.low - 1e-12 <= number <= found.high + 1e-12


def test_bounds_worked_by_hand() -> None:
    # Two key frames with one true box each of class 3; the second frame could not be read. Class 8
    # has its only truth there.
    truth = truth_of([(0, 902, WHOLE, 3, 0), (0, 903, WHOLE, 3, 0), (0, 903, OTHER, 8, 1)])
    manifest = manifest_of([(0, 902, WHOLE), (0, 903, WHOLE), (0, 903, OTHER)])
    scores = np.array([[0.1, 0, 0.7, 0.2]], dtype=np.float32)
    boxes = ScoredBoxes.of(manifest, np.array([0]), scores, truth)
    found = score_boxes(boxes, truth)
    # Class 3: one of two found, 1/2; class 8: none.
    assert found.frame_map.mean_ap == 1 / 4
    # All of the truth first: both of class 3, then class 8 before the wrong box at 902.
    assert found.high == 1
    # Two wrong boxes stand before the right one of class 3: 1/3 of 1/2.
    assert found.low == pytest.approx((1 / 2 * 1 / 3 + 0) / 2, abs=1e-15)
    # Skipped, the frame leaves the truth, and class 8 with it; the bounds stay.
    skipped = score_boxes(boxes, truth, skip=True)
    assert skipped.frame_map.mean_ap == 1
    assert (skipped.low, skipped.high) == (found.low, found.high)
    assert skipped.frame_map.truth.rows == 1 and found.frame_map.truth.rows == 3


def test_bounds_hold_where_only_some_boxes_of_a_key_frame_were_scored() -> None:
    truth = truth_of([(0, 902, WHOLE, 3, 0), (0, 902, OTHER, 3, 0)])
    manifest = manifest_of([(0, 902, WHOLE), (0, 902, OTHER)])
    scores = np.array([[0, 0, 0.5, 0]], dtype=np.float32)
    found = score_boxes(ScoredBoxes.of(manifest, np.array([0]), scores, truth), truth)
    assert (found.low, found.frame_map.mean_ap, found.high) == (0, 0.5, 1)


def test_fifty_places_of_a_frame_do_not_make_the_lower_bound_too_high() -> None:
    # 20 boxes of three classes were not scored on one frame: 60 rows for 50 places, of which the
    # official program would keep those of the higher classes alone. Each class could have had all.
    truth = truth_of([(0, 902, WHOLE, 1, 0), (0, 903, WHOLE, 3, 0)])
    manifest = manifest_of([(0, 902, WHOLE), *[(0, 903, OTHER)] * 20])
    scores = np.array([[1, 0, 0, 0]], dtype=np.float32)
    found = score_boxes(ScoredBoxes.of(manifest, np.array([0]), scores, truth), truth)
    assert found.frame_map.mean_ap == 0.5
    assert found.low == pytest.approx(1 / 21 / 2, abs=1e-15)


def test_equal_boxes_of_the_truth_can_be_found_once() -> None:
    # Two persons in the very same place: a second detection there finds nothing and is wrong.
    truth = truth_of([(0, 902, WHOLE, 3, 0), (0, 902, WHOLE, 3, 1), (0, 903, WHOLE, 3, 0)])
    manifest = manifest_of([(0, 902, WHOLE), (0, 903, WHOLE)])
    scores = np.array([[0, 0, 0.5, 0]], dtype=np.float32)
    found = score_boxes(ScoredBoxes.of(manifest, np.array([1]), scores, truth), truth)
    assert (found.frame_map.mean_ap, found.high) == (1 / 3, 2 / 3)
    # What cannot be found is no part of a number that skips the key frame, but of its bounds.
    boxes = ScoredBoxes.of(manifest, np.array([1]), scores, truth)
    skipped = score_boxes(boxes, truth, skip=True)
    assert (skipped.frame_map.mean_ap, skipped.high) == (1, 2 / 3)


def test_boxes_of_the_truth_without_area_cannot_be_found() -> None:
    thin = [0.5, 0.0, 0.5, 1.0]
    truth = truth_of(
        [(0, 902, thin, 3, 0), (0, 902, WHOLE, 3, 0), (0, 903, WHOLE, 3, 0)], rules="mmaction2"
    )
    manifest = manifest_of([(0, 902, WHOLE), (0, 903, WHOLE)])
    scores = np.array([[0, 0, 0.5, 0]], dtype=np.float32)
    found = score_boxes(ScoredBoxes.of(manifest, np.array([1]), scores, truth), truth)
    # These rules keep detections without area, and a wrong one would stand before the last box.
    assert (found.frame_map.mean_ap, found.high) == (1 / 3, 2 / 3)


def test_detections_go_box_by_box_in_evaluated_classes_alone() -> None:
    manifest = manifest_of([(0, 902, WHOLE), (1, 903.5, OTHER)])
    truth = truth_of([(0, 902, WHOLE, 3, 0)])
    scores = np.array([[0.1, 0.9, 0.3, 0.8]] * 2, dtype=np.float32)
    given = detections_of(ScoredBoxes.of(manifest, np.arange(2), scores, truth))
    assert given.action.tolist() == [1, 3, 8, 1, 3, 8]
    assert given.last.tolist() == [float(np.float32(v)) for v in (0.1, 0.3, 0.8)] * 2
    assert given.frames.video.tolist() == [0, 0, 0, 1, 1, 1]
    assert given.corners.tolist() == [WHOLE] * 3 + [OTHER] * 3


def test_columns_follow_the_ids_of_the_classes_not_their_places() -> None:
    truth = truth_of([(0, 902, WHOLE, 3, 0)])
    swapped = truth_of([(0, 902, WHOLE, 3, 0)])
    order = np.array([3, 1, 2, 0])
    object.__setattr__(swapped, "ids", IDS[order])
    manifest = manifest_of([(0, 902, WHOLE)])
    scores = np.array([[0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    usual = ScoredBoxes.of(manifest, np.array([0]), scores, truth)
    other = ScoredBoxes.of(manifest, np.array([0]), scores[:, order], swapped)
    assert usual.scores.tolist() == other.scores.tolist()
