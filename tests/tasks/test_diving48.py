"""Diving48: the second version of the lists, and never the first."""

import json
from pathlib import Path

import pytest

from bench.data.discover.find_split import read_split
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.diving48 import DIVING48, read
from tests.tasks.video_trees import copy, look, plant, write

ANY = LabelMap(names=[f"dive {i}" for i in range(48)], source="test")


def test_golden_list_gives_names_and_labels(tmp_path: Path) -> None:
    folder = copy("diving48", tmp_path)
    tree = look(tmp_path)
    (path,) = tree.find(*DIVING48.patterns["train"])
    assert path == folder / "Diving48_V2_train.json"
    for labels in (ANY, DIVING48.labels):
        listed = read(path, "train", tree, labels)
        assert list(listed.names) == ["madeupAAAAAA_00001", "madeupAAAAAA_00002"]
        assert listed.labels.tolist() == [0, 47]


def test_lists_of_the_first_version_are_refused(tmp_path: Path) -> None:
    item = {"vid_name": "a_00001", "label": 3, "start_frame": 0, "end_frame": 9}
    path = write(tmp_path / "Diving48_test.json", json.dumps([item]))
    tree = look(tmp_path)
    assert tree.find(*DIVING48.patterns["test"]) == [path]
    with pytest.raises(DataError, match=r"first version.*Diving48_V2_test\.json"):
        read(path, "test", tree, ANY)


def test_label_outside_the_map_and_broken_items_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.json", json.dumps([{"vid_name": "a", "label": 48}]))
    with pytest.raises(DataError, match=r"item 1: a has the label 48.*0 to 47"):
        read(path, "train", look(tmp_path), ANY)
    write(path, json.dumps([{"vid_name": "a", "label": 1}, {"vid_name": "b"}]))
    with pytest.raises(DataError, match="item 2: expected"):
        read(path, "train", look(tmp_path), ANY)
    assert read(write(path, '[["Back", "15som"]]'), "train", look(tmp_path), ANY) is None


def test_vocabulary_in_another_order_is_refused(tmp_path: Path) -> None:
    folder = copy("diving48", tmp_path)
    swapped = [["Back", "15som", "15Twis", "FREE"], ["Back", "15som", "05Twis", "FREE"]]
    write(folder / "Diving48_vocab.json", json.dumps(swapped))
    with pytest.raises(DataError, match=r"vocab\.json gives the class 'Back 15som 15Twis FREE'"):
        read(folder / "Diving48_V2_train.json", "train", look(tmp_path), DIVING48.labels)


def test_there_are_48_classes() -> None:
    assert len(DIVING48.labels) == 48


def test_golden_list_finds_its_videos(tmp_path: Path) -> None:
    root = plant(tmp_path, "rgb/madeupAAAAAA_00001.mp4", "rgb/madeupAAAAAA_00002.mp4")
    copy("diving48", root)
    manifest = read_split(DIVING48, root, "train")
    assert manifest.labels.tolist() == [0, 47]
    assert manifest.classes[0] == "Back 15som 05Twis FREE"
    assert [path.name[-9:] for path in manifest.media] == ["00001.mp4", "00002.mp4"]
