"""AVA: which boxes become rows of which split, what is counted, and what is refused."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.boxes.regions import RegionReadout
from bench.data.manifest import Manifest
from bench.errors import DataError, UsageError
from bench.metrics.frame_map import frame_map
from bench.metrics.frame_rules import OFFICIAL
from bench.registry import build
from tasks.ava import ava
from tasks.ava_task import BoxData, BoxOptions, box_task
from tasks.formats.ava_files import AvaFiles, shipped_classes
from tasks.formats.ava_rows import KeyTimes, format_second
from tests.tasks.ava_tree import EXCLUDED, FIT_FOUND, FOUND, TRAIN, VAL, touch, write_tree

A, B, C, D, E = (letter * 11 for letter in "abcde")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "ava")


def labels_of(manifest: Manifest) -> list[list[str]]:
    """Return the names of every row's classes."""
    return [[manifest.classes[c] for c in np.flatnonzero(row)] for row in manifest.labels]


# ----------------------------------------------------------------------------------------- the rows
def test_rows_to_fit_on_are_true_boxes_in_order_of_video_and_time(root: Path) -> None:
    task = ava(data=root)
    assert task.fit.ids == [
        f"{A},0902,0.1,0.1,0.5,0.5",
        f"{A},0902,0.6,0.1,0.9,0.5",
        f"{B},0903,0.2,0.2,0.4,0.8",
        f"{B},0904,0.2,0.2,0.4,0.8",
    ]
    stand, talk, watch = "stand", "talk to (e.g., self, a person, a group)", "watch (a person)"
    assert labels_of(task.fit) == [[stand, talk], ["crawl"], [stand], [watch]]
    regions = task.fit.regions
    assert regions.videos == [A, B], "the key frame of c is excluded"
    assert regions.clip.tolist() == [0, 0, 1, 2]
    assert regions.micros.tolist() == [902e6, 902e6, 903e6, 904e6]
    assert regions.corners[1].tolist() == [0.6, 0.1, 0.9, 0.5]
    assert [str(m.relative_to(root)) for m in task.fit.media] == [
        f"videos/{name}.mp4" for name in (A, A, B, B)
    ]
    assert regions.facts == {
        "from": "ground_truth",
        "ground_truth": {
            "format": "ground truth CSV",
            "rows": 6,
            "clipped": 0,
            "without_area": 0,
            "repeated": 1,
            "of_several_scores": 0,
            "boxes": 5,
            "excluded": 1,
            "other_seconds": 0,
            "kept": 4,
        },
        "media": {"files": 2},
    }


def test_rows_to_score_on_are_detected_boxes_and_every_rule_is_counted(root: Path) -> None:
    task = ava(data=root)
    assert task.score.ids == [
        f"{D},0902,0.12,0.1,0.5,0.5",
        f"{D},0904,0.1,0.1,0.5,0.55",
        f"{D},0905,0.3,0.1,0.5,0.5",
    ]
    assert task.score.labels.shape == (3, 80)
    assert not task.score.labels.any(), "labels that the detector's file gives are not read"
    facts = task.score.regions.facts
    assert facts["detector"] == {
        "format": "SlowFast CSV",
        "rows": 8,
        "clipped": 0,
        "without_area": 1,
        "repeated": 0,
        "of_several_scores": 0,
        "boxes": 7,
        "other_videos": 1,
        "excluded": 1,
        "other_seconds": 1,
        "below_threshold": 1,
        "kept": 3,
        "threshold": 0.8,
    }
    # The truth has the key frames 902, 903 and 904 of d; that of e is excluded.
    assert (facts["truth_key_frames"], facts["truth_key_frames_without_box"]) == (3, 1)
    json.dumps(facts)


def test_truth_holds_all_rows_and_the_evaluated_classes(root: Path) -> None:
    task = ava(data=root, rules="slowfast")
    assert (task.unit, task.metric, task.truth.rules) == ("box", "mean_ap", "slowfast")
    assert len(task.truth.boxes) == 5
    assert task.truth.excluded.videos == (E,)
    assert task.truth.ids.tolist() == list(range(1, 81))
    assert (len(task.truth.classes), 2 in task.truth.classes) == (60, False)
    found = frame_map(task.truth, task.truth.boxes, OFFICIAL)
    assert (found.mean_ap, found.truth.excluded, found.truth.other_classes) == (1.0, 1, 1)


def test_task_says_what_was_read_and_how(root: Path) -> None:
    task = ava(data=root, view="centre", pool="max", num_layers=2, norm=False, bins=5)
    kept = RegionReadout(view="centre", pool="max", num_layers=2, norm=False, bins=5)
    assert task.readout == kept
    digest = hashlib.sha256(FOUND.encode()).hexdigest()
    assert task.files["detections"] == digest
    assert set(task.files) == {
        *("ground_truth_train", "ground_truth", "excluded_train", "excluded"),
        *("included", "detections"),
    }
    options = dict(task.options)
    assert options["threshold"] == 0.8 and "fit_threshold" not in options
    assert (options["pool"], options["view"], options["version"]) == ("max", "centre", "2.2")
    assert str(task.score_plan) == "16x1x1@4"
    linear = task.probe_options["single"]["linear"]
    assert (linear["lr"], linear["epochs"], linear["warmup"]) == ((1e-4,), 30, 2.0)
    assert task.probe_options["honest"]["linear"]["lr"] == (1e-4, 3e-4, 1e-3, 3e-3)


def test_probe_options_are_options_of_the_probe(root: Path) -> None:
    for settings in ava(data=root).probe_options.values():
        for probe, options in settings.items():
            build("probes", probe, options)


def test_true_boxes_can_be_scored(root: Path) -> None:
    task = ava(data=root, score_boxes="ground_truth")
    assert task.score.ids == [
        f"{D},0902,0.1,0.1,0.5,0.5",
        f"{D},0903,0.1,0.1,0.5,0.5",
        f"{D},0904,0.1,0.1,0.5,0.5",
    ]
    assert len(labels_of(task.score)[0]) == 2
    assert "detections" not in task.files and "threshold" not in task.options
    assert task.score.regions.facts["from"] == "ground_truth"
    assert task.score.regions.facts["truth_key_frames_without_box"] == 0


def test_detected_boxes_can_be_fitted_on_too(root: Path) -> None:
    path = touch(root / "boxes" / "ava_detection_train_boxes_and_labels.csv", FIT_FOUND)
    task = ava(data=root, fit_boxes="both")
    added = [
        (sample, names) for sample, names in zip(task.fit.ids, labels_of(task.fit), strict=True)
    ]
    assert len(added) == 5
    assert added[0] == (
        f"{A},0902,0.1,0.1,0.5,0.5",
        ["stand", "walk", "talk to (e.g., self, a person, a group)"],
    )
    assert added[2] == (f"{A},0902,0,0,0.2,0.3", [])
    facts = task.fit.regions.facts
    assert (facts["in_both"], facts["without_labels"]) == (1, 1)
    assert (facts["detector"]["below_threshold"], facts["detector"]["kept"]) == (1, 2)
    assert task.options["fit_threshold"] == 0.9 and "fit_detections" in task.files
    path.write_text(FIT_FOUND.replace(",14,", ",,"))
    with pytest.raises(DataError, match=r"has no action labels for its .*_and_labels"):
        ava(data=root, fit_boxes="both")


def test_mini_set_cuts_truth_and_boxes_to_every_fourth_second(root: Path) -> None:
    task = ava(data=root, seconds=4)
    assert task.score.ids == [f"{D},0904,0.1,0.1,0.5,0.55"]
    assert task.score.regions.facts["detector"]["other_seconds"] == 3 + 1
    assert task.truth.boxes.frames.micros.tolist() == [904e6]
    assert len(task.fit) == 4, "all seconds are fitted on"


def test_digest_covers_the_boxes(root: Path) -> None:
    before = ava(data=root).score.digest
    moved = FOUND.replace("0.12,0.1", "0.120001,0.1")
    touch(root / "annotations/ava_val_predicted_boxes.csv", moved)
    task = ava(data=root)
    assert task.score.digest != before
    assert task.score.ids[0] == f"{D},0902,0.120001,0.1,0.5,0.5"
    assert task.score.regions.corners[0, 0] == 0.120001


def test_times_are_spelled_with_four_digits() -> None:
    assert [
        format_second(m) for m in (1_000_000, 902_000_000, 1798_500_000, 12_000_003_000_000)
    ] == [
        "0001",
        "0902",
        "1798.5",
        "12000003",
    ]


def test_ids_and_digest_do_not_depend_on_the_format_of_boxes(root: Path) -> None:
    rows = [line.split(",") for line in FOUND.splitlines()]
    proposals: dict = {}
    for video, second, *corners, _, score in rows:
        proposals.setdefault(f"{video},{second}", []).append([*map(float, corners), float(score)])
    touch(root / "m.json", json.dumps(proposals))
    digest = ava(data=root).score.digest
    task = ava(data=root, detections=Path("m.json"))
    assert task.score.digest == digest
    assert task.score.layout == "mmaction2 proposals"


def test_alphaction_lists_are_found_wherever_they_lie(root: Path) -> None:
    images = [
        {"id": n, "movie": D, "timestamp": 902 + n, "width": 640, "height": 360} for n in range(2)
    ]
    found = [{"image_id": 1, "bbox": [64, 36, 320, 180], "score": 0.9}]
    touch(root / "annotations" / "ava_val_v2.2_min.json", json.dumps({"images": images}))
    touch(root / "boxes" / "ava_val_det_person_bbox.json", json.dumps(found))
    task = ava(data=root, detections=Path("boxes/ava_val_det_person_bbox.json"))
    assert task.score.ids == [f"{D},0903,0.1,0.1,0.6,0.6"]
    assert set(task.files) >= {"images", "detections"}
    assert (
        "images"
        not in ava(data=root, detections=Path("annotations/ava_val_predicted_boxes.csv")).files
    )


def test_alphactions_ground_truth_stands_in_for_the_csv(tmp_path: Path) -> None:
    def as_json(lines: str) -> str:
        images, annotations = {}, {}
        for line in lines.splitlines():
            video, second, *corners, action, _ = line.split(",")
            key = len(images) if (video, second) not in images else images[video, second]["id"]
            size = {"width": 1000, "height": 500}
            images[video, second] = {"id": key, "movie": video, "timestamp": int(second), **size}
            x1, y1, x2, y2 = map(float, corners)
            box = [1000 * x1, 500 * y1, 1000 * (x2 - x1), 500 * (y2 - y1)]
            item = annotations.setdefault((key, *corners), {"image_id": key, "bbox": box})
            item.setdefault("action_ids", []).append(int(action))
        return json.dumps({"images": [*images.values()], "annotations": [*annotations.values()]})

    one, other = (
        write_tree(tmp_path / "csv"),
        write_tree(tmp_path / "json", ava_train_v2_2_csv=None, ava_val_v2_2_csv=None),
    )
    for split, lines in (("train", TRAIN), ("val", VAL)):
        touch(other / "annotations" / f"ava_{split}_v2.2_min.json", as_json(lines))
    first, second = ava(data=one), ava(data=other)
    assert first.fit.digest == second.fit.digest
    assert first.score.digest == second.score.digest
    a, b = first.truth.boxes, second.truth.boxes
    order = np.lexsort((b.action, b.frames.micros, np.array(b.frames.videos)[b.frames.video]))
    other_order = np.lexsort((a.action, a.frames.micros, np.array(a.frames.videos)[a.frames.video]))
    np.testing.assert_allclose(b.corners[order], a.corners[other_order], atol=1e-6)


# --------------------------------------------------------------------------------- what is refused
def test_boxes_of_another_split_are_refused(root: Path) -> None:
    touch(root / "annotations/ava_val_predicted_boxes.csv", f"{A},0902,0.1,0.1,0.5,0.5,,0.95\n")
    with pytest.raises(DataError, match=rf"its 1 boxes are on none of the 2 videos .* {A};"):
        ava(data=root)


def test_videos_to_fit_and_to_score_on_are_not_the_same(root: Path) -> None:
    touch(root / "annotations/ava_train_v2.2.csv", TRAIN + f"{D},0903,0.1,0.1,0.5,0.5,12,0\n")
    with pytest.raises(DataError, match=rf"1 of the 2 videos .* too, such as {D}: "):
        ava(data=root)


def test_threshold_that_leaves_nothing_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 7 boxes is left .*below threshold 4\)"):
        ava(data=root, threshold=0.999)


def test_label_outside_of_the_classes_is_refused(root: Path) -> None:
    touch(root / "annotations/ava_train_v2.2.csv", TRAIN + f"{A},0902,0.1,0.1,0.5,0.5,81,0\n")
    with pytest.raises(
        DataError, match="1 labels are none of the 80 classes, the first of them 81"
    ):
        ava(data=root)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 1.5}, r"threshold 1.5 is outside \[0, 1\]"),
        ({"seconds": 0}, "seconds 0"),
        ({"rules": "activitynet"}, "unknown rules 'activitynet'"),
        ({"version": "2.3"}, "unknown version '2.3'"),
        ({"score_boxes": "both"}, "unknown score_boxes 'both'"),
        ({"bins": 0}, "bins 0 must be at least 1"),
        ({"frame_rate": 0.0}, "frame_rate 0.0"),
        ({"start": float("nan")}, "start nan"),
        ({"fit_detections": Path("annotations/ava_val_predicted_boxes.csv")}, "would not be read"),
    ],
)
def test_options_that_cannot_work_are_refused(
    root: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        ava(data=root, **options)
    with pytest.raises(UsageError, match="needs the folder of AVA"):
        ava()


def test_excluded_list_that_is_missing_is_told(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "annotations/ava_val_excluded_timestamps_v2.2.csv").unlink()
    task = ava(data=root)
    assert "has no list of excluded validation key frames" in caplog.text
    assert len(task.score) == 4 and task.truth.excluded is None
    assert "excluded" not in task.score.regions.facts["detector"]


def test_options_of_the_command_line_are_understood(root: Path) -> None:
    task = build("tasks", "ava", {"data": str(root), "threshold": "0.9", "start": "none"})
    assert len(task.score) == 2
    assert task.options["start"] is None


# ------------------------------------------------------------------------------------- other lists
def test_classes_of_the_lists_there_go_before_the_shipped(root: Path) -> None:
    known, scored = shipped_classes()
    items = "".join(f'item {{ name: "{name}" id: {n} }}\n' for n, name in scored.items() if n != 12)
    touch(root / "annotations/ava_action_list_v2.2_for_activitynet_2019.pbtxt", items)
    task = ava(data=root)
    assert len(task.truth.classes) == 59 and "label_map" in task.files
    assert list(task.score.classes) == list(known.values())
    touch(root / "annotations/ava_action_list_v2.2.pbtxt", 'label { name: "x" label_id: 1 }')
    with pytest.raises(DataError, match=r"class 1 is 'bend.*it is called 'x'"):
        ava(data=root)


def test_box_task_takes_any_classes_and_media(tmp_path: Path) -> None:
    """What a data set of its own needs: lists, two maps of classes and where the films are."""
    files = AvaFiles(
        ground_truth_train=touch(tmp_path / "t.csv", "v,1,0,0,0.5,1,7,0\nv,0001,0,0,0.5,1,3,0\n"),
        ground_truth=touch(tmp_path / "g.csv", "w,0002,0,0,0.5,1,7,0\n"),
        detections=touch(tmp_path / "d.csv", "w,0002,0,0,0.5,0.9,,0.9\n"),
        excluded=touch(tmp_path / "e.csv", EXCLUDED),
    )
    asked = []

    def media(names: list[str]) -> list[Path]:
        asked.append(list(names))
        return [tmp_path / name for name in names]

    own = BoxData(
        name="own",
        title="Own",
        files=files,
        media=media,
        classes={7: "jump", 3: "sit"},
        evaluated={7: "jump"},
        plan="8x1x1@3",
        options={"size": "small"},
    )
    task = box_task(own, boxes=BoxOptions(), times=KeyTimes(start=0.0))
    assert asked == [["v"], ["w"]]
    assert task.fit.classes == ("sit", "jump")
    assert task.fit.labels.tolist() == [[1, 1]]
    assert (task.fit.regions.start, task.options["size"]) == (0.0, "small")
    assert (str(task.fit_plan), task.truth.ids.tolist()) == ("8x1x1@3", [3, 7])


def test_fraction_cuts_whole_training_videos(root: Path) -> None:
    whole = ava(data=root)
    task = ava(data=root, fraction=0.5)
    assert len({sample.split(",")[0] for sample in task.fit.ids}) == 1
    assert task.fit.root.digest == whole.fit.digest
    assert (task.options["videos"], len(task.score)) == (1, len(whole.score))
    with pytest.raises(UsageError, match="shots"):
        ava(data=root, shots=1)
