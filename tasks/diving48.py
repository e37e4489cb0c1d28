"""Diving48, Li et al., RESOUND, ECCV 2018: dives that differ only in movement.

rgb/<vid_name>.mp4                      one dive per file
Diving48_V2_{train,test}.json           [{vid_name, label, start_frame, end_frame}, ...]
Diving48_vocab.json                     [[take-off, somersaults, twists, position], ...]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.official_files import read_json, same_order
from tasks.labels import shipped
from tasks.published_task import published

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "Diving48 V2"
VOCABULARY = "Diving48_vocab.json"
FIRST_VERSION = ("diving48_train.json", "diving48_test.json")


def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read a JSON list, None for any other file.

    Raises:
        DataError: see `diving48`; a label outside the label map.
    """
    assert labels is not None, "the label map of Diving48 is shipped"
    items = read_json(path)
    if not (isinstance(items, list) and items and isinstance(items[0], dict)):
        return None
    if "vid_name" not in items[0]:
        return None
    if path.name.lower() in FIRST_VERSION:
        raise DataError(
            f"{path} is a list of the first version of Diving48, whose labels differ and are noisy;"
            f" use Diving48_V2_{split}.json (if this is V2, rename it)."
        )
    if labels is DIVING48.labels:
        _check_order(path, tree, labels)
    names, numbers = [], []
    for row, item in enumerate(items, start=1):
        fields = item if isinstance(item, dict) else {}
        name, number = fields.get("vid_name"), fields.get("label")
        if not isinstance(name, str) or not isinstance(number, int):
            raise DataError(f"{path}, item {row}: expected `vid_name` and `label`, found {item!r}.")
        if not 0 <= number < len(labels):
            raise DataError(
                f"{path}, item {row}: {name} has the label {number}; {TITLE} has"
                f" {len(labels)} classes, 0 to {len(labels) - 1}."
            )
        names.append(name)
        numbers.append(number)
    label_rows = np.array(numbers, dtype=np.int64)
    return Listed(names=names, labels=label_rows, source=path, layout="Diving48 V2 json")


def _check_order(path: Path, tree: Tree, labels: LabelMap) -> None:
    vocabulary = tree.beside(path, VOCABULARY)
    content = read_json(vocabulary) if vocabulary is not None else None
    if vocabulary is not None and isinstance(content, list):
        found = {" ".join(map(str, parts)): index for index, parts in enumerate(content)}
        same_order(vocabulary, found, labels, title=TITLE, is_label_map=False)


DIVING48 = DataSet(
    name="diving48",
    title=TITLE,
    kind="video",
    labels=shipped("diving48"),
    words={"train": ("train", "training"), "test": ("test", "val", "validation")},
    sizes={"train": {"published": 15_027}, "test": {"published": 1_970}},
    patterns={
        "train": ("Diving48_V2_train.json", "Diving48_train.json"),
        "test": ("Diving48_V2_test.json", "Diving48_test.json"),
    },
    read=read,
)


@published(DIVING48, plan="32x4x3@2", flip=False, score="test")
def diving48() -> None:
    """Diving48 V2: 48 kinds of dives, top-1; V-JEPA 2 (arXiv 2506.09985), classification table.

    15,027 videos to fit on, 1,970 of `test` to score on. 4 clips of 32 frames, 3 views, stride 2;
    the paper's probe reads four layers and trains for 100 epochs. No flip, as in the released
    configuration. Files hold one dive each and are used whole; `start_frame` and `end_frame` are
    ignored.

    Raises:
        DataError: lists of the first version; a vocabulary ordered unlike the shipped one (pass
            another one with `--set task.classes=FILE`).
    """
