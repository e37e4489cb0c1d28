"""The annotation files of ImageNet (ILSVRC 2012): devkit, Caffe's lists, Kaggle's tables and lists.

An image is called ILSVRC2012_val_00000001 (validation) or n02119789_777 (training) everywhere, a
class by its WNID (n02119789), and class indices are the ranks of the sorted WNIDs. Traps:

- the devkit numbers classes 1 to 1000 in an order of its own (ILSVRC2012_ID, see `meta.mat`);
- Kaggle's `ImageSets/CLS-LOC/{val,train_cls}.txt` have a running number where Caffe's lists, of the
  same names, have the class;
- Kaggle's `LOC_train_solution.csv` lists the 544,546 images with boxes, not the training split;
- Hugging Face appends the WNID to the file name.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.discover.annotations import is_integer, read_lines
from bench.data.discover.dataset import Listed, without_extension
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from tasks.formats.image_lists import read_indexed, refuse_other_classes
from tasks.formats.official_files import indices, same_order
from tasks.labels import shipped

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

TITLE = "ImageNet-1k"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
CLASS_FILES = ("LOC_synset_mapping.txt", "synset_words.txt", "synsets.txt")

_APPENDED = re.compile(r"(ILSVRC2012_(?:val|test)_\d{8}|n\d{8}_\d+)_n\d{8}")
_TOLD = re.compile(r"(?:^|/)(n\d{8})(?=[/_])|_(n\d{8})(?:\.\w+)?$")


def image_id(name: str) -> str:
    """Return the file name without folder, extension and the WNID that some copies append."""
    base = without_extension(name.rpartition("/")[2])
    match = _APPENDED.fullmatch(base)
    return match[1] if match else base


def told_wnid(name: str) -> str | None:
    """Return the WNID that a name tells by its file name or a folder; None if there is none.

    That of the file wins over its folder, an inner folder over an outer one.
    """
    found = _TOLD.findall(name)
    return found[-1][0] or found[-1][1] if found else None


def read_imagenet(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read an official file of ImageNet; its format is found from its name and content.

    Raises:
        DataError: what contradicts itself or the label map, and a devkit without `meta.mat`.
    """
    assert labels is not None, "ImageNet ships its label map"
    if path.name == GROUND_TRUTH:
        return _read_devkit(path, tree, labels)
    if path.suffix.lower() == ".csv":
        return _read_kaggle_table(path, labels)
    rows = read_indexed(path)
    if rows is None:
        return None
    names, numbers = rows
    told = [told_wnid(name) for name in names]
    if "." not in names[0]:  # Kaggle's lists have no extension, Caffe's do
        wnids = [wnid for wnid in told if wnid is not None]
        if len(wnids) == len(names):
            return _of_wnids(path, names, wnids, labels, "Kaggle list")
        if all(name.endswith(f"_{n:08d}") for name, n in zip(names, numbers.tolist(), strict=True)):
            return None  # the running number of the image: this list has no labels
    own = next((found for name in CLASS_FILES if (found := tree.beside(path, name))), None)
    if own is not None and labels is shipped("in1k"):
        same_order(own, {w: i for i, w in enumerate(read_wnids(own))}, labels, title=TITLE)
    refuse_other_classes(path, told, numbers, labels, title=TITLE)
    return Listed(names=names, labels=numbers, source=path, layout="Caffe list")


def read_wnids(path: Path) -> list[str]:
    """Return the WNIDs of a `n01440764 tench, Tinca tinca` or `n01440764` list, in its order.

    Raises:
        DataError: a line without a WNID.
    """
    wnids = []
    for number, line in enumerate(read_lines(path), start=1):
        wnid = line.split(maxsplit=1)[0] if line.strip() else ""
        if not re.fullmatch(r"n\d{8}", wnid):
            raise DataError(f"{path}, line {number}: expected a WNID (n01440764), found {line!r}.")
        wnids.append(wnid)
    return wnids


# ----------------------------------------------------------------------------------------- devkit
def _read_devkit(path: Path, tree: Tree, labels: LabelMap) -> Listed | None:
    meta = tree.beside(path, "meta.mat")
    if meta is None:
        image = next((name for name in tree.names if "ILSVRC2012_val_" in name), "")
        if told_wnid(image) is not None:
            return None  # the images lie in class folders, and nobody needs the numbers
        raise DataError(
            f"{path} numbers classes as the devkit does, and its meta.mat, which says what the"
            " numbers mean, is not there; put it beside, or give another list with --set"
            " task.val=FILE"
        )
    wnids = read_meta(meta)
    lines = read_lines(path)
    for number, line in enumerate(lines, start=1):
        if not is_integer(line) or int(line) not in wnids:
            raise DataError(
                f"{path}, line {number}: {line!r} is none of the {len(wnids)} class numbers of"
                f" {meta}; do both belong to the same devkit?"
            )
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(lines) + 1)]
    told = [wnids[int(line)] for line in lines]
    return _of_wnids(path, names, told, labels, f"devkit ({meta.name})")


def read_meta(path: Path) -> dict[int, str]:
    """Return ILSVRC2012_ID -> WNID of the classes (synsets without children) of a `meta.mat`.

    Raises:
        DataError: no MATLAB file, or one without these columns.
    """
    from scipy.io import loadmat  # heavy, and only the devkit needs it
    from scipy.io.matlab import MatReadError

    damage = (MatReadError, zlib.error, OSError, LookupError, TypeError, ValueError, RuntimeError)
    try:
        synsets = loadmat(str(path), squeeze_me=True)["synsets"]
        rows = np.atleast_1d(synsets)[["ILSVRC2012_ID", "WNID", "num_children"]].tolist()
    except damage as error:
        raise DataError(
            f"{path} is not the meta.mat of an ImageNet devkit ({error}); fetch it again."
        ) from error
    return {int(number): str(wnid) for number, wnid, children in rows if int(children) == 0}


# ----------------------------------------------------------------------------------------- Kaggle
def _read_kaggle_table(path: Path, labels: LabelMap) -> Listed | None:
    """Read `ImageId,PredictionString`; the string repeats `wnid x y x y` for every box."""
    names, wnids = [], []
    reader = csv.reader(read_lines(path))
    if [column.strip().lower() for column in next(reader, [])] != ["imageid", "predictionstring"]:
        return None
    for row in reader:
        boxes = row[1].split() if len(row) == 2 else []
        if not row or not row[0].strip() or len(set(boxes[::5])) != 1 or len(boxes) % 5:
            raise DataError(
                f"{path}, line {reader.line_num}: expected an image and `wnid x y x y` of one"
                f" class, found {','.join(row)[:60]!r}."
            )
        names.append(f"{row[0].strip()}.JPEG")
        wnids.append(boxes[0])
    return _of_wnids(path, names, wnids, labels, "Kaggle table")


def _of_wnids(
    path: Path, names: Sequence[str], wnids: Sequence[str], labels: LabelMap, layout: str
) -> Listed:
    made = indices(path, wnids, labels, title=TITLE)
    return Listed(names=names, labels=made, source=path, layout=layout)
