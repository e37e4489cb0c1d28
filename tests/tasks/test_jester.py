"""Jester: `id;class` lines, an order that is not alphabetical, folders of frames."""

from pathlib import Path

import pytest

from bench.data.discover.find_split import read_split
from bench.data.discover.label_map import LabelMap
from bench.data.media.media import FrameFolder
from bench.errors import DataError
from tasks.jester import JESTER, read
from tests.tasks.video_trees import copy, look, plant, write

THREE = LabelMap(names=["Swiping Left", "Swiping Right", "Doing other things"], source="golden")


def test_golden_list_gives_the_order_of_the_label_file(tmp_path: Path) -> None:
    folder = copy("jester", tmp_path)
    listed = read(folder / "jester-v1-train.csv", "train", look(tmp_path), THREE)
    assert (list(listed.names), listed.labels.tolist()) == (["900001", "900002"], [1, 2])
    assert [len(look(tmp_path).find(*JESTER.patterns[s])) for s in ("train", "validation")] == [
        1,
        0,
    ]


def test_golden_test_list_has_no_labels(tmp_path: Path) -> None:
    folder = copy("jester", tmp_path)
    with pytest.raises(DataError, match=r"has no labels.*never published"):
        read(folder / "jester-v1-test.csv", "test", look(tmp_path), THREE)


def test_other_files_are_left_to_the_general_reader(tmp_path: Path) -> None:
    tree = look(tmp_path)
    for line in ("900001 37 4", "video_id;label", "900001.mp4 0"):
        assert read(write(tmp_path / "list.csv", f"{line}\n"), "train", tree, THREE) is None


def test_line_without_class_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "1;Swiping Left\n2;\n")
    with pytest.raises(DataError, match=r"list\.csv, line 2: expected `id;class name`"):
        read(path, "train", look(tmp_path), THREE)


def test_shipped_order_is_that_of_the_release(tmp_path: Path) -> None:
    names = list(JESTER.labels.names)
    assert (len(names), names[:3]) == (27, ["Swiping Left", "Swiping Right", "Swiping Down"])
    assert names[-1] == "Doing other things"
    assert names != sorted(names)
    path = write(tmp_path / "jester-v1-train.csv", "1;Drumming Fingers\r\n2;Swiping Left\r\n")
    own = write(tmp_path / "jester-v1-labels.csv", "\n".join(names) + "\n")
    listed = read(path, "train", look(tmp_path), JESTER.labels)
    assert listed.labels.tolist() == [names.index("Drumming Fingers"), 0]
    write(own, "\n".join(sorted(names)))
    with pytest.raises(DataError, match=r"labels\.csv gives the class .* task\.classes="):
        read(path, "train", look(tmp_path), JESTER.labels)
    by_name = LabelMap(names=sorted(names), source=str(own))
    assert read(path, "train", look(tmp_path), by_name).labels.tolist() == [
        sorted(names).index("Drumming Fingers"),
        sorted(names).index("Swiping Left"),
    ]


def test_golden_list_finds_the_folders_of_frames(tmp_path: Path) -> None:
    pictures = [f"20bn-jester-v1/{v}/0000{n}.jpg" for v in ("900001", "900002") for n in (1, 2)]
    root = plant(tmp_path, *pictures)
    golden = copy("jester", root)
    manifest = read_split(JESTER, root, "train", classes=golden / "jester-v1-labels.csv")
    assert [manifest.classes[label] for label in manifest.labels] == list(THREE.names)[1:]
    assert manifest.media[0] == FrameFolder(root / "20bn-jester-v1" / "900001")
