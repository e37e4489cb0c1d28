"""What each task of a video data set measures: splits, published sizes, clips, flips."""

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.registry import build, find
from tests.tasks.video_trees import plant

# splits to fit and to score on, their published sizes, plan, flip, two classes
FACTS = {
    "k600": ("train", "val", 392_622, 30_000, "16x8x3@4", True, ("abseiling", "zumba")),
    "k700": ("train", "val", 545_317, 35_000, "16x8x3@4", True, ("abseiling", "zumba")),
    "ssv2": (
        "train",
        "validation",
        168_913,
        24_777,
        "16x2x3@4",
        False,
        ("Holding something", "Closing something"),
    ),
    "ucf101": ("trainlist01", "testlist01", 9_537, 3_783, "16x5x3@4", True, ("YoYo", "Archery")),
    "hmdb51": ("train_split1", "test_split1", 3_570, 1_530, "16x5x3@4", True, ("wave", "sword")),
    "jester": (
        "train",
        "validation",
        118_562,
        14_787,
        "32x4x3@2",
        False,
        ("Swiping Left", "Swiping Right"),
    ),
    "diving48": (
        "train",
        "test",
        15_027,
        1_970,
        "32x4x3@2",
        False,
        ("Back 15som 05Twis FREE", "Forward 25som 2Twis PIKE"),
    ),
    "coin": (
        "training",
        "testing",
        9_030,
        2_797,
        "16x8x3@4",
        True,
        ("AssembleBed", "ReplaceCDDriveWithSSD"),
    ),
}


def class_folders(root: Path, classes: tuple[str, str]) -> Path:
    files = [
        f"{part}/{name.replace(' ', '_')}/{part}{number}.mp4"
        for part in ("train", "val")
        for number, name in enumerate(classes)
    ]
    return plant(root, *files)


@pytest.mark.parametrize("name", FACTS)
def test_protocol(tmp_path: Path, name: str) -> None:
    fit, score, fit_size, score_size, plan, flip, classes = FACTS[name]
    task = build("tasks", name, {"data": str(class_folders(tmp_path, classes))})
    assert (task.name, task.kind, task.metric, task.flip) == (name, "video", "top1", flip)
    assert (task.fit.split, task.score.split) == (fit, score)
    assert (task.fit.expected, task.score.expected) == (fit_size, score_size)
    assert str(task.score_plan) == plan
    assert str(task.fit_plan) == plan.replace("x3@", "x1@")
    for manifest in (task.fit, task.score):
        assert [manifest.classes[label] for label in manifest.labels] == list(classes)


@pytest.mark.parametrize("name", FACTS)
def test_docstring_tells_sizes_and_protocol(name: str) -> None:
    text = find("tasks", name).facts["doc"]
    assert all(f"{size:,}" in text for size in FACTS[name][2:4])
    assert "stride" in text and "views" in text


@pytest.mark.parametrize("name", ["ucf101", "hmdb51"])
def test_split_is_an_option_and_the_name_of_the_split(tmp_path: Path, name: str) -> None:
    fit, score, *_, classes = FACTS[name]
    files = [f"{fit[:-1]}2/{c}/a{i}.avi" for i, c in enumerate(classes)]
    files += [f"{score[:-1]}2/{c}/b{i}.avi" for i, c in enumerate(classes)]
    root = plant(tmp_path, *files, f"train/{classes[0]}/c.avi", f"test/{classes[0]}/d.avi")
    second = build("tasks", name, {"data": str(root), "split": "2"})
    assert (second.fit.split, second.score.split) == (f"{fit[:-1]}2", f"{score[:-1]}2")
    assert (list(second.fit.ids), list(second.score.ids)) == (["a0", "a1"], ["b0", "b1"])
    assert second.options["split"] == 2
    first = build("tasks", name, {"data": str(root)})
    assert (list(first.fit.ids), list(first.score.ids)) == (["c"], ["d"])
    with pytest.raises(UsageError, match="splits 1, 2 and 3"):
        build("tasks", name, {"data": str(root), "split": "4"})


def test_coin_names_the_part_of_the_video_that_is_used(tmp_path: Path) -> None:
    root = class_folders(tmp_path, FACTS["coin"][-1])
    assert build("tasks", "coin", {"data": str(root)}).options["clip"] == "whole"
    with pytest.raises(UsageError, match="'trimmed' is not one of whole"):
        build("tasks", "coin", {"data": str(root), "clip": "trimmed"})
