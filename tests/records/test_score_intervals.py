"""What is read from the files of records: right rows, intervals, places, and what is kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.errors import UsageError
from bench.metrics.detections import ScoredBoxes
from bench.metrics.intervals import wilson
from bench.metrics.left_out import interval_of_left_out
from bench.metrics.ranking import places
from bench.metrics.video_jackknife import without_each
from bench.records.record import RecordError
from bench.records.rows import right_rows, row_ids
from bench.records.score_intervals import compare_boxes, interval_of, left_out_of, places_of
from tests.boxes import VIDEOS, frames_of, manifest_of, truth_of
from tests.kept_records import kept_boxes, kept_clips

WHOLE, OTHER = [0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]


def test_right_rows_are_those_with_the_label_first_or_among_five(tmp_path: Path) -> None:
    right = [True, False, False, True, False, False]
    second = [False, True, False, False, False, True]
    record = kept_clips(tmp_path, right, second=second, unread=[5])
    found = right_rows(record, tmp_path)
    assert found.right.tolist() == right and found.counted.all()
    assert found.labels.tolist() == [0, 1, 2, 3, 4, 5]
    five = right_rows(record, tmp_path, "top5")
    assert five.right.tolist() == [True, True, False, True, False, False]
    assert five.right.mean() == record.value("top5")
    assert row_ids(record, tmp_path)[:2] == ["clip_0", "clip_1"]
    with pytest.raises(
        UsageError, match=r"mean_per_class of record .* not a share of correct rows"
    ):
        right_rows(record, tmp_path, "mean_per_class")


def test_rows_that_a_run_was_told_to_skip_are_not_counted(tmp_path: Path) -> None:
    right = [True, False, True, True]
    skipped = kept_clips(tmp_path, right, unread=[0, 1], on_unreadable="skip")
    found = right_rows(skipped, tmp_path)
    assert found.counted.tolist() == [False, False, True, True]
    assert found.right.tolist() == [False, False, True, True]
    assert interval_of(skipped) == wilson(2, 2)
    wrong = kept_clips(tmp_path, right, unread=[0, 1])
    assert right_rows(wrong, tmp_path).counted.all() and interval_of(wrong) == wilson(2, 4)


def test_intervals_of_accuracies_come_from_the_counts(tmp_path: Path) -> None:
    record = kept_clips(tmp_path, [True] * 30 + [False] * 20, second=[True] * 35 + [False] * 15)
    assert interval_of(record) == wilson(30, 50)
    assert interval_of(record, metric="top5") == wilson(35, 50)
    assert interval_of(record, metric="mean_per_class") is None
    assert interval_of(record, metric="mean_ap") is None


def test_places_of_records_are_those_of_their_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = rng.random((4, 300)) < np.array([[0.3], [0.35], [0.6], [0.9]])
    names = [f"model_{i}" for i in range(4)]
    records = [kept_clips(tmp_path, row, encoder=n) for row, n in zip(right, names, strict=True)]
    found = places_of(records, tmp_path)
    assert found == places(right) and found[0] == found[1] == (3, 4)
    other = kept_clips(tmp_path, right[0][:200], encoder="other")
    assert places_of([*records, other], tmp_path) is None
    assert places_of(records, tmp_path, metric="mean_per_class") is None
    (tmp_path / records[0].artifacts.predictions.path).unlink()
    assert places_of(records, tmp_path) is None


# -------------------------------------------------------------------------------------------- boxes
def case(
    skill: float, seed: int = 0, videos: Sequence[int] = (0, 1, 2)
) -> tuple[Manifest, ScoredBoxes, FrameTruth]:
    """Ten key frames a video with a box each, of which a better model scores more highly."""
    rng = np.random.default_rng(seed)
    keys = [(video, 902.0 + i) for video in videos for i in range(10)]
    truth = truth_of([(*key, WHOLE, (1, 3, 8)[i % 3], 0) for i, key in enumerate(keys)])
    manifest = manifest_of([(*key, WHOLE) for key in keys])
    scores = rng.random((len(keys), 4)).astype(np.float32)
    for i in range(len(keys)):
        scores[i, (0, 2, 3)[i % 3]] += skill
    boxes = ScoredBoxes.of(manifest, np.arange(len(keys)), scores, truth)
    return manifest, boxes, truth


def test_the_interval_of_a_frame_map_is_the_jackknife_of_its_files_and_is_kept(
    tmp_path: Path,
) -> None:
    folder, cache = tmp_path / "records", tmp_path / "cache"
    manifest, boxes, truth = case(0.3)
    record = kept_boxes(folder, manifest, boxes, truth)
    expected = interval_of_left_out(record.headline, without_each(boxes, truth))
    assert interval_of(record, folder) == expected
    assert interval_of(record, folder, cache) == expected
    [kept] = (cache / "jackknife").iterdir()
    values = left_out_of(record, folder, cache).values
    assert np.array_equal(values, without_each(boxes, truth)) and len(values) == len(VIDEOS)
    # What is kept is read: another content gives another interval.
    with np.load(kept) as held:
        np.savez(kept, values=held["values"] + [0.1, 0, 0], videos=held["videos"])
    assert interval_of(record, folder, cache) != expected
    assert interval_of(record, folder) == expected
    assert interval_of(record) is None and interval_of(record, tmp_path) is None
    for damaged in (kept.read_bytes()[:100], b"", b"[]"):
        kept.write_bytes(damaged)
        assert interval_of(record, folder, cache) == expected
    (folder / record.artifacts.predictions.path).write_bytes(b"other")
    with pytest.raises(RecordError, match="was changed"):
        interval_of(record, folder, cache)


def test_a_single_video_leaves_no_interval(tmp_path: Path) -> None:
    record = kept_boxes(tmp_path, *case(0.3, videos=(1,)))
    assert interval_of(record, tmp_path) is None and places_of([record], tmp_path) is None


def test_boxes_are_compared_over_the_same_videos_alone(tmp_path: Path) -> None:
    good, bad, other = (
        kept_boxes(tmp_path, *case(skill, videos=videos), encoder=name)
        for name, skill, videos in (("good", 2, (0, 1, 2)), ("bad", 0, (0, 1, 2)), ("o", 1, (0, 1)))
    )
    found = compare_boxes(good, tmp_path, bad, tmp_path)
    assert found.difference == good.headline - bad.headline > 0.3 and found.n == 3
    assert found.p < 0.05 and places_of([bad, good], tmp_path) == [(2, 2), (1, 1)]
    assert compare_boxes(good, tmp_path, other, tmp_path) is None
    assert places_of([good, other], tmp_path) is None
    # The same boxes, against a truth that names one more video.
    manifest, boxes, truth = case(1, videos=(0, 1))
    more = replace(truth, boxes=replace(truth.boxes, declared=frames_of([(2, 902.0)])))
    longer = kept_boxes(tmp_path, manifest, boxes, more, encoder="longer")
    assert compare_boxes(other, tmp_path, longer, tmp_path) is None
    assert places_of([other, longer], tmp_path) is None
