"""COIN, Tang et al., arXiv 1903.02874: instructional videos of 180 tasks.

COIN.json           {"database": {<id>: {"recipe_type": 131, "class": "MakeTea",
                     "subset": "training", "start": 56.6, "end": 85.7, ...}, ...}}
videos/<recipe_type>/<id>.mp4, or all in one folder
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.official_files import read_json, same_order
from tasks.labels import shipped
from tasks.published_task import Choice, published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "COIN"


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read the rows of one subset from `COIN.json`, None for any other file.

    Raises:
        DataError: see `coin`; an entry that lacks a field.
    """
    assert labels is not None, "the label map of COIN is shipped"
    content = read_json(path)
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        return None
    rows = list(_rows(path, database))
    if not any(subset == split for _, subset, _, _ in rows):
        found = ", ".join(sorted({subset for _, subset, _, _ in rows})) or "none"
        raise DataError(f"{path} has no video of the subset {split!r}; its subsets: {found}.")
    if labels is COIN.labels:
        numbers = {name: number for _, _, number, name in rows}
        same_order(path, numbers, labels, title=TITLE)
    chosen = [(sample, number) for sample, subset, number, _ in rows if subset == split]
    for sample, number in chosen:
        if not 0 <= number < len(labels):
            raise DataError(
                f"{path}: {sample} has the recipe_type {number}; the label map has"
                f" {len(labels)} classes, 0 to {len(labels) - 1}."
            )
    names = [sample for sample, _ in chosen]
    label_rows = np.array([number for _, number in chosen], dtype=np.int64)
    return Listed(names=names, labels=label_rows, source=path, layout="COIN json")


def _rows(path: Path, database: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Yield id, subset, `recipe_type` and class name of every video."""
    for sample, entry in database.items():
        fields = entry if isinstance(entry, dict) else {}
        subset, number, name = (fields.get(key) for key in ("subset", "recipe_type", "class"))
        if not isinstance(subset, str) or not isinstance(number, int) or not isinstance(name, str):
            raise DataError(
                f"{path}: {sample} should have `subset`, `recipe_type` and `class`, but has"
                f" {subset!r}, {number!r} and {name!r}; download the file again."
            )
        yield sample, subset, number, name


COIN = DataSet(
    name="coin",
    title=TITLE,
    kind="video",
    labels=shipped("coin"),
    words={"training": ("training", "train"), "testing": ("testing", "test", "val", "validation")},
    sizes={"training": {"published": 9_030}, "testing": {"published": 2_797}},
    patterns={"training": ("COIN.json",), "testing": ("COIN.json",)},
    read=read,
    # Ids are file names without folder and extension.
)


@published(COIN, plan="16x8x3@4", flip=True, fit="training", score="testing")
def coin(*, clip: Literal["whole"] = "whole") -> Choice:
    """COIN: 180 everyday tasks, top-1; V-JEPA 2 (arXiv 2506.09985), classification table.

    9,030 videos of `training` to fit on, 2,797 of `testing` to score on. 8 clips of 16 frames, 3
    views, stride 4. `clip=whole` uses a video from its first to its last frame. Other works trim it
    to the annotated [start, end]; rows have no time span yet, so this is not offered, and such
    numbers are not comparable.

    Raises:
        DataError: no such subset, a `recipe_type` that disagrees with the shipped label map (pass
            another one with `--set task.classes=FILE`).
    """
    return Choice(options={"clip": clip})
