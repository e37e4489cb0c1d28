"""Places205 and Places365: nested and flattened trees give the same samples the same labels."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.discover.dataset import Listed
from bench.data.discover.folder_scan import scan
from bench.data.discover.label_map import LabelMap
from bench.data.media.media import ParquetCell
from bench.errors import DataError
from tasks.formats.places_files import easyformat, image_ids, listed_path, reader, scene_finder
from tasks.labels import shipped
from tasks.places205 import places205
from tasks.places365 import places365

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
CATEGORIES = "categories_places365.txt"
# As in the official lists; their places are the true indices.
SCENES = ["/a/airfield", "/a/airplane_cabin", *(f"/x/x_{i}" for i in range(2, 8))]
SCENES += ["/a/apartment_building/outdoor", "/t/train_station/platform", "/b/bedroom"]
LABELS = LabelMap(names=[scene[1:] for scene in SCENES], source="made up")
OUTDOOR = 8


def read(root: Path, name: str, split: str = "train", labels: LabelMap = LABELS) -> Listed | None:
    """Read one list below a root; returns its Listed, or None."""
    tree = scan(root, "image")
    return reader("Places365", CATEGORIES, labels)(tree.find(name)[0], split, tree, labels)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


# ------------------------------------------------------------------------------------------ names
@pytest.mark.parametrize(
    "name",
    [
        "/a/apartment_building/outdoor/00000002.jpg",
        "a/apartment_building/outdoor/00000002.jpg",
        "data_large/a/apartment_building/outdoor/00000002.jpg",
        "places365_standard/train/apartment_building-outdoor/00000002.jpg",
        "train/apartment_building_outdoor/00000002.JPEG",
        "train/a_apartment_building_outdoor/00000002.png",
        "train/a-apartment_building-outdoor/00000002.jpg",
        "train/apartment_building/outdoor/00000002.jpg",
        "data/vision/torralba/deeplearning/images256/a/apartment_building/outdoor/00000002.jpg",
    ],
)
@pytest.mark.parametrize("spelling", [lambda s: s, lambda s: s[1:], easyformat])
def test_one_sample_has_one_id_in_every_layout(name: str, spelling: Callable[..., Any]) -> None:
    labels = LabelMap(names=[spelling(scene) for scene in SCENES], source="made up")
    assert image_ids(labels)(name) == "apartment_building-outdoor/00000002"


def test_ids_hold_the_class_because_file_names_repeat() -> None:
    image_id = image_ids(LABELS)
    assert image_id("a/airfield/00000001.jpg") == "airfield/00000001"
    assert image_id("b/bedroom/00000001.jpg") == "bedroom/00000001"
    assert image_id("x/unknown_scene/00000001.jpg") == "unknown_scene/00000001"
    assert listed_path("/a/airfield/00000001.jpg") == ("a/airfield/00000001",)


@pytest.mark.parametrize(
    "folder", ["", "val_256/", "places365_standard/val/airfield/", "/a/airfield/"]
)
def test_numbered_images_have_their_number_as_id(folder: str) -> None:
    assert image_ids(LABELS)(f"{folder}Places365_val_00000002.jpg") == "Places365_val_00000002"


def test_scene_is_what_the_folder_ends_in() -> None:
    find = scene_finder(LABELS)
    assert find("images256/t/train_station/platform") == 9
    assert find("train/train_station-platform") == 9
    assert find("platform") is None  # half a name is not a class
    assert find("val_256") is None


# ---------------------------------------------------------------------------------- Places365 lists
def test_official_training_list(tmp_path: Path) -> None:
    root = shutil.copytree(FORMATS / "places365", tmp_path / "p")
    listed = read(root, "places365_train_standard.txt")
    assert list(listed.names) == [
        "/a/airfield/00000001.jpg",
        "/a/apartment_building/outdoor/00000002.jpg",
    ]
    assert listed.labels.tolist() == [0, OUTDOOR]


def test_official_validation_list_of_flat_images(tmp_path: Path) -> None:
    root = shutil.copytree(FORMATS / "places365", tmp_path / "p")
    listed = read(root, "places365_val.txt", "val")
    assert dict(zip(listed.names, listed.labels.tolist(), strict=True)) == {
        "Places365_val_00000001.jpg": OUTDOOR,
        "Places365_val_00000002.jpg": 0,
    }


@pytest.mark.parametrize("name", ["places365_test.txt", "val_without_labels.txt"])
def test_list_without_labels_is_refused(tmp_path: Path, name: str) -> None:
    root = shutil.copytree(FORMATS / "places365", tmp_path / "p")
    text(root / "val_without_labels.txt", "Places365_val_00000001.jpg\n")
    with pytest.raises(DataError, match=r"without labels.*places365_val\.txt"):
        read(root, name, "val")


def test_list_of_class_folders_without_index(tmp_path: Path) -> None:
    listing = (FORMATS / "places365" / "easyformat_listing.txt").read_text().split()
    images = [name for name in listing if name.endswith(".jpg")]
    text(tmp_path / "val.txt", "\n".join(images))
    listed = read(tmp_path, "val.txt", "val")
    assert listed.labels.tolist() == [OUTDOOR, 0]
    text(tmp_path / "val.txt", "\n".join([*images, "val/airfeild/3.jpg"]))
    with pytest.raises(
        DataError, match=r"line 3: the folder of 'val/airfeild/3.jpg' is not a class"
    ):
        read(tmp_path, "val.txt", "val")


def test_category_file_in_another_order_is_refused(tmp_path: Path) -> None:
    root = shutil.copytree(FORMATS / "places365", tmp_path / "p")
    text(root / CATEGORIES, "/a/airplane_cabin 0\n/a/airfield 1")
    with pytest.raises(
        DataError, match=r"categories_places365.txt gives .*airplane_cabin.* index 0"
    ):
        read(root, "places365_val.txt", "val")
    text(root / CATEGORIES, "/a/airfield 0\n/a/new_scene 1\n")
    with pytest.raises(DataError, match=r"new_scene.*has no such class"):
        read(root, "places365_val.txt", "val")


def test_index_of_another_class_than_the_name_tells_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "train.txt", "/a/airfield/1.jpg 0\n/a/airplane_cabin/1.jpg 8\n")
    with pytest.raises(DataError, match=r"line 2: .*'a/airplane_cabin', but the index 8"):
        read(tmp_path, "train.txt")
    text(tmp_path / "train.txt", "/a/airfield/1.jpg 0\n/a/airplane_cabin/1.jpg 800\n")
    with pytest.raises(DataError, match=r"index 800 is not a class"):
        read(tmp_path, "train.txt")


# ---------------------------------------------------------------------------------- Places205 lists
def test_places205_lists_are_separated_by_blanks(tmp_path: Path) -> None:
    names = ["a/abbey", "a/airport_terminal", *(f"x/x_{i}" for i in range(2, 22)), "b/bedroom"]
    labels = LabelMap(names=names, source="made up")
    root = shutil.copytree(FORMATS / "places205", tmp_path / "p")
    listed = read(root, "train_places205.csv", labels=labels)
    assert list(listed.names)[2] == "b/bedroom/gsun_madeup0003.jpg"
    assert listed.labels.tolist() == [0, 1, 22]
    assert read(root, "val_places205.csv", "val", labels).labels.tolist() == [0]
    [lies] = (FORMATS / "places205" / "listing.txt").read_text().split()
    assert image_ids(labels)(lies) == image_ids(labels)(listed.names[0]) == "abbey/gsun_madeup0001"


# ------------------------------------------------------------------------------------- long lists
def test_lists_are_cut_at_the_last_separator(tmp_path: Path) -> None:
    text(tmp_path / "train.txt", "\ufeffa/airfield/my file.jpg 0\r\na/airfield/2.jpg 0 \r\n\r\n")
    assert list(read(tmp_path, "train.txt").names) == ["a/airfield/my file.jpg", "a/airfield/2.jpg"]
    text(tmp_path / "train.txt", "a/airfield/1,2.jpg,0\n")
    assert list(read(tmp_path, "train.txt").names) == ["a/airfield/1,2.jpg"]


@pytest.mark.parametrize("line", ["a/airfield/2.jpg", "", "a/airfield/2.jpg x", "a/b.jpg -1", " 1"])
def test_line_without_index_is_named(tmp_path: Path, line: str) -> None:
    text(tmp_path / "train.txt", f"a/airfield/1.jpg 0\n{line}\na/airfield/3.jpg 0\n")
    with pytest.raises(DataError, match=r"train.txt, line 2: expected a file name and an index"):
        read(tmp_path, "train.txt")


# ---------------------------------------------------------------------------------- whole layouts
# The true indices of these scenes; the number of a training image repeats from class to class.
TRAIN365 = {"a/airfield": 0, "a/airplane_cabin": 1, "a/apartment_building/outdoor": 8}
VAL365 = {"Places365_val_00000001": 8, "Places365_val_00000002": 0}
TRAIN205 = {"a/abbey": 0, "b/bedroom": 24, "a/apartment_building/outdoor": 13}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def scene(index: int) -> str:
    return next(name for name, number in TRAIN365.items() if number == index)


def official365(root: Path) -> None:
    touch(root / "data_large", *(f"{name}/00000001.jpg" for name in TRAIN365))
    touch(root / "val_large", *(f"{name}.jpg" for name in VAL365))
    lines = [f"/{name}/00000001.jpg {index}" for name, index in TRAIN365.items()]
    text(root / "places365_train_standard.txt", "\n".join(lines))
    lines = [f"{name}.jpg {index}" for name, index in VAL365.items()]
    text(root / "places365_val.txt", "\n".join(lines))
    shutil.copy(FORMATS / "places365" / CATEGORIES, root)


def challenge365(root: Path) -> None:
    official365(root)
    (root / "places365_train_standard.txt").rename(root / "places365_train_challenge.txt")


def easyformat365(root: Path) -> None:
    folder = root / "places365_standard"
    touch(folder / "train", *(f"{easyformat(name)}/00000001.jpg" for name in TRAIN365))
    touch(folder / "val", *(f"{easyformat(scene(c))}/{name}.jpg" for name, c in VAL365.items()))


def easyformat365_with_lists(root: Path) -> None:
    easyformat365(root)
    folder = root / "places365_standard"
    for split in ("train", "val"):
        found = sorted((folder / split).rglob("*.jpg"))
        text(folder / f"{split}.txt", "\n".join(str(p.relative_to(folder)) for p in found))


def class_folders365(root: Path) -> None:
    touch(root / "train_256", *(f"{name}/00000001.jpg" for name in TRAIN365))
    touch(root / "val_256", *(f"{scene(c)}/{name}.jpg" for name, c in VAL365.items()))


def parquet365(root: Path) -> None:
    """Hugging Face keeps file names without folders, so they repeat in one file."""
    splits = {
        "train": [("00000001.jpg", index) for index in TRAIN365.values()],
        "validation": [(f"{name}.jpg", index) for name, index in VAL365.items()],
    }
    for split, rows in splits.items():
        cells = [{"bytes": b"", "path": name} for name, _ in rows]
        table = pa.table({"image": cells, "label": [index for _, index in rows]})
        pq.write_table(table, root / f"{split}-00000-of-00001.parquet")


LAYOUTS = [
    official365,
    challenge365,
    easyformat365,
    easyformat365_with_lists,
    class_folders365,
    parquet365,
]


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_every_layout_of_places365_gives_the_same_manifests(
    tmp_path: Path, make: Callable[..., Any]
) -> None:
    make(tmp_path)
    task = places365(data=tmp_path)
    rows = {f"{easyformat(name)}/00000001": index for name, index in TRAIN365.items()}
    for manifest, expected in ((task.fit, rows), (task.score, VAL365)):
        assert dict(zip(manifest.ids, manifest.labels.tolist(), strict=True)) == expected
        assert len(manifest.classes) == 365
        assert all(isinstance(medium, ParquetCell) or medium.exists() for medium in manifest.media)
    assert task.fit.copies == {"published": 1_803_460, "challenge 2016": 8_026_628}
    assert (task.fit.expected, task.score.expected) == (1_803_460, 36_500)


def test_image_of_another_class_with_the_same_name_is_no_substitute(tmp_path: Path) -> None:
    official365(tmp_path)
    (tmp_path / "data_large" / "a" / "airfield" / "00000001.jpg").unlink()
    fit = places365(data=tmp_path).fit
    missing = [
        sample for sample, medium in zip(fit.ids, fit.media, strict=True) if not medium.exists()
    ]
    assert missing == ["airfield/00000001"]


def test_list_of_test_images_is_refused_by_the_task(tmp_path: Path) -> None:
    official365(tmp_path)
    with pytest.raises(DataError, match=r"test images of Places365 without labels"):
        places365(data=tmp_path, val=FORMATS / "places365" / "places365_test.txt")


def official205(root: Path) -> None:
    base = root / "data" / "vision" / "torralba" / "deeplearning" / "images256"
    for split in ("train", "val"):
        names = {f"{name}/gsun_{split}.jpg": index for name, index in TRAIN205.items()}
        touch(base, *names)
        lines = "".join(f"{name} {index}\n" for name, index in names.items())
        text(root / "trainvalsplit_places205" / f"{split}_places205.csv", lines)


def nested205(root: Path) -> None:
    for split in ("train", "val"):
        touch(root / "pytorch" / split, *(f"{name}/gsun_{split}.jpg" for name in TRAIN205))


def flattened205(root: Path) -> None:
    for split in ("train", "val"):
        names = (name.replace("/", "_") for name in TRAIN205)
        touch(root / split, *(f"{name}/gsun_{split}.jpg" for name in names))


@pytest.mark.parametrize("make", [official205, nested205, flattened205], ids=lambda m: m.__name__)
def test_every_layout_of_places205_gives_the_same_manifests(
    tmp_path: Path, make: Callable[..., Any]
) -> None:
    make(tmp_path)
    task = places205(data=tmp_path)
    for manifest, split in ((task.fit, "train"), (task.score, "val")):
        assert dict(zip(manifest.ids, manifest.labels.tolist(), strict=True)) == {
            f"{easyformat(name)}/gsun_{split}": index for name, index in TRAIN205.items()
        }
        assert len(manifest.classes) == 205
    assert (task.fit.expected, task.score.expected) == (2_448_873, 20_500)


def test_examples_beside_the_shipped_label_maps(tmp_path: Path) -> None:
    root = shutil.copytree(FORMATS / "places365", tmp_path / "365")
    listed = read(root, "places365_train_standard.txt", labels=shipped("places365"))
    assert listed.labels.tolist() == [0, 8]
    root = shutil.copytree(FORMATS / "places205", tmp_path / "205")
    assert read(root, "val_places205.csv", labels=shipped("places205")).labels.tolist() == [0]
    # The made-up list has the bedroom at 22, which is the bayou of the data set.
    with pytest.raises(DataError, match=r"line 3: .*'b/bedroom', but the index 22 .*'b/bayou'"):
        read(root, "train_places205.csv", labels=shipped("places205"))


@pytest.mark.parametrize("name", ["places205", "places365"])
def test_all_scenes_are_told_apart_in_all_spellings(name: str) -> None:
    labels = shipped(name)
    find = scene_finder(labels)
    numbers = list(range(len(labels)))
    assert len({easyformat(scene) for scene in labels.names}) == len(labels)
    for spell in (str, easyformat, lambda s: easyformat(s).replace("-", "_"), lambda s: s[2:]):
        assert [find(f"train/{spell(scene)}") for scene in labels.names] == numbers
