"""The annotation files of iNaturalist 2021: COCO-like JSON with three arrays, joined by their ids.

    images       {"id": 5, "file_name": "val/00001_Animalia_.../0a1b....jpg", "latitude": null, ...}
    annotations  {"id": 5, "image_id": 5, "category_id": 1}
    categories   {"id": 1, "name": "Madeupus secundus", "image_dir_name": "00001_Animalia_...", ...}

Image ids are no row numbers, and the arrays need not be in the same order. The five digits before a
folder's name are the category id, so class folders can be read without any JSON.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.discover.dataset import Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from bench.types import IntArray
from tasks.formats.json_arrays import elements
from tasks.formats.official_files import indices

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "iNaturalist 2021"

_FOLDER = re.compile(r"(?:^|/)(\d{5})(?:_[^/]*)?/[^/]*$")


def folder_number(name: str) -> int | None:
    """Return the number before the folder name of an image, None without one."""
    match = _FOLDER.search(name)
    return int(match[1]) if match else None


def read_inat21(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read `train.json`, `train_mini.json` or `val.json`, None if it is another kind of file.

    Class names are those of the folders (`image_dir_name`), or the species where these are missing.

    Raises:
        DataError: JSON that is damaged, without annotations (the test split) or that contradicts
            itself or `labels`.
    """
    if path.suffix.lower() != ".json" or not _is_object(path):
        return None
    table = _Table.read(path)
    if not table.names:
        return None
    if not table.image_of:
        raise DataError(
            f"{path} lists {len(table.names)} images without annotations; the labels of the test"
            " split were never published, score on val.json"
        )
    categories = table.categories_of_images()
    table.refuse_other_folders(categories)
    if labels is None:
        classes: Sequence[str] | None = table.class_names()
        made = categories
    else:
        classes = None
        made = indices(path, [table.classes[c] for c in categories.tolist()], labels, title=TITLE)
    return Listed(
        names=table.names, labels=made, source=path, layout="COCO-like json", classes=classes
    )


def _is_object(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


class _Table:
    """The columns of a file that are needed, of millions of images."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.ids, self.image_of, self.category_of = array("q"), array("q"), array("q")
        self.classes: dict[int, str] = {}

    @classmethod
    def read(cls, path: Path) -> _Table:
        """Read a file once, from its beginning to its end."""
        table = cls(path)
        note = {
            "images": table._note_image,
            "annotations": table._note_annotation,
            "categories": table._note_category,
        }
        for key, element in elements(path, note):
            try:
                note[key](element)
            except (KeyError, TypeError, OverflowError) as error:
                raise DataError(
                    f"{path}: {str(element)[:80]!r} among the {key} lacks a field or has it in"
                    f" another form ({error}); fetch the file again."
                ) from error
        return table

    def _note_image(self, element: Mapping[str, Any]) -> None:
        self.ids.append(element["id"])
        self.names.append(element["file_name"].removeprefix("./"))

    def _note_annotation(self, element: Mapping[str, Any]) -> None:
        self.image_of.append(element["image_id"])
        self.category_of.append(element["category_id"])

    def _note_category(self, element: Mapping[str, Any]) -> None:
        self.classes[int(element["id"])] = element.get("image_dir_name") or element["name"]

    def categories_of_images(self) -> IntArray:
        """Return the category id of each image, int64 `[rows]`."""
        images = np.frombuffer(self.ids, dtype=np.int64)
        annotated = np.frombuffer(self.image_of, dtype=np.int64)
        order = np.argsort(annotated, kind="stable")
        places = np.searchsorted(annotated[order], images)
        first = order[np.minimum(places, len(order) - 1)]
        missing = np.flatnonzero(annotated[first] != images)
        if len(missing):
            raise DataError(f"{self.path}: {self.names[missing[0]]!r} has no annotation.")
        if len(annotated) != len(images) or len(np.unique(images)) != len(images):
            raise DataError(
                f"{self.path} has {len(annotated)} annotations for {len(images)} images, of which"
                f" {len(np.unique(images))} have an id of their own; every image should have one"
                " annotation."
            )
        found: IntArray = np.frombuffer(self.category_of, dtype=np.int64)[first]
        unknown = sorted(set(found.tolist()) - self.classes.keys())
        if unknown:
            raise DataError(f"{self.path}: category_id {unknown[0]} is not among the categories.")
        return found

    def refuse_other_folders(self, categories: IntArray) -> None:
        """Refuse an image whose folder has the number of another category."""
        for name, category in zip(self.names, categories.tolist(), strict=True):
            if folder_number(name) not in (None, category):
                raise DataError(
                    f"{self.path}: {name!r} has category_id {category}, but the number of its"
                    " folder is another one; fetch the file again."
                )

    def class_names(self) -> Sequence[str]:
        """Return the class names by category id, which must be 0, 1, ..."""
        if sorted(self.classes) != list(range(len(self.classes))):
            raise DataError(
                f"{self.path}: the ids of its {len(self.classes)} categories are not 0 to"
                f" {len(self.classes) - 1}, so they are no class indices; name the classes with"
                " --set task.classes=FILE, one image_dir_name a line."
            )
        return [self.classes[index] for index in range(len(self.classes))]
