"""Kinetics-600, Carreira et al., arXiv 1808.01340.

    train/*.mp4  val/*.mp4  annotations/{train,val}.txt, test.csv  CVDF; train.csv and val.csv too
    train/<class>/*.mp4  videos_train/<class_with_underscores>/*   crawlers, torchvision, mmaction2
    {train,validate,test}.csv, kinetics600_{train,val}.csv         tables of DeepMind and mmaction2
    train.csv  val.csv                                             `path index` lists

Of CVDF's lists only the `.txt` files are complete: `val.csv` has about half of the videos
(issues 23 and 33 of its repository). Layouts and names are those of Kinetics-400.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.label_map import LabelMap
from bench.data.discover.plain_lists import read_plain_rows
from bench.errors import DataError
from tasks.formats.kinetics_files import WORDS, clip_id, clip_keys, patterns, reader
from tasks.labels import shipped
from tasks.published_task import published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "Kinetics-600"
_read_table = reader(TITLE)


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read a table or a `.txt` list of CVDF, None for any other file.

    The layout of a table mentions a `.txt` list next to it that could not be read.

    Raises:
        DataError: see `k600`.
    """
    listed = _read_table(path, split, tree, labels)
    if path.suffix.lower() == ".txt":
        return listed or _read_names(path, tree, labels)
    complete = path.with_suffix(".txt")
    if listed is not None and complete.is_file():
        return replace(listed, layout=f"{listed.layout}, {complete.name} next to it not used")
    return listed


def _read_names(path: Path, tree: Tree, labels: LabelMap | None) -> Listed | None:
    try:
        rows = read_plain_rows(path, root=tree.root)
        return rows.listed(labels, is_shipped=labels is K600.labels)
    except DataError:
        return None  # the tables are tried next, and their layout mentions this file


_LISTS = {"train": ("train",), "val": ("val", "validate"), "test": ("test",)}

K600 = DataSet(
    name="k600",
    title=TITLE,
    kind="video",
    labels=shipped("k600"),
    words=WORDS,
    sizes={
        "train": {
            "published": 392_622,
            "CVDF archives": 427_549,
            "another copy": 383_393,
            "DeepMind table": 370_582,
            "VideoMAEv2": 366_006,
        },
        "val": {
            "published": 30_000,
            "CVDF archives": 29_793,
            "DeepMind table": 28_313,
            "VideoMAEv2": 27_935,
            "another copy": 27_910,
        },
        "test": {"CVDF archives": 72_924, "DeepMind table": 56_618},
    },
    patterns={
        split: (*(f"{word}.txt" for word in _LISTS[split]), *tables)
        for split, tables in patterns("k600").items()
    },
    read=read,
    keys=clip_keys,
    sample_id=clip_id,
    folders=("kinetics600",),
)


@published(K600, plan="16x8x3@4", flip=True)
def k600() -> None:
    """Kinetics-600: 600 human actions in videos, top-1; the protocol of K400, no paper table here.

    392,622 videos to fit on and 30,000 of `val` to score on, as published; copies differ. 8 clips
    of 16 frames, 3 views, stride 4, with flips, as V-JEPA does on K400. Classes are in alphabetical
    order (for VideoMAEv2's lists, in K710's order, pass their `classes`). One class name occurs
    with and without capitals. Repeated videos in a table (6 in `val`) are excluded.

    Raises:
        DataError: an unknown label, a table without labels.
    """
