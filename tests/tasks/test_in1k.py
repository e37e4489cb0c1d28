"""ImageNet-1k: every list and layout gives the same images the same labels."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.discover.dataset import Listed
from bench.data.discover.folder_scan import scan
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.imagenet_files import image_id, read_imagenet, wnid_in_name
from tasks.in1k import in1k
from tasks.labels import shipped

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats" / "imagenet1k"
EXPECTED = json.loads((FORMATS / "expected_mapping.json").read_text())
WNIDS = list(EXPECTED["class_index_by_sorted_wnid"])
VAL = EXPECTED["val_labels_for_ILSVRC2012_val_00000001_to_4"]
LABELS = LabelMap(names=WNIDS, source="made up")


def read(root: Path, name: str, split: str = "val", labels: LabelMap = LABELS) -> Listed | None:
    """Read one list below a root; returns its Listed, or None."""
    tree = scan(root, "image")
    [path] = tree.find(name)
    return read_imagenet(path, split, tree, labels)


def rows(listed: Listed) -> dict[str, int]:
    return dict(zip(map(image_id, listed.names), listed.labels.tolist(), strict=True))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def copied(tmp_path: Path, *parts: str) -> Path:
    for part in parts:
        shutil.copytree(FORMATS / part, tmp_path / part)
    return tmp_path


# ------------------------------------------------------------------------------------------ names
@pytest.mark.parametrize(
    ("name", "sample", "wnid"),
    [
        ("val/ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000001", None),
        ("ILSVRC2012_val_00000001_n01440764.JPEG", "ILSVRC2012_val_00000001", "n01440764"),
        ("val/n01751748/ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000001", "n01751748"),
        ("train/n02119789/n02119789_777.JPEG", "n02119789_777", "n02119789"),
        ("x/n02119789_777_n02119789.JPEG", "n02119789_777", "n02119789"),
        ("n02119789/n02119789_777", "n02119789_777", "n02119789"),
        ("n00000000/train/n02119789/n02119789_777.webp", "n02119789_777", "n02119789"),
        ("ILSVRC2012_val_00000001", "ILSVRC2012_val_00000001", None),
        ("xn02119789_7/picture_n021197890.JPEG", "picture_n021197890", None),
    ],
)
def test_id_and_class_that_a_name_tells(name: str, sample: str, wnid: str | None) -> None:
    assert (image_id(name), wnid_in_name(name)) == (sample, wnid)


# --------------------------------------------------------------------------------- official lists
def test_devkit_ids_go_through_meta_mat(tmp_path: Path) -> None:
    listed = read(copied(tmp_path, "ILSVRC2012_devkit_t12"), "*_ground_truth.txt")
    assert listed.labels.tolist() == VAL == [0, 2, 1, 0]
    assert listed.names[3] == "ILSVRC2012_val_00000004.JPEG"
    assert listed.labels.dtype == np.int64


def test_devkit_ids_give_ranks_of_the_label_map_in_use(tmp_path: Path) -> None:
    root = copied(tmp_path, "ILSVRC2012_devkit_t12")
    wider = LabelMap(names=["n00000001", *WNIDS], source="made up")
    assert read(root, "*_ground_truth.txt", labels=wider).labels.tolist() == [1, 3, 2, 1]


def test_devkit_without_meta_mat_is_refused(tmp_path: Path) -> None:
    root = copied(tmp_path, "ILSVRC2012_devkit_t12")
    (root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").unlink()
    touch(root, "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(DataError, match=r"meta\.mat.*is not there.*task.val=FILE"):
        read(root, "*_ground_truth.txt")
    shutil.rmtree(root / "val")
    touch(root, "val/n01751748/ILSVRC2012_val_00000001.JPEG")
    assert read(root, "*_ground_truth.txt") is None


def test_devkit_number_of_an_inner_node_is_refused(tmp_path: Path) -> None:
    root = copied(tmp_path, "ILSVRC2012_devkit_t12")
    truth = root / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("3\n4\n")
    with pytest.raises(DataError, match=r"line 2: '4' is none of the 3 class numbers"):
        read(root, truth.name)


@pytest.mark.parametrize(
    "content", [b"not a mat file at all, but a text of some length\n" * 9, b""]
)
def test_damaged_meta_mat_is_refused(tmp_path: Path, content: bytes) -> None:
    root = copied(tmp_path, "ILSVRC2012_devkit_t12")
    (root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"meta\.mat is not the meta\.mat"):
        read(root, "*_ground_truth.txt")


def test_caffe_list_counts_sorted_wnids(tmp_path: Path) -> None:
    listed = read(copied(tmp_path, "caffe"), "val.txt")
    assert rows(listed) == {"ILSVRC2012_val_00000001": 0, "ILSVRC2012_val_00000002": 2}


def test_caffe_list_beside_other_classes_than_those_of_imagenet_is_refused(tmp_path: Path) -> None:
    root = copied(tmp_path, "caffe")  # sea snake, setter and fox only; the first of 1,000 is tench
    with pytest.raises(
        DataError, match=r"synset_words\.txt gives .*'n01751748' the index 0.*it 65"
    ):
        read(root, "val.txt", labels=shipped("in1k"))


def test_caffe_list_that_contradicts_the_names_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "train.txt", "n01751748/n01751748_1.JPEG 0\nn02119789/n02119789_7.JPEG 1\n")
    with pytest.raises(DataError, match=r"line 2: .*'n02119789'.*index 1 .*'n02100735'"):
        read(tmp_path, "train.txt", "train")


def test_kaggle_table_is_not_in_order_and_repeats_boxes(tmp_path: Path) -> None:
    listed = read(copied(tmp_path, "kaggle"), "LOC_val_solution.csv")
    assert list(listed.names) == ["ILSVRC2012_val_00000002.JPEG", "ILSVRC2012_val_00000001.JPEG"]
    assert rows(listed) == {"ILSVRC2012_val_00000001": VAL[0], "ILSVRC2012_val_00000002": VAL[1]}


@pytest.mark.parametrize(
    "row",
    ["x,", "x,n01751748 1 2 3", "x", "x,n01751748 1 2 3 4 n02119789 1 2 3 4", ",n01751748 1 2 3 4"],
)
def test_kaggle_table_with_a_row_of_no_single_class_is_refused(tmp_path: Path, row: str) -> None:
    text(tmp_path / "LOC_val_solution.csv", f"ImageId,PredictionString\n{row}\n")
    with pytest.raises(DataError, match="line 2: expected an image"):
        read(tmp_path, "LOC_val_solution.csv")


def test_running_numbers_of_kaggle_are_no_labels(tmp_path: Path) -> None:
    lists = tmp_path / "ILSVRC" / "ImageSets" / "CLS-LOC"
    text(lists / "val.txt", "ILSVRC2012_val_00000001 1\nILSVRC2012_val_00000002 2\n")
    text(lists / "train_cls.txt", "n02119789/n02119789_777 1\nn01751748/n01751748_10382 2\n")
    assert read(tmp_path, "val.txt") is None
    listed = read(tmp_path, "CLS-LOC/train_cls.txt", "train")
    assert rows(listed) == {"n02119789_777": 2, "n01751748_10382": 0}


def test_class_outside_the_label_map_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "train_cls.txt", "n02119789/n02119789_777 1\nn09999999/n09999999_1 2\n")
    with pytest.raises(DataError, match=r"'n09999999' is none of the 3 classes"):
        read(tmp_path, "train_cls.txt", "train")


def test_table_or_text_of_another_kind_is_left_to_others(tmp_path: Path) -> None:
    text(tmp_path / "val.csv", "path,label\nx.jpg,1\n")
    text(tmp_path / "val.txt", "some words without number\n")
    assert read(tmp_path, "val.csv") is None
    assert read(tmp_path, "val.txt") is None


def test_names_of_simclr_are_the_sample_ids(tmp_path: Path) -> None:
    names = (FORMATS / "simclr_subsets" / "1percent.txt").read_text().split()
    listing = (FORMATS / "folder_listing.txt").read_text().split()
    in_folders = {image_id(name) for name in listing if name.startswith("train/")}
    assert {image_id(name) for name in names} == in_folders == {"n02119789_777", "n01751748_10382"}


# ---------------------------------------------------------------------------------- whole layouts
REAL = {65: "n01751748", 212: "n02100735", 278: "n02119789"}  # sea snake, English setter, kit fox
TRAIN = {"n01751748_10382": 65, "n02119789_777": 278, "n02100735_5": 212}
VAL_ROWS = {f"ILSVRC2012_val_{n:08d}": list(REAL)[label] for n, label in enumerate(VAL, start=1)}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def in_folders(folder: Path, images: dict[str, int]) -> None:
    touch(folder, *(f"{REAL[label]}/{name}.JPEG" for name, label in images.items()))


def flat(folder: Path, images: dict[str, int]) -> None:
    touch(folder, *(f"{name}.JPEG" for name in images))


def class_folders(root: Path) -> None:
    in_folders(root / "train", TRAIN)
    in_folders(root / "val", VAL_ROWS)


def devkit(root: Path) -> None:
    in_folders(root / "train", TRAIN)
    flat(root / "val", VAL_ROWS)
    copied(root, "ILSVRC2012_devkit_t12")


def caffe(root: Path) -> None:
    lines = [f"{REAL[label]}/{name}.JPEG {label}\n" for name, label in TRAIN.items()]
    text(root / "meta" / "train.txt", "".join(lines))
    text(root / "meta" / "val.txt", "".join(f"{n}.JPEG {label}\n" for n, label in VAL_ROWS.items()))
    in_folders(root / "train", TRAIN)
    flat(root / "val", VAL_ROWS)


def kaggle(root: Path) -> None:
    in_folders(root / "ILSVRC" / "Data" / "CLS-LOC" / "train", TRAIN)
    flat(root / "ILSVRC" / "Data" / "CLS-LOC" / "val", VAL_ROWS)
    table = [f"{name},{REAL[label]} 1 2 3 4 " for name, label in reversed(VAL_ROWS.items())]
    text(root / "LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *table]))
    lists = without_labels(root)
    names = [f"{REAL[label]}/{name}" for name, label in TRAIN.items()]
    text(lists / "train_cls.txt", "".join(f"{name} {n}\n" for n, name in enumerate(names, start=1)))


def kaggle_without_lists(root: Path) -> None:
    in_folders(root / "ILSVRC" / "Data" / "CLS-LOC" / "train", TRAIN)
    in_folders(root / "ILSVRC" / "Data" / "CLS-LOC" / "val", VAL_ROWS)
    without_labels(root)


def without_labels(root: Path) -> Path:
    """Write those lists of Kaggle that are not the split: images with boxes, running numbers."""
    text(
        root / "LOC_train_solution.csv", "ImageId,PredictionString\nn02119789_777,n02119789 1 2 3 4"
    )
    lists = root / "ILSVRC" / "ImageSets" / "CLS-LOC"
    text(lists / "val.txt", "".join(f"{name} {n}\n" for n, name in enumerate(VAL_ROWS, start=1)))
    text(lists / "train_loc.txt", "n02119789/n02119789_777 1\n")
    return lists


def hugging_face(root: Path) -> None:
    for split, rows in (("train", TRAIN), ("validation", VAL_ROWS)):
        cells = [{"bytes": b"", "path": f"{n}_{REAL[label]}.JPEG"} for n, label in rows.items()]
        table = pa.table({"image": cells, "label": list(rows.values())})
        (root / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")


def archives_of_classes(root: Path) -> None:
    """What ILSVRC2012_img_train.tar holds: one archive a class."""
    in_folders(root / "val", VAL_ROWS)
    for name, label in TRAIN.items():
        write_tar(root / "train" / f"{REAL[label]}.tar", f"{name}.JPEG")


def flat_train(root: Path) -> None:
    flat(root / "train", TRAIN)
    in_folders(root / "val", VAL_ROWS)


def flat_archive(root: Path) -> None:
    write_tar(root / "ILSVRC2012_img_train.tar", *(f"{name}.JPEG" for name in TRAIN))
    in_folders(root / "val", VAL_ROWS)


def write_tar(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())


LAYOUTS = [
    class_folders,
    devkit,
    caffe,
    kaggle,
    kaggle_without_lists,
    hugging_face,
    archives_of_classes,
    flat_train,
    flat_archive,
]


@pytest.mark.parametrize("make", LAYOUTS, ids=lambda make: make.__name__)
def test_every_layout_gives_the_same_manifests(tmp_path: Path, make: Callable[..., Any]) -> None:
    make(tmp_path)
    task = in1k(data=tmp_path)
    for manifest, rows in ((task.fit, TRAIN), (task.score, VAL_ROWS)):
        assert dict(zip(manifest.ids, manifest.labels.tolist(), strict=True)) == rows
        assert list(manifest.ids) == sorted(rows)
        assert list(manifest.classes) == list(shipped("in1k").names)
    assert (task.fit.expected, task.score.expected) == (1_281_167, 50_000)
    assert (task.kind, task.flip, task.fit_plan.stride) == ("image", True, 0)


def test_classes_of_the_user_replace_the_shipped_ones(tmp_path: Path) -> None:
    devkit(tmp_path)
    classes = FORMATS / "caffe" / "synset_words.txt"
    task = in1k(data=tmp_path, classes=classes)
    assert task.score.labels.tolist() == VAL
    assert list(task.fit.classes) == WNIDS
    listed = in1k(data=tmp_path, classes=classes, val=FORMATS / "caffe" / "val.txt")
    assert listed.score.labels.tolist() == VAL[:2]


def test_example_of_hugging_face(tmp_path: Path) -> None:
    in_folders(tmp_path / "train", TRAIN)
    (tmp_path / "data").mkdir()
    shutil.copy(FORMATS / "hf_parquet" / "validation-00000-of-00014.parquet", tmp_path / "data")
    task = in1k(data=tmp_path, classes=FORMATS / "caffe" / "synset_words.txt")
    found = dict(zip(task.score.ids, task.score.labels.tolist(), strict=True))
    assert found == {"ILSVRC2012_val_00000001": VAL[0], "ILSVRC2012_val_00000002": VAL[1]}


def test_subset_of_simclr_is_taken_as_it_is(tmp_path: Path) -> None:
    class_folders(tmp_path)
    task = in1k(data=tmp_path, subset=FORMATS / "simclr_subsets" / "1percent.txt")
    assert list(task.fit.ids) == ["n01751748_10382", "n02119789_777"]
    assert len(task.fit.root) == 3
