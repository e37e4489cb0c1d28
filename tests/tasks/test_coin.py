"""COIN: one file for both subsets, the number of the task as label."""

import json
from pathlib import Path

import pytest

from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.coin import COIN, coin, read
from tests.tasks.video_trees import copy, look, plant, write

MADE_UP = LabelMap(
    names=[f"task {i}" if i != 131 else "MadeUpTask" for i in range(180)], source="golden"
)


def coin_file(path: Path, *rows: tuple[str, str, int | None, str]) -> Path:
    keys = ("class", "recipe_type", "subset")
    database = {name: dict(zip(keys, row, strict=True)) for name, *row in rows}
    return write(path, json.dumps({"database": database}))


def test_golden_file_gives_the_recipe_type(tmp_path: Path) -> None:
    copy("coin/COIN.json", tmp_path)
    tree = look(tmp_path)
    (path,) = tree.find(*COIN.patterns["training"])
    listed = read(path, "training", tree, MADE_UP)
    assert (list(listed.names), listed.labels.tolist()) == (["mdUp-nteLcY"], [131])
    with pytest.raises(DataError, match="no video of the subset 'testing'; its subsets: training"):
        read(path, "testing", tree, MADE_UP)


def test_subsets_are_told_apart(tmp_path: Path) -> None:
    rows = ("-a", "task 3", 3, "training"), ("b_", "task 0", 0, "testing")
    path = coin_file(tmp_path / "COIN.json", *rows, ("c", "task 3", 3, "testing"))
    listed = read(path, "testing", look(tmp_path), MADE_UP)
    assert (list(listed.names), listed.labels.tolist()) == (["b_", "c"], [0, 3])
    listed = read(path, "training", look(tmp_path), MADE_UP)
    assert (list(listed.names), listed.labels.tolist()) == (["-a"], [3])


def test_number_and_class_must_be_those_of_the_shipped_map(tmp_path: Path) -> None:
    names = COIN.labels.names
    assert len(names) == 180
    path = coin_file(tmp_path / "COIN.json", ("a", names[7], 7, "training"))
    assert read(path, "training", look(tmp_path), COIN.labels).labels.tolist() == [7]
    coin_file(path, ("a", names[7], 8, "training"))
    with pytest.raises(DataError, match=rf"COIN\.json gives the class '{names[7]}' the index 8"):
        read(path, "training", look(tmp_path), COIN.labels)


def test_entries_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    path = coin_file(tmp_path / "COIN.json", ("a", "task 7", 180, "training"))
    with pytest.raises(DataError, match=r"a has the recipe_type 180.*0 to 179"):
        read(path, "training", look(tmp_path), MADE_UP)
    coin_file(path, ("a", "task 7", None, "training"))
    with pytest.raises(DataError, match="a should have `subset`"):
        read(path, "training", look(tmp_path), MADE_UP)
    assert read(write(path, '{"version": 1}'), "training", look(tmp_path), MADE_UP) is None
    listing = write(tmp_path / "train.csv", "a.mp4 0\n")
    assert read(listing, "training", look(tmp_path), MADE_UP) is None


def test_one_file_beside_the_folder_of_videos_gives_both_splits(tmp_path: Path) -> None:
    names = COIN.labels.names
    coin_file(
        tmp_path / "COIN.json", ("-a", names[5], 5, "training"), ("b", names[9], 9, "testing")
    )
    task = coin(data=plant(tmp_path, "COIN/5/-a.mp4", "COIN/9/b.mkv"))
    assert (list(task.fit.ids), task.fit.labels.tolist()) == (["-a"], [5])
    assert (list(task.score.ids), task.score.labels.tolist()) == (["b"], [9])
    assert task.score.media[0].name == "b.mkv"
