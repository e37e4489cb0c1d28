"""The lists of Places205 and Places365, and one name for all spellings of a scene.

A scene is nested in the official trees (`/a/apartment_building/outdoor`, below a folder of its
first letter) and flat in what users make of them (`apartment_building-outdoor` in the "easyformat"
of Places365). File names repeat from class to class (`00000001.jpg`), so the id of a sample holds
the class, spelled as in easyformat: `apartment_building-outdoor/00000002`. Validation and test
images of Places365 are numbered throughout and lie flat or in class folders: their number alone
(`Places365_val_00000001`) is the id.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.discover.dataset import Listed, Reader, stem, without_extension
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.image_lists import lines_of, read_indexed, refuse_other_classes
from tasks.formats.official_files import same_order

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

DEEPEST = 3  # folders of a class at most: its first letter, `apartment_building`, `outdoor`

_THROUGHOUT = re.compile(r"Places365_(val|test)_\d{8}")
_LETTER = re.compile(r"/?(\w)[/_-](?=\1)")


def image_ids(labels: LabelMap) -> Callable[[str], str]:
    """Return the function that gives the id of an image by its path, as the module says."""

    @cache
    def finder() -> Callable[[str], int | None]:
        return scene_finder(labels)  # not before it is needed: it reads the label map

    def image_id(name: str) -> str:
        """Return `scene/file` without extension; without a class where the number is enough."""
        folder, _, file = name.strip("/").rpartition("/")
        base = without_extension(file)
        if not folder or _THROUGHOUT.fullmatch(base):
            return base
        index = finder()(folder)
        scene = posixpath.basename(folder) if index is None else easyformat(labels.names[index])
        return f"{scene}/{base}"

    return image_id


def listed_path(name: str) -> tuple[str]:
    """Return the only key of a listed image: its path, for file names repeat."""
    return (without_extension(name.strip("/")),)


def reader(title: str, categories: str, shipped: LabelMap) -> Reader:
    """Return the reader of a data set's lists; `categories` is its file of classes, which must
    agree with `shipped` if that is the label map in use.

    It takes `/a/airfield/00000001.jpg 0` and `Places365_val_00000001.jpg 0` lines, and lists of
    class folders without index. An index must be that of the class in the name, if it tells one.
    """

    def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
        """Read a list of Places, None if it is another kind of file.

        Raises:
            DataError: a list of test images (they have no labels), a class or an order that
                is not that of the label map.
        """
        assert labels is not None, f"the label map of {title} is shipped"
        find = scene_finder(labels)
        own = tree.beside(path, categories) if labels is shipped else None
        if own is not None:
            same_order(own, _read_categories(own, labels), labels, title=title)
        rows = read_indexed(path)
        if rows is None:
            return _read_class_list(path, labels, title)
        names, indices = rows
        found = (find(name.strip("/").rpartition("/")[0]) for name in names)
        told = (None if index is None else labels.names[index] for index in found)
        refuse_other_classes(path, told, indices, labels, title=title)
        return Listed(names=names, labels=indices, source=path, layout="official list")

    return read


def scene_finder(labels: LabelMap) -> Callable[[str], int | None]:
    """Return the function that gives the class in which a folder path ends, None without one.

    All spellings count: nested or joined by any sign, with or without the first letter.
    """
    known: dict[str, int] = {}
    for index, name in enumerate(labels.names):
        flat = _bare(easyformat(name))
        known |= {flat: index, flat[0] + flat: index}

    @cache
    def find(folder: str) -> int | None:
        parts = folder.split("/")
        for start in range(-min(DEEPEST, len(parts)), 0):
            index = known.get(_bare("".join(parts[start:])))
            if index is not None:
                return index
        return None

    return find


def easyformat(scene: str) -> str:
    """Return `/a/apartment_building/outdoor` as `apartment_building-outdoor`."""
    return _LETTER.sub("", scene, count=1).strip("/").replace("/", "-")


def _bare(scene: str) -> str:
    return re.sub(r"[\W_]+", "", scene).casefold()


def _read_class_list(path: Path, labels: LabelMap, title: str) -> Listed | None:
    """Read names whose folder is the class."""
    names, find = list(lines_of(path)), scene_finder(labels)
    indices = [find(posixpath.dirname(name.strip("/"))) for name in names]
    if names and (match := _THROUGHOUT.fullmatch(stem(names[0]))) and indices[0] is None:
        split = {"val": "validation", "test": "test"}[match[1]]
        raise DataError(
            f"{path} lists {split} images of {title} without labels"
            f"{', which were never published' if split == 'test' else ''}; score on"
            " places365_val.txt"
        )
    if not names or indices[0] is None:
        return None
    for line, (name, index) in enumerate(zip(names, indices, strict=True), start=1):
        if index is None:
            raise DataError(f"{path}, line {line}: the folder of {name!r} is no class of {title}.")
    labels_of_rows = np.array(indices, dtype=np.int64)
    return Listed(names=names, labels=labels_of_rows, source=path, layout="list of class folders")


def _read_categories(path: Path, labels: LabelMap) -> dict[str, int]:
    """Return the index of each class, called as in `labels` if it is there."""
    rows, find = read_indexed(path), scene_finder(labels)
    if rows is None:
        raise DataError(f"{path} should hold lines such as `/a/airfield 0`; fetch it again.")
    found = [(find(name.strip("/")), name) for name in rows[0]]
    names = [name if index is None else labels.names[index] for index, name in found]
    return dict(zip(names, rows[1].tolist(), strict=True))
