"""Lists of millions of images: `name index` lines, read into columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from bench.data.discover.label_map import LabelMap
from bench.errors import DataError
from bench.types import IntArray

_SEPARATORS = "\t, "


def read_indexed(path: Path) -> tuple[list[str], IntArray] | None:
    """Return the names and the indices (int64 `[rows]`) of a `name index` list.

    None if the first line is not of this form. Lines are split at the last tab, comma or blank (as
    in the first line), so names may contain it.

    Raises:
        DataError: an unreadable file, a later line without name or index.
    """
    names: list[str] = []
    indices = array("q")
    separator = ""
    for number, line in enumerate(lines_of(path), start=1):
        if number == 1:
            separator = next((s for s in _SEPARATORS if _parse(line, s)), "")
            if not separator:
                return None
        row = _parse(line, separator)
        if row is None:
            raise DataError(
                f"{path}, line {number}: expected a file name and an index with {separator!r}"
                f" between them, found {line!r}; is the file cut off?"
            )
        names.append(row[0])
        indices.append(int(row[1]))
    return (names, np.frombuffer(indices, dtype=np.int64)) if names else None


def refuse_other_classes(
    path: Path, classes: Iterable[str | None], indices: IntArray, labels: LabelMap, *, title: str
) -> None:
    """Refuse a list with an index that contradicts `classes`, the class in each name (or None).

    Raises:
        DataError: the first such row, or one with a class that the label map lacks.
    """
    rows: dict[tuple[str | None, int], int] = {}
    for line, pair in enumerate(zip(classes, indices.tolist(), strict=True), start=1):
        rows.setdefault(pair, line)
    for (name, index), line in rows.items():
        if name is None or labels.index(name) == index:
            continue
        indexed = repr(labels.names[index]) if 0 <= index < len(labels) else "not a class"
        raise DataError(
            f"{path}, line {line}: the name contains the class {name!r}, but the index {index} is"
            f" {indexed} in the label map of {title}; if the list follows another class order, pass"
            " it with --set task.classes=FILE, one name per line."
        )


def _parse(line: str, separator: str) -> tuple[str, str] | None:
    name, _, index = line.rpartition(separator)
    name = name.rstrip()
    return (name, index) if name and index.isascii() and index.isdigit() else None


def lines_of(path: Path) -> Iterator[str]:
    """Yield lines without BOM, line end and trailing blanks; empty lines at the end are dropped.

    Only "\\n" ends a line: names may contain form feeds and the like.

    Raises:
        DataError: an unreadable file.
    """
    empty = 0
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for raw in file:
                line = raw.rstrip(" \t\r\n")
                if not line:
                    empty += 1
                    continue
                yield from repeat("", empty)
                empty = 0
                yield line
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"cannot read the annotation file {path}: {error.strerror}.") from error
