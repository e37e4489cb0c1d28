"""Shared parts of annotation readers: JSON, `id;class` lines, class names to indices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.discover.annotations import read_lines
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError, closest
from bench.files import parse_json
from bench.types import IntArray


def read_json(path: Path) -> Any:
    """Return the content of a `.json` file, None for any other file.

    Raises:
        DataError: a `.json` file that is unreadable or not JSON.
    """
    if path.suffix.lower() != ".json":
        return None
    try:
        return parse_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the annotation file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(
            f"{path} is not JSON ({error}); is it cut off? Download it again."
        ) from error


def read_id_lines(path: Path) -> tuple[list[str], list[str]] | None:
    """Return ids and class names of `id;class name` lines, None if the first line differs.

    Ids are numbers, kept as strings. Class names may contain semicolons and commas.

    Raises:
        DataError: a later line without id or class.
    """
    lines = read_lines(path)
    if not lines or not re.match(r"\d+;.", lines[0]):
        return None
    ids, names = [], []
    for number, line in enumerate(lines, start=1):
        sample, _, name = line.partition(";")
        if not sample.strip() or not name.strip():
            raise DataError(f"{path}, line {number}: expected `id;class name`, found {line!r}.")
        ids.append(sample.strip())
        names.append(name.strip())
    return ids, names


def indices(path: Path, names: Sequence[str], labels: LabelMap, *, title: str) -> IntArray:
    """Return the class indices of class names, int64 `[rows]`.

    Raises:
        DataError: an unknown class name; the message has the nearest one.
    """
    known = {name: labels.index(name) for name in dict.fromkeys(names)}
    for name, index in known.items():
        if index is None:
            hint = closest(name, labels.names)
            raise DataError(
                f"{path}: {name!r} is none of the {len(labels)} classes of {title}."
                f"{hint if 'Did you mean' in hint else ''} Another label map can be passed with"
                " --set task.classes=FILE"
            )
    return np.array([known[name] for name in names], dtype=np.int64)


def same_order(
    path: Path,
    found: Mapping[str, int],
    labels: LabelMap,
    *,
    title: str,
    is_label_map: bool = True,
) -> None:
    """Refuse a label map in the user's copy that numbers classes unlike `labels`.

    `found` maps the class names in the file `path` to indices; it may lack classes. With
    `is_label_map`, the file itself can be passed as another label map.

    Raises:
        DataError: the first class that differs; the message has both indices.
    """
    for name, number in found.items():
        index = labels.index(name)
        if index == number:
            continue
        shipped = f"gives it {index}" if index is not None else "has no such class"
        file = str(path) if is_label_map else "FILE (one name per line)"
        raise DataError(
            f"{path} gives the class {name!r} the index {number}, but the label map of {title}"
            f" {shipped}; use its order with --set task.classes={file} or remove it."
        )
