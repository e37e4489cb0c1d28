"""iNaturalist 2021: its JSON, its class folders, and the two training splits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.data.discover.dataset import Listed
from bench.data.discover.folder_scan import scan
from bench.data.discover.label_map import LabelMap
from bench.data.manifest import Manifest
from bench.errors import DataError
from tasks.formats.inat21_files import folder_number, read_inat21
from tasks.inat21 import inat21

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats" / "inat21"
CLASSES = [
    "00000_Animalia_Annelida_Clitellata_Madeupida_Madeupidae_Madeupus_primus",
    "00001_Animalia_Annelida_Clitellata_Madeupida_Madeupidae_Madeupus_secundus",
]


def facts(**changed: Any) -> dict:
    """Four images of three classes; image ids are not row numbers, annotations in another order."""
    folders = ["00000_Aa", "00001_Bb", "00002_Cc"]
    images = [(17, 2), (3, 0), (900_000_000_000, 1), (5, 2)]
    return {
        "images": [
            {"id": i, "file_name": f"val/{folders[c]}/{n}.jpg", "latitude": None}
            for n, (i, c) in enumerate(images)
        ],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c} for n, (i, c) in enumerate(reversed(images))
        ],
        "categories": [
            {"id": c, "name": folders[c][6:], "image_dir_name": folders[c]} for c in (2, 0, 1)
        ],
        **changed,
    }


def read(
    root: Path,
    content: dict[str, list[dict[str, int | str | None]]],
    labels: LabelMap | None = None,
) -> Listed | None:
    path = root / "val.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_inat21(path, "val", scan(root, "image"), labels)


# ------------------------------------------------------------------------------------------- JSON
@pytest.mark.parametrize("name", ["val", "train_mini"])
def test_examples_of_the_format(tmp_path: Path, name: str) -> None:
    root = shutil.copytree(FORMATS, tmp_path / "inat21")
    listed = read_inat21(root / f"{name}.json", name, scan(root, "image"), None)
    assert list(listed.names) == [f"{name}/{CLASSES[1]}/0a1b2c3d-0000-4000-8000-000000000001.jpg"]
    assert listed.labels.tolist() == [1]
    assert listed.classes == CLASSES


def test_arrays_are_joined_by_image_id_in_any_order(tmp_path: Path) -> None:
    content = facts()
    listed = read(tmp_path, content)
    assert [Path(name).name for name in listed.names] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert listed.labels.tolist() == [2, 0, 1, 2]
    assert listed.classes == ["00000_Aa", "00001_Bb", "00002_Cc"]
    backwards = dict(reversed(content.items()))
    assert read(tmp_path, backwards).labels.tolist() == [2, 0, 1, 2]


def test_classes_of_the_user_are_found_by_name(tmp_path: Path) -> None:
    labels = LabelMap(names=["00002_Cc", "00001_Bb", "00000_Aa"], source="made up")
    listed = read(tmp_path, facts(), labels)
    assert listed.labels.tolist() == [0, 2, 1, 0]
    assert listed.classes is None
    with pytest.raises(DataError, match=r"'00002_Cc' is none of the 1 classes"):
        read(tmp_path, facts(), LabelMap(names=["00000_Aa"], source="made up"))


def test_species_name_where_no_folder_is_named(tmp_path: Path) -> None:
    categories = [{"id": c, "name": name} for c, name in enumerate(["Aa", "Bb", "Cc"])]
    assert read(tmp_path, facts(categories=categories)).classes == ["Aa", "Bb", "Cc"]


def test_test_images_have_no_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 images without annotations.*score on val.json"):
        read(tmp_path, {"images": facts()["images"], "categories": []})


def without(rows: list, place: int) -> list:
    return [row for number, row in enumerate(rows) if number != place]


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        ("annotations", lambda rows: without(rows, 1), r"'val/00001_Bb/2.jpg' has no annotation"),
        ("images", lambda rows: without(rows, 1), "4 annotations for 3 images"),
        ("annotations", lambda rows: [*rows, rows[0]], "5 annotations for 4 images"),
        ("images", lambda rows: [*rows[:3], rows[0]], "images with 3 different ids"),
        ("categories", lambda rows: without(rows, 0), "category_id 2 is not among the categories"),
        (
            "annotations",
            lambda rows: [{**rows[0], "category_id": 1}, *rows[1:]],
            r"'val/00002_Cc/3.jpg' has category_id 1, which is not the number of its folder",
        ),
        ("images", lambda rows: [{"id": 3}], r"in images lacks a field"),
        ("annotations", lambda rows: [{"image_id": "3", "category_id": 0}], "of a wrong type"),
        ("categories", lambda rows: [{"id": 0}], "in categories lacks a field"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, key: str, change: Callable[..., Any], reason: str
) -> None:
    content = facts()
    content[key] = change(content[key])
    with pytest.raises(DataError, match=reason):
        read(tmp_path, content)


def test_category_ids_with_a_gap_are_no_class_indices(tmp_path: Path) -> None:
    categories = [*facts()["categories"], {"id": 9, "name": "x", "image_dir_name": "00009_x"}]
    with pytest.raises(DataError, match=r"are not 0 to 3.*task.classes=FILE"):
        read(tmp_path, facts(categories=categories))


def test_json_of_another_kind_is_left_to_others(tmp_path: Path) -> None:
    assert read(tmp_path, "[1, 2]") is None
    assert read(tmp_path, '{"database": {"a": 1}}') is None
    with pytest.raises(DataError, match="cut off"):
        read(tmp_path, json.dumps(facts())[:-5])


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("train/00012_Animalia_x/a.jpg", 12),
        ("00012_Animalia_x/a.jpg", 12),
        ("train/09999/a.jpg", 9999),
        ("train/000123_x/a.jpg", None),
        ("train/x_00012/a.jpg", None),
        ("00012_a.jpg", None),
    ],
)
def test_number_of_a_class_folder(name: str, number: int | None) -> None:
    assert folder_number(name) == number


# ---------------------------------------------------------------------------------- whole layouts
FOLDERS = ["00000_Animalia_a", "00001_Fungi_b", "00002_Plantae_c"]
ROWS = {
    "train": {"t0": 0, "t1": 1, "t2": 2, "t3": 2},
    "train_mini": {"t0": 0, "t1": 1, "t2": 2},  # some of the same files
    "val": {"v0": 0, "v1": 2},
}


def whole(root: Path, *splits: str, json_too: bool = True) -> None:
    for split in splits:
        names = [f"{split}/{FOLDERS[c]}/{name}.jpg" for name, c in ROWS[split].items()]
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        content = {
            "images": [{"id": n + 7, "file_name": name} for n, name in enumerate(names)],
            "categories": [{"id": c, "image_dir_name": name} for c, name in enumerate(FOLDERS)],
            "annotations": [
                {"image_id": n + 7, "category_id": c} for n, c in enumerate(ROWS[split].values())
            ],
        }
        if json_too:
            (root / f"{split}.json").write_text(json.dumps(content))


def rows(manifest: Manifest) -> dict[str, int]:
    return dict(zip(manifest.ids, manifest.labels.tolist(), strict=True))


@pytest.mark.parametrize("json_too", [True, False], ids=["json", "folders"])
@pytest.mark.parametrize("mini", [True, False], ids=["mini", "full"])
def test_training_splits_are_not_mixed_up(tmp_path: Path, mini: bool, json_too: bool) -> None:
    whole(tmp_path, "train", "train_mini", "val", json_too=json_too)
    task = inat21(data=tmp_path, mini=mini)
    name = "train_mini" if mini else "train"
    assert rows(task.fit) == ROWS[name]
    assert {medium.parts[-3] for medium in task.fit.media} == {name}
    assert rows(task.score) == ROWS["val"]
    assert list(task.fit.classes) == list(task.score.classes) == FOLDERS
    assert task.fit.expected == (500_000 if mini else 2_686_843)
    assert task.score.expected == 100_000


def test_mini_is_never_taken_for_all_of_train(tmp_path: Path) -> None:
    whole(tmp_path, "train_mini", "val")
    assert len(inat21(data=tmp_path, mini=True).fit) == 3
    with pytest.raises(DataError, match=r"iNaturalist 2021 train"):
        inat21(data=tmp_path)


def test_mini_is_read_from_the_images_of_train(tmp_path: Path) -> None:
    whole(tmp_path, "train", "val")
    whole(tmp_path / "lists", "train_mini")
    shutil.copy(tmp_path / "lists" / "train_mini.json", tmp_path)
    shutil.rmtree(tmp_path / "lists")
    task = inat21(data=tmp_path, mini=True)
    assert rows(task.fit) == ROWS["train_mini"]
    assert all(medium.exists() for medium in task.fit.media)


def test_json_and_folders_give_the_same_digest(tmp_path: Path) -> None:
    whole(tmp_path / "a", "train", "val")
    whole(tmp_path / "b", "train", "val", json_too=False)
    a, b = inat21(data=tmp_path / "a"), inat21(data=tmp_path / "b")
    assert (a.fit.digest, a.score.digest) == (b.fit.digest, b.score.digest)
