"""Jester, Materzynska et al., ICCV Workshops 2019: hand gestures in front of a webcam.

20bn-jester-v1/<id>/00001.jpg              frames at 12 fps; there are no video files
jester-v1-{train,validation,test}.csv      `id;class name`, test has ids only
jester-v1-labels.csv                       class names, line number = index, not sorted
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.discover.annotations import read_lines
from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.official_files import indices, read_id_lines, same_order
from tasks.labels import shipped
from tasks.published_task import published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "Jester"
LABEL_FILE = "jester-v1-labels.csv"


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read an `id;class name` list, None for any other file.

    Raises:
        DataError: see `jester`.
    """
    assert labels is not None, "the label map of Jester is shipped"
    found = read_id_lines(path)
    if found is None:
        if path.name.lower() == "jester-v1-test.csv":
            raise DataError(
                f"{path} has no labels (the test labels of {TITLE} were never published); score on"
                " jester-v1-validation.csv"
            )
        return None
    ids, names = found
    if labels is JESTER.labels:
        label_file = tree.beside(path, LABEL_FILE)
        if label_file is not None:
            found_order = {name: index for index, name in enumerate(read_lines(label_file))}
            same_order(label_file, found_order, labels, title=TITLE)
    label_rows = indices(path, names, labels, title=TITLE)
    return Listed(names=ids, labels=label_rows, source=path, layout="Jester csv")


JESTER = DataSet(
    name="jester",
    title=TITLE,
    kind="video",
    labels=shipped("jester"),
    words={
        "train": ("train", "training"),
        "validation": ("validation", "val", "valid"),
        "test": ("test",),
    },
    sizes={
        "train": {"published": 118_562},
        "validation": {"published": 14_787},
        "test": {"published": 14_743},
    },
    patterns={
        "train": ("jester-v1-train.csv",),
        "validation": ("jester-v1-validation.csv",),
        "test": ("jester-v1-test.csv",),
    },
    read=read,
)


@published(JESTER, plan="32x4x3@2", flip=False, score="validation")
def jester() -> None:
    """Jester: 27 hand gestures, top-1; V-JEPA 2 (arXiv 2506.09985), classification table.

    118,562 videos to fit on, 14,787 of `validation` to score on; the labels of the 14,743 of `test`
    were never published. 4 clips of 32 frames, 3 views, stride 2; the paper's probe reads four
    layers and trains for 100 epochs. No flip: swiping left and right are classes. Indices follow
    `jester-v1-labels.csv`, which is not alphabetical.

    Raises:
        DataError: an unknown class name, the test list, a `jester-v1-labels.csv` ordered unlike
            the shipped one (`--set task.classes=FILE` takes its order).
    """
