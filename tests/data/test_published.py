"""A made-up data set in every layout: which one is read, what is said of it, what is refused."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.discover.annotations import read_lines
from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.find_split import read_split
from bench.data.discover.folder_scan import Tree
from bench.data.discover.label_map import LabelMap
from bench.data.manifest import Manifest
from bench.errors import DataError

CLASSES = ("air drumming", "bee keeping", "shaking head")


def official(path: Path, split: str, tree: Tree, labels: LabelMap) -> Listed | None:
    """`#official`, then `name=class` lines; `name=` is unused."""
    lines = read_lines(path)
    if lines[0] != "#official":
        return None
    rows = [line.split("=") for line in lines[1:]]
    return Listed(
        names=[name for name, label in rows if label],
        labels=[int(label) for _, label in rows if label],
        source=path,
        layout="official list",
        excluded={name: "unused" for name, label in rows if not label},
    )


def made(**options: Any) -> DataSet:
    return DataSet(
        **{
            "name": "made",
            "title": "Made up",
            "kind": "image",
            "labels": LabelMap(names=CLASSES, source="made.txt"),
            "words": {"train": ("train",), "val": ("val", "validation")},
            "sizes": {"train": {"published": 4, "small copy": 3}},
            "patterns": {"train": ("official.txt", "train.csv"), "val": ("official_val.txt",)},
            "read": official,
            **options,
        }
    )


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def text(root: Path, name: str, *lines: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def tar(path: Path, members: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))


def read(
    root: Path, split: str = "train", *, dataset: DataSet | None = None, **options: Any
) -> Manifest:
    return read_split(dataset or made(), root, split, **options)


def rows(manifest: Manifest) -> dict[str, int]:
    return dict(zip(manifest.ids, manifest.labels.tolist(), strict=True))


def refusal(root: Path, split: str = "train", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(root, split, **options)
    return str(caught.value)


# ----------------------------------------------------------------------------------------- order
def test_layouts_are_tried_in_order(tmp_path: Path) -> None:
    """Everything at once, each with other labels; then the best is taken away again and again."""
    touch(tmp_path, "train/bee keeping/a.jpg", "train/bee keeping/b.jpg")
    tar(tmp_path / "train-0.tar", {"c.jpg": "", "c.cls": "2"})
    lists = [
        text(tmp_path, "mine.txt", "a.jpg 2", "b.jpg 2"),
        text(tmp_path, "official.txt", "#official", "b=0", "a=1"),
        text(tmp_path, "my_train_list.txt", "a.jpg 0", "b.jpg 0"),
    ]
    manifest = read(tmp_path, listing=lists[0])
    assert (rows(manifest), manifest.layout) == (
        {"a": 2, "b": 2},
        "list of paths and indices; files",
    )
    assert read(tmp_path, listing=Path("mine.txt")).source == str(lists[0])
    manifest = read(tmp_path)
    assert (rows(manifest), manifest.layout) == ({"a": 1, "b": 0}, "official list; files")
    assert (manifest.expected, manifest.copies) == (4, {"published": 4, "small copy": 3})
    assert manifest.source == str(lists[1])
    lists[1].unlink()
    assert rows(read(tmp_path)) == {"a": 0, "b": 0}
    lists[2].unlink()
    manifest = read(tmp_path)
    assert rows(manifest) == {"c": 2}
    assert manifest.layout == "tar shards with labels; members of tar archives"
    (tmp_path / "train-0.tar").unlink()
    manifest = read(tmp_path)
    assert (rows(manifest), manifest.layout) == ({"a": 1, "b": 1}, "class folders; files")


def test_unknown_split_and_missing_list_are_said(tmp_path: Path) -> None:
    assert "no split 'test'; it has train, val" in refusal(tmp_path, "test")
    assert "there is no list none.csv" in refusal(tmp_path, listing=Path("none.csv"))


def test_nothing_to_read_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    touch(tmp_path, "train/flat.jpg", "images/a.jpg", "readme.md", "train/part.tar.gz")
    said = refusal(tmp_path)
    for part in (
        "Made up train: found neither lists nor labelled media",
        "official.txt, train.csv",
        "2 images in images, train",
        "1 .md",
        "1 compressed or nested archives",
        "such as train/part.tar.gz, cannot be read in place; unpack them",
        "1 images are in",
        "--set task.train=FILE",
    ):
        assert part in said
    assert "--set task.val=FILE" in refusal(tmp_path, "val")


# ------------------------------------------------------------------------------------------- lists
def test_rows_without_media_stay_and_their_media_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "train/c.gif")
    text(tmp_path, "official.txt", "#official", "c=2", "sub/b.jpg=0", "a=1", "u=")
    manifest = read(tmp_path)
    assert rows(manifest) == {"a": 1, "b": 0, "c": 2}
    assert list(manifest.media) == [
        tmp_path / "x/a.png",
        tmp_path / "sub/b.jpg",
        tmp_path / "train/c.gif",
    ]
    assert not manifest.media[1].exists()
    assert manifest.excluded == {"u": "unused"}


def test_absolute_name_that_exists_is_read_there(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a.jpg")
    touch(tmp_path, "elsewhere/b.jpg")
    text(root, "train.txt", "a.jpg 0", f"{tmp_path}/elsewhere/b.jpg 1")
    assert read(root).media[1] == tmp_path / "elsewhere/b.jpg"


def test_sample_that_is_listed_twice_is_excluded_the_second_time(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    text(tmp_path, "official.txt", "#official", "a=1", "b=0", "x/a=1", "a=2")
    manifest = read(tmp_path)
    assert rows(manifest) == {"a": 1, "b": 0}
    assert manifest.excluded == {
        "a#2": "listed twice",
        "a#3": "listed twice, the second time with another class",
    }


def test_official_list_with_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    text(tmp_path, "official.txt", "#official", "a=3")
    assert "'a' has label 3, but the 3 classes" in refusal(tmp_path)


def test_official_list_without_media_gives_way_to_what_has_some(tmp_path: Path) -> None:
    touch(tmp_path, "train/bee keeping/z.jpg")
    text(tmp_path, "official.txt", "#official", "a=1")
    assert rows(read(tmp_path)) == {"z": 1}
    said = refusal(touch(tmp_path / "other", "y.jpg"), listing=tmp_path / "official.txt")
    assert "lists 1 samples, such as 'a', but none of their images is below" in said
    assert "--set task.media=FOLDER" in said


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (["a.jpg 2", "b.jpg 0"], [2, 0]),
        (["a.jpg,shaking_head", 'b.jpg,"air drumming"'], [2, 0]),
        (["name_of_a 5 2", "name_of_b 7 0"], None),
        (["file_name,label", "a.jpg,2", "b.jpg,air drumming"], [2, 0]),
    ],
)
def test_lists_of_names_and_indices(
    tmp_path: Path, lines: list[str], labels: list[int] | None
) -> None:
    touch(tmp_path, "p/a.jpg", "p/b.jpg", "p/name_of_a.png", "p/name_of_b.png")
    text(tmp_path, "val_list.csv", *lines)
    assert list(read(tmp_path, "val").labels) == (labels or [2, 0])


def test_list_with_an_unknown_class_is_refused_with_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    text(tmp_path, "train.csv", "a.jpg,shaking heads")
    said = refusal(tmp_path)
    assert "line 1: label 'shaking heads' is not one of the 3 classes" in said
    assert "Did you mean 'shaking head'?" in said


def test_of_several_lists_the_one_with_most_media_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    text(tmp_path, "train_old.txt", "a.jpg 0", "z.jpg 0")
    best = text(tmp_path, "train_new.txt", "a.jpg 1", "b.jpg 1")
    text(tmp_path, "train_readme.txt", "not a list at all", "")
    text(tmp_path, "train_other.txt", "q.jpg 9")
    assert read(tmp_path).source == str(best)
    same = text(tmp_path, "deeper/train_same.txt", "b.jpg 1", "a.jpg 1")
    assert read(tmp_path).source == str(best)
    text(same.parent, same.name, "b.jpg 1", "a.jpg 2")
    said = refusal(tmp_path)
    assert "list different samples or labels" in said
    assert str(best) in said and str(same) in said


def test_list_of_another_set_does_not_stop_a_good_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    text(tmp_path, "train_other.txt", "a.jpg 7")
    assert "label '7'" in refusal(tmp_path)
    text(tmp_path, "train_good.txt", "a.jpg 1", "b.jpg 1")
    assert rows(read(tmp_path)) == {"a": 1, "b": 1}


def test_metadata_in_the_folder_of_each_split(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        touch(tmp_path, f"{split}/1.jpg", f"{split}/2.jpg")
    text(tmp_path, "train/metadata.csv", "file_name,label", "1.jpg,0", "2.jpg,1")
    text(
        tmp_path,
        "validation/metadata.jsonl",
        *(f'{{"file_name": "{n}.jpg", "label": 2}}' for n in (2, 3)),
    )
    assert read(tmp_path).media[0] == tmp_path / "train/1.jpg"
    manifest = read(tmp_path, "val")
    assert rows(manifest) == {"2": 2, "3": 2}
    assert list(manifest.media) == [tmp_path / "validation/2.jpg", tmp_path / "validation/3.jpg"]
    assert manifest.layout == "metadata of folders; files"


# --------------------------------------------------------------------------- label maps and options
def test_other_classes_replace_the_shipped_ones(tmp_path: Path) -> None:
    touch(tmp_path, "train/x/a.jpg", "train/y/b.jpg")
    assert "'x' in" in refusal(tmp_path) and "not one of the 3 classes" in refusal(tmp_path)
    own = text(tmp_path, "names.txt", "y", "x")
    manifest = read(tmp_path, classes=own)
    assert (rows(manifest), list(manifest.classes)) == ({"a": 1, "b": 0}, ["y", "x"])


def test_media_are_looked_for_in_one_folder_only(tmp_path: Path) -> None:
    touch(tmp_path, "root/train/bee keeping/a.jpg", "root/train_256/bee keeping/a.jpg")
    touch(tmp_path, "far/a.png")
    root = tmp_path / "root"
    assert "--set task.media=FOLDER" in refusal(root)
    assert read(root, media=Path("train_256")).media[0] == root / "train_256/bee keeping/a.jpg"
    assert read(root, media=root / "train").media[0] == root / "train/bee keeping/a.jpg"
    text(root, "official.txt", "#official", "a=1")
    assert read(root, media=tmp_path / "far").media[0] == tmp_path / "far/a.png"
    assert "there is no folder" in refusal(root, media=tmp_path / "none")


def test_data_set_without_label_map_takes_what_the_files_tell(tmp_path: Path) -> None:
    touch(tmp_path, "train/b/1.jpg", "train/a/2.jpg", "x/3.jpg", "x/4.jpg")
    free = made(labels=None)
    manifest = read(tmp_path, dataset=free)
    assert (rows(manifest), list(manifest.classes)) == ({"1": 1, "2": 0}, ["a", "b"])
    text(tmp_path, "val_list.txt", "3.jpg 0", "4.jpg 2")
    assert list(read(tmp_path, "val", dataset=free).classes) == ["0", "2"]
    text(tmp_path, "val_list.txt", "3.jpg q", "4.jpg p")
    manifest = read(tmp_path, "val", dataset=free)
    assert (rows(manifest), list(manifest.classes)) == ({"3": 1, "4": 0}, ["p", "q"])


# ----------------------------------------------------------------------------------- class folders
def nested() -> DataSet:
    names = ("a/abbey", "a/apartment_building/outdoor", "t/train_station/platform")
    aliases = {name[2:]: index for index, name in enumerate(names)}
    labels = LabelMap(names=names, source="scenes.txt", aliases=aliases)
    return made(labels=labels, sample_id=lambda name: name.rsplit("/", 1)[-1])


def test_nested_classes_in_all_spellings(tmp_path: Path) -> None:
    spellings = {
        "x/places/train": ("a/abbey", "a/apartment_building/outdoor", "t/train_station/platform"),
        "validation_large": ("abbey", "apartment_building-outdoor", "train_station-platform"),
    }
    for split, folder in (("train", "x/places/train"), ("val", "validation_large")):
        names = [f"{folder}/{name}/{number}.jpg" for number, name in enumerate(spellings[folder])]
        touch(tmp_path, *names)
        manifest = read(tmp_path, split, dataset=nested())
        assert rows(manifest) == {"0.jpg": 0, "1.jpg": 1, "2.jpg": 2}


def test_folders_around_and_below_classes_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path, "train/part_0/bee_keeping/a.jpg", "train/Air Drumming/cut/b.jpg")
    assert rows(read(tmp_path)) == {"a": 1, "b": 0}


def test_media_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/bee keeping/a.jpg", "train/b.jpg")
    assert "'train/b.jpg'" in refusal(tmp_path) and "move them" in refusal(tmp_path)


def test_folder_that_is_no_class_is_refused_with_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "train/bee keeping/a.jpg", "train/shakin_head/b.jpg")
    said = refusal(tmp_path)
    assert "'shakin_head'" in said
    assert "Did you mean 'shaking head'?" in said


def test_class_folders_and_class_archives_inside_of_tar(tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", {"train/bee_keeping/a.jpg": "1", "train/air_drumming/b.jpg": "2"})
    tar(tmp_path / "val/shaking_head.tar", {"c.jpg": "3"})
    manifest = read(tmp_path)
    assert rows(manifest) == {"a": 1, "b": 0}
    assert manifest.layout == "class folders; members of tar archives"
    assert rows(read(tmp_path, "val")) == {"c": 2}


# ---------------------------------------------------------------------------------------- archives
def parquet(
    path: Path, cells: list[tuple[str | None, object]], names: list[str] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    media = [{"bytes": b"", "path": name} for name, _ in cells]
    table = pa.table({"image": media, "label": [label for _, label in cells]})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (None, [0, 2]),
        (["shaking_head", "Bee Keeping", "air_drumming"], [2, 0]),
        (["Luftschlagzeug", "bee keeping", "shaking head"], [0, 2]),
        (["snake", "setter", "fox"], [0, 2]),
    ],
)
def test_indices_of_parquet_go_by_its_names_where_it_has_some(
    tmp_path: Path, names: list[str] | None, labels: list[int]
) -> None:
    cells = [("x/b.jpg", 2), ("a.jpg", 0)]
    parquet(tmp_path / "data/train-00000-of-00001.parquet", cells, names)
    assert read(tmp_path).labels.tolist() == labels


@pytest.mark.parametrize("names", [["snake", "shaking head"], ["bee keeping", "snake", "fox"]])
def test_names_of_parquet_that_do_not_fit_are_refused(tmp_path: Path, names: list[str]) -> None:
    parquet(tmp_path / "train.parquet", [("a.jpg", 0)], names)
    assert "'snake', which is not one of the 3 classes" in refusal(tmp_path)


def test_names_in_a_column_are_classes(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", [("a.jpg", "shaking_head"), ("b.jpg", "air drumming")])
    assert rows(read(tmp_path)) == {"a": 2, "b": 0}
    parquet(tmp_path / "train.parquet", [("a.jpg", "shaking_hed"), ("b.jpg", "air drumming")])
    assert "Did you mean 'shaking head'?" in refusal(tmp_path)


def test_rows_without_label_are_excluded_by_rule(tmp_path: Path) -> None:
    parquet(tmp_path / "val.parquet", [("a.jpg", -1), ("b.jpg", 1)])
    manifest = read(tmp_path, "val")
    assert rows(manifest) == {"b": 1}
    assert manifest.excluded == {"a": "no label in the archive (-1)"}
    parquet(tmp_path / "val.parquet", [("a.jpg", -1)])
    assert "carries no labels (-1)" in refusal(tmp_path, "val")


def test_shards_that_repeat_names_keep_them_apart(tmp_path: Path) -> None:
    for shard in range(2):
        parquet(tmp_path / f"data/train-{shard}.parquet", [(None, shard), (None, 2)])
    manifest = read(tmp_path)
    assert rows(manifest) == {
        "train-0/00000000": 0,
        "train-0/00000001": 2,
        "train-1/00000000": 1,
        "train-1/00000001": 2,
    }


def test_copies_of_archives_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        tar(tmp_path / f"{copy}/train.tar", {"a.jpg": "1", "a.cls": "1"})
    said = refusal(tmp_path)
    assert "two files match the sample 'a'" in said
    assert read(tmp_path, media=Path("two")).media[0].archive == tmp_path / "two/train.tar"


def test_member_without_label_among_others_is_refused(tmp_path: Path) -> None:
    tar(tmp_path / "train.tar", {"a.jpg": "1", "a.cls": "1", "b.jpg": "2"})
    assert "b.jpg has no label, but others" in refusal(tmp_path)


def test_names_that_are_numbers_are_not_guessed_at(tmp_path: Path) -> None:
    numbers = made(labels=LabelMap(names=("1", "0"), source="numbers.txt"))
    tar(tmp_path / "train.tar", {"a.jpg": "1", "a.cls": "1"})
    said = refusal(tmp_path, dataset=numbers)
    assert "label 1 could be the name of class number 0 or the index of class '0'" in said
