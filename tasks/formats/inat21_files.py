"""The annotation files of iNaturalist 2021: COCO-like JSON with three arrays, joined by their ids.

    images       {"id": 5, "file_name": "val/00001_Animalia_.../0a1b....jpg", "latitude": null, ...}
    annotations  {"id": 5, "image_id": 5, "category_id": 1}
    categories   {"id": 1, "name": "Madeupus secundus", "image_dir_name": "00001_Animalia_...", ...}

Image ids are not row numbers, and the arrays may differ in order. Folder names start with the
category id in five digits, so class folders can be read without any JSON.
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Return the number that starts the folder name of an image, None without one."""
    match = _FOLDER.search(name)
    return int(match[1]) if match else None


def read_inat21(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read `train.json`, `train_mini.json` or `val.json`, None for any other file.

    Class names are the folder names (`image_dir_name`), else the species.

    Raises:
        DataError: JSON that is damaged, has no annotations (the test split) or contradicts itself
            or `labels`.
    """
    if path.suffix.lower() != ".json" or not _is_object(path):
        return None
    names, images, annotated, category_of, classes = _read(path)
    if not names:
        return None
    if not len(annotated):
        raise DataError(
            f"{path} lists {len(names)} images without annotations (the test labels were never"
            " published); score on val.json"
        )
    order = np.argsort(annotated, kind="stable")
    places = np.searchsorted(annotated[order], images)
    first = order[np.minimum(places, len(order) - 1)]
    missing = np.flatnonzero(annotated[first] != images)
    if len(missing):
        raise DataError(f"{path}: {names[missing[0]]!r} has no annotation.")
    num_ids = len(np.unique(images))
    if len(annotated) != len(images) or num_ids != len(images):
        raise DataError(
            f"{path} has {len(annotated)} annotations for {len(images)} images with {num_ids}"
            " different ids; every image should have one id and one annotation."
        )
    categories = category_of[first]
    unknown = sorted(set(categories.tolist()) - classes.keys())
    if unknown:
        raise DataError(f"{path}: category_id {unknown[0]} is not among the categories.")
    for name, category in zip(names, categories.tolist(), strict=True):
        if folder_number(name) not in (None, category):
            raise DataError(
                f"{path}: {name!r} has category_id {category}, which is not the number of its"
                " folder; download the file again."
            )
    layout = "COCO-like json"
    if labels is not None:
        names_of_rows = [classes[category] for category in categories.tolist()]
        label_rows = indices(path, names_of_rows, labels, title=TITLE)
        return Listed(names=names, labels=label_rows, source=path, layout=layout)
    if sorted(classes) != list(range(len(classes))):
        raise DataError(
            f"{path}: the ids of its {len(classes)} categories are not 0 to {len(classes) - 1}, so"
            " they are not class indices; list the classes with --set task.classes=FILE, one"
            " image_dir_name per line."
        )
    ordered = [classes[index] for index in range(len(classes))]
    return Listed(names=names, labels=categories, source=path, layout=layout, classes=ordered)


def _is_object(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def _read(path: Path) -> tuple[list[str], IntArray, IntArray, IntArray, dict[int, str]]:
    """Return image names and ids, annotations' image and category ids, and class names by id."""
    names: list[str] = []
    ids, image_of, category_of = array("q"), array("q"), array("q")
    classes: dict[int, str] = {}
    for key, element in elements(path, ("images", "annotations", "categories")):
        try:
            if key == "images":
                ids.append(element["id"])
                names.append(element["file_name"].removeprefix("./"))
            elif key == "annotations":
                image_of.append(element["image_id"])
                category_of.append(element["category_id"])
            else:
                classes[int(element["id"])] = element.get("image_dir_name") or element["name"]
        except (KeyError, TypeError, OverflowError) as error:
            raise DataError(
                f"{path}: {str(element)[:80]!r} in {key} lacks a field or has one of a wrong type"
                f" ({error}); download the file again."
            ) from error
    images, annotated, category = (
        np.frombuffer(column, dtype=np.int64) for column in (ids, image_of, category_of)
    )
    return names, images, annotated, category, classes
