"""The annotation files of ImageNet (ILSVRC 2012): devkit, Caffe's lists, Kaggle's tables and lists.

Images are named ILSVRC2012_val_00000001 (validation) or n02119789_777 (training), classes by WNID
(n02119789), and class indices are the ranks of the sorted WNIDs. Traps:

- the devkit numbers classes 1 to 1000 in its own order (ILSVRC2012_ID, see `meta.mat`);
- Kaggle's `ImageSets/CLS-LOC/{val,train_cls}.txt` have running numbers where Caffe's lists of the
  same names have classes;
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
_WNID = re.compile(r"(?:^|/)(n\d{8})(?=[/_])|_(n\d{8})(?:\.\w+)?$")


def image_id(name: str) -> str:
    """Return the file name without folder, extension and the WNID that some copies append."""
    base = without_extension(name.rpartition("/")[2])
    match = _APPENDED.fullmatch(base)
    return match[1] if match else base


def wnid_in_name(name: str) -> str | None:
    """Return the WNID in a path (of the file, else of its innermost folder), None without one."""
    found = _WNID.findall(name)
    return found[-1][0] or found[-1][1] if found else None


def read_imagenet(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
    """Read an official file of ImageNet, whose format is detected by name and content.

    Raises:
        DataError: a file that contradicts itself or the label map; a devkit without `meta.mat`.
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
    in_names = [wnid_in_name(name) for name in names]
    if "." not in names[0]:  # Kaggle's lists have no extension, Caffe's do
        wnids = [wnid for wnid in in_names if wnid is not None]
        if len(wnids) == len(names):
            return _listed(path, names, wnids, labels, "Kaggle list")
        if all(name.endswith(f"_{n:08d}") for name, n in zip(names, numbers.tolist(), strict=True)):
            return None  # running numbers, not labels
    class_file = next((found for name in CLASS_FILES if (found := tree.beside(path, name))), None)
    if class_file is not None and labels is shipped("in1k"):
        order = {wnid: index for index, wnid in enumerate(read_wnids(class_file))}
        same_order(class_file, order, labels, title=TITLE)
    refuse_other_classes(path, in_names, numbers, labels, title=TITLE)
    return Listed(names=names, labels=numbers, source=path, layout="Caffe list")


def read_wnids(path: Path) -> list[str]:
    """Return the WNIDs of a list of `n01440764 tench, Tinca tinca` or `n01440764` lines.

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
        if wnid_in_name(image) is not None:
            return None  # the images are in class folders, so the numbers are not needed
        raise DataError(
            f"{path} has the class numbers of the devkit, but its meta.mat, which explains them,"
            " is not there; put it next to the file, or pass another list with --set task.val=FILE"
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
    listed = [wnids[int(line)] for line in lines]
    return _listed(path, names, listed, labels, f"devkit ({meta.name})")


def read_meta(path: Path) -> dict[int, str]:
    """Return ILSVRC2012_ID -> WNID of the classes (synsets without children) of a `meta.mat`.

    Raises:
        DataError: not a MATLAB file, or one without these columns.
    """
    from scipy.io import loadmat  # heavy, and only the devkit needs it
    from scipy.io.matlab import MatReadError

    damage = (MatReadError, zlib.error, OSError, LookupError, TypeError, ValueError, RuntimeError)
    try:
        synsets = loadmat(str(path), squeeze_me=True)["synsets"]
        rows = np.atleast_1d(synsets)[["ILSVRC2012_ID", "WNID", "num_children"]].tolist()
    except damage as error:
        raise DataError(
            f"{path} is not the meta.mat of an ImageNet devkit ({error}); download it again."
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
    return _listed(path, names, wnids, labels, "Kaggle table")


def _listed(
    path: Path, names: Sequence[str], wnids: Sequence[str], labels: LabelMap, layout: str
) -> Listed:
    label_rows = indices(path, wnids, labels, title=TITLE)
    return Listed(names=names, labels=label_rows, source=path, layout=layout)
