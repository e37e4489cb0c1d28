"""The lists of Places205 and Places365, and one name for all spellings of a scene.

Scenes are nested in the official trees (`/a/apartment_building/outdoor`, below a folder of the
first letter) and flat in users' copies (`apartment_building-outdoor` in the "easyformat" of
Places365). Classes share file names (`00000001.jpg`), so the id of a sample includes the class as
in easyformat: `apartment_building-outdoor/00000002`. Validation and test images of Places365 have
unique numbers, in class folders or not: the file name (`Places365_val_00000001`) is the id.
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

MAX_DEPTH = 3  # folders of a class: its first letter, `apartment_building`, `outdoor`

_NUMBERED = re.compile(r"Places365_(val|test)_\d{8}")
_LETTER = re.compile(r"/?(\w)[/_-](?=\1)")


def image_ids(labels: LabelMap) -> Callable[[str], str]:
    """Return the function from the path of an image to its id, as described above."""

    @cache
    def finder() -> Callable[[str], int | None]:
        return scene_finder(labels)  # deferred, as it reads the label map

    def image_id(name: str) -> str:
        """Return `scene/file` without extension; the file alone if its number is unique."""
        folder, _, file = name.strip("/").rpartition("/")
        base = without_extension(file)
        if not folder or _NUMBERED.fullmatch(base):
            return base
        index = finder()(folder)
        scene = posixpath.basename(folder) if index is None else easyformat(labels.names[index])
        return f"{scene}/{base}"

    return image_id


def listed_path(name: str) -> tuple[str]:
    """Return the only key of a listed image: its path, as classes share file names."""
    return (without_extension(name.strip("/")),)


def reader(title: str, categories: str, shipped: LabelMap) -> Reader:
    """Return the reader of a data set's lists.

    It reads `/a/airfield/00000001.jpg 0` and `Places365_val_00000001.jpg 0` lines, and lists of
    class folders without index. The category file `categories` must agree with `shipped`, if that
    is the label map in use, and an index with the class in its file name, if there is one.
    """

    def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
        """Read a list of Places, None for any other file.

        Raises:
            DataError: a list of test images (no labels), an unknown class, another class order.
        """
        assert labels is not None, f"the label map of {title} is shipped"
        find = scene_finder(labels)
        category_file = tree.beside(path, categories) if labels is shipped else None
        if category_file is not None:
            same_order(category_file, _read_categories(category_file, labels), labels, title=title)
        rows = read_indexed(path)
        if rows is None:
            return _read_class_list(path, labels, title)
        names, indices = rows
        found = (find(name.strip("/").rpartition("/")[0]) for name in names)
        classes = (None if index is None else labels.names[index] for index in found)
        refuse_other_classes(path, classes, indices, labels, title=title)
        return Listed(names=names, labels=indices, source=path, layout="official list")

    return read


def scene_finder(labels: LabelMap) -> Callable[[str], int | None]:
    """Return the function from a folder path to the class that it ends in, None without one.

    All spellings match: nested or joined by any sign, with or without the first letter.
    """
    known: dict[str, int] = {}
    for index, name in enumerate(labels.names):
        flat = _bare(easyformat(name))
        known |= {flat: index, flat[0] + flat: index}

    @cache
    def find(folder: str) -> int | None:
        parts = folder.split("/")
        for start in range(-min(MAX_DEPTH, len(parts)), 0):
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
    """Read a list of names whose folder is the class."""
    names, find = list(lines_of(path)), scene_finder(labels)
    indices = [find(posixpath.dirname(name.strip("/"))) for name in names]
    if names and (match := _NUMBERED.fullmatch(stem(names[0]))) and indices[0] is None:
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
            raise DataError(
                f"{path}, line {line}: the folder of {name!r} is not a class of {title}."
            )
    label_rows = np.array(indices, dtype=np.int64)
    return Listed(names=names, labels=label_rows, source=path, layout="list of class folders")


def _read_categories(path: Path, labels: LabelMap) -> dict[str, int]:
    """Return class name -> index, with the names of `labels` for known classes."""
    rows, find = read_indexed(path), scene_finder(labels)
    if rows is None:
        raise DataError(f"{path} should have lines such as `/a/airfield 0`; download it again.")
    found = [(find(name.strip("/")), name) for name in rows[0]]
    names = [name if index is None else labels.names[index] for index, name in found]
    return dict(zip(names, rows[1].tolist(), strict=True))
