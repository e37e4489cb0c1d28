"""UCF101, Soomro et al., arXiv 1212.0402: 101 actions, three splits.

UCF-101/<class>/v_<class>_g01_c01.avi
ucfTrainTestlist/classInd.txt                  `1 ApplyEyeMakeup`, the order of the classes
ucfTrainTestlist/trainlist0{1,2,3}.txt         `<class>/<file>.avi 1`, numbers from 1
ucfTrainTestlist/testlist0{1,2,3}.txt          `<class>/<file>.avi`, no numbers
ucf101_{train,val}_split_{1,2,3}_videos.txt    mmaction2 and SVT, numbers from 0
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.discover.annotations import read_lines
from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.class_lists import (
    choose_split,
    read_class_list,
    refuse_other_split,
    three_splits,
)
from tasks.formats.official_files import same_order
from tasks.labels import shipped
from tasks.published_task import Choice, published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "UCF101"
ORDER_FILE = "classInd.txt"
PARTS = ("trainlist0{}", "testlist0{}")
SIZES: Mapping[int, tuple[int, int]] = {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}
_FILE = re.compile(r"v_(\w+)_g\d+_c\d+")


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read an official list or one of mmaction2, None for any other file.

    Raises:
        DataError: see `ucf101`; a class that is not in the label map.
    """
    assert labels is not None, "the label map of UCF101 is shipped"
    refuse_other_split(path, int(split[-1]))
    is_shipped = labels is UCF101.labels
    listed = read_class_list(
        path, labels, class_of=_class_of, title=TITLE, check_numbers=is_shipped
    )
    if listed is not None and is_shipped:
        _check_order(path, tree, labels)
    return listed


def _class_of(name: str) -> str | None:
    """Return the class in a file name (folder HandstandPushups has v_HandStandPushups_*)."""
    match = _FILE.match(name.rsplit("/", 1)[-1])
    return match[1] if match else None


def _check_order(path: Path, tree: Tree, labels: LabelMap) -> None:
    order_file = tree.beside(path, ORDER_FILE)
    if order_file is None:
        return
    found = {}
    for line, row in enumerate(read_lines(order_file), start=1):
        number, _, name = row.partition(" ")
        if not number.isdecimal() or not name.strip():
            raise DataError(
                f"{order_file}, line {line}: expected `1 ApplyEyeMakeup`, found {row!r}."
            )
        found[name.strip()] = int(number) - 1
    same_order(order_file, found, labels, title=TITLE)


UCF101 = DataSet(
    name="ucf101",
    title=TITLE,
    kind="video",
    labels=shipped("ucf101"),
    read=read,
    **three_splits("ucf101", PARTS, SIZES, official=("ucfTrainTestlist/{part}.txt", "{part}.txt")),
)


@published(UCF101, plan="16x5x3@4", flip=True)
def ucf101(*, split: int = 1) -> Choice:
    """UCF101: 101 actions, top-1 of one of three splits; ViDROP table 6 (linear 16x5x3, kNN 1x1).

    Split 1 has 9,537 videos to fit on and 3,783 to score on, split 2 9,586 and 3,734, split 3
    9,624 and 3,696; ViDROP does not say which one it used, SVT used the first. 5 clips of 16
    frames, 3 views, stride 4. Indices follow `classInd.txt`, which is not sorted like folders
    (Hammering before HammerThrow, JumpingJack before JumpRope). A split never separates clips of
    one group, so random splits are not offered; folders `train` and `test` are split 1.

    Raises:
        DataError: a `classInd.txt` ordered unlike the shipped one, a number in a list that
            contradicts the class in its file name, a list of another split.
        UsageError: a split other than 1, 2 and 3.
    """
    return choose_split(PARTS, split, TITLE)
