"""HMDB51, Kuehne et al., ICCV 2011: 51 actions, three splits.

    <class>/<file>.avi                                       one RAR archive per class
    testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt     `<file>.avi 1 `
    hmdb51_{train,val}_split_{1,2,3}_videos.txt              mmaction2 and SVT, numbers from 0

Numbers in official lists: 1 training (70 videos per class), 2 test (30), 0 unused. File names may
contain `#`, `&`, `;`, `!` and brackets.
"""

from __future__ import annotations

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
from tasks.formats.official_files import indices
from tasks.labels import shipped
from tasks.published_task import Choice, published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "HMDB51"
PARTS = ("train_split{}", "test_split{}")


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read the official lists next to `path`, or one list of mmaction2; None for any other file.

    Raises:
        DataError: see `hmdb51`; a class that is not in the label map.
    """
    assert labels is not None, "the label map of HMDB51 is shipped"
    refuse_other_split(path, int(split[-1]))

    def class_folder(name: str) -> str | None:
        """Return the folder of a file if it is named after a class."""
        folder = name.rpartition("/")[0].rpartition("/")[-1]
        return folder if labels.index(folder) is not None else None

    end = f"_test_split{split[-1]}.txt"
    listed = read_class_list(
        path,
        labels,
        class_of=class_folder,
        title=TITLE,
        check_numbers=labels is HMDB51.labels,
    )
    if listed is not None or not path.name.endswith(end):
        return listed  # official lists have names without folders
    number = "1" if split.startswith("train") else "2"
    names, classes = [], []
    lists = sorted(path.parent.glob(f"*{end}"))
    for each in lists:
        files = _files(each, number)
        class_name = each.name.removesuffix(end)
        names += [f"{class_name}/{file}" for file in files]
        classes += [class_name] * len(files)
    if not names:
        raise DataError(f"{path.parent}: no line of the lists *{end} has the number {number}.")
    label_rows = indices(path.parent, classes, labels, title=TITLE)
    layout = f"HMDB51 lists of {len(lists)} classes"
    return Listed(names=names, labels=label_rows, source=path.parent, layout=layout)


def _files(path: Path, used: str) -> list[str]:
    """Return the file names of the lines with the number `used`."""
    found = []
    for line, text in enumerate(read_lines(path), start=1):
        file, _, number = text.rpartition(" ")
        if number not in ("0", "1", "2") or not file.strip():
            raise DataError(
                f"{path}, line {line}: expected a file name and 0, 1 or 2, found {text!r}."
            )
        if number == used:
            found.append(file.strip())
    return found


HMDB51 = DataSet(
    name="hmdb51",
    title=TITLE,
    kind="video",
    labels=shipped("hmdb51"),
    read=read,
    **three_splits(
        "hmdb51",
        PARTS,
        sizes=dict.fromkeys((1, 2, 3), (3_570, 1_530)),
        official=(
            "testTrainMulti_7030_splits/*_test_split{number}.txt",
            "*_test_split{number}.txt",
        ),
    ),
)


@published(HMDB51, plan="16x5x3@4", flip=True)
def hmdb51(*, split: int = 1) -> Choice:
    """HMDB51: 51 actions, top-1 of one of three splits; ViDROP table 6 (linear 16x5x3, kNN 1x1).

    Every split has 3,570 videos to fit on and 1,530 to score on; ViDROP does not say which one it
    used, SVT used the first. 5 clips of 16 frames, 3 views, stride 4. Indices are alphabetical.
    The 1,666 videos with the number 0 are in no split and not counted as excluded.

    Raises:
        DataError: a line without 0, 1 or 2, a list of another split.
        UsageError: a split other than 1, 2 and 3.
    """
    return choose_split(PARTS, split, TITLE)
