"""Lists of `path label` rows as written by jepa, VideoMAE, SVT, mmaction2 and others."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.discover.annotations import Annotations, read_annotations
from bench.data.discover.dataset import Listed
from bench.data.discover.label_files import read_label_map
from bench.data.discover.label_map import LabelMap
from bench.data.discover.search import label_index, nearest
from bench.data.read_manifest import classes_of
from bench.errors import DataError
from bench.types import IntArray

EXTENSIONS = (".csv", ".txt", ".tsv", ".list", ".lst", ".jsonl", ".ndjson", ".parquet")
# Label maps that tools put next to their lists.
LABEL_FILES = ("label_map*.txt", "label_map*.json", "classes.txt", "class_names.txt")

_WITH_COUNT = re.compile(r"(.*\S)[\s,]+[0-9]+")


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainList:
    """The rows of a list, with names ready for lookup and labels not yet interpreted."""

    rows: Annotations
    names: Sequence[str]
    layout: str

    def listed(self, labels: LabelMap | None, *, is_shipped: bool = False) -> Listed:
        """Return the rows with their classes, which come from the list if `labels` is None.

        With `is_shipped`, a label map next to a list of indices must not contradict `labels`, and
        `layout` says how many indices disagree with the class folders in the names.

        Raises:
            DataError: a label outside the classes, a label map in another order.
        """
        if labels is not None and self.rows.numbered and is_shipped:
            _refuse_other_map(self.rows.path, labels)
        classes: Sequence[str] | None = None
        if labels is None:
            classes = classes_of(self.rows)
            labels = LabelMap(names=classes, source=str(self.rows.path), are_ids=self.rows.numbered)
        indices = _indices(self.rows, labels)
        return Listed(
            names=self.names,
            labels=indices,
            source=self.rows.path,
            layout=self.layout + (_other_order(self.names, indices, labels) if is_shipped else ""),
            classes=classes,
        )


def read_plain_rows(path: Path, *, root: Path) -> PlainList:
    """Read rows of a media name and a class name or index; see `read_annotations`.

    `dir num_frames label` rows of folders of frames are accepted too. The names in a `metadata`
    file (Hugging Face) are relative to its folder.

    Raises:
        DataError: an unreadable file, or no rows with labels.
    """
    rows = read_annotations(path)
    names = [name.replace("\\", "/").removeprefix("./") for name in rows.files]
    layout = "list of paths and indices" if rows.numbered else "list of paths and names"
    bare = [_WITH_COUNT.fullmatch(name) for name in names]
    if all(bare):
        names = [match[1] for match in bare if match]
        layout = "list of frame folders"
    if path.stem.casefold() == "metadata":
        names = _below(names, path, root)
        layout = "metadata of folders"
    return PlainList(rows=rows, names=names, layout=layout)


def _below(names: Sequence[str], path: Path, root: Path) -> list[str]:
    if not path.is_relative_to(root):
        return list(names)
    folder = path.parent.relative_to(root).as_posix()
    return [posixpath.normpath(posixpath.join(folder, name)) for name in names]


def _indices(rows: Annotations, labels: LabelMap) -> IntArray:
    known: dict[str, int] = {}
    for label, line in zip(rows.labels, rows.lines, strict=True):
        if label in known:
            continue
        index = label_index(label, labels)
        if index is None or index < 0:
            from_one = label == str(len(labels)) and "0" not in rows.labels
            hint = " Does the list count from 1?" if from_one else nearest(label, labels)
            raise DataError(
                f"{rows.path}, line {line}: label {label!r} is not one of the {len(labels)} classes"
                f" (0 to {len(labels) - 1}) of {labels.source}.{hint} Pass another label map with"
                " --set task.classes=FILE"
            )
        known[label] = index
    return np.array([known[label] for label in rows.labels], dtype=np.int64)


def _other_order(names: Sequence[str], indices: IntArray, labels: LabelMap | None) -> str:
    """Report how many indices disagree with the class folder in their name."""
    if labels is None:
        return ""
    class_of: dict[str, int | None] = {}
    others = 0
    for name, index in zip(names, indices.tolist(), strict=True):
        folder = posixpath.basename(posixpath.dirname(name))
        if folder not in class_of:
            class_of[folder] = labels.index(folder)
        others += class_of[folder] not in (None, index)
    return f" ({others:,} are not those of the class folders)" if others else ""


def _refuse_other_map(path: Path, labels: LabelMap) -> None:
    """Refuse a list of indices next to a label map in another order.

    Names missing from `labels` do not contradict it: some maps have merged names.
    """
    found = [other for pattern in LABEL_FILES for other in sorted(path.parent.glob(pattern))]
    for other in found:
        for number, name in enumerate(read_label_map(other).names):
            index = labels.index(name)
            if index is not None and index != number:
                raise DataError(
                    f"{other} gives the class {name!r} the index {number}, but {labels.source}"
                    f" gives it {index}, and {path.name} lists indices; if they follow"
                    f" {other.name}, add --set task.classes={other}, else remove that file."
                )
