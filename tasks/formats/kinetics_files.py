"""Annotation files and file names of Kinetics-400, -600 and -700.

    label,youtube_id,time_start,time_end,split[,is_cc]      DeepMind, CVDF and ActivityNet tables
    {youtube_id}_{start:06d}_{end:06d}.mp4                  a clip; some layouts drop the times

Clips are identified by the 11 characters of the video id, since each video has one clip. Some
releases quote labels; the crawler's table of the test split has none.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.discover.annotations import read_lines, unquote
from bench.data.discover.dataset import Listed, Reader, default_keys, stem
from bench.data.discover.label_map import LabelMap
from bench.data.discover.search import label_index, nearest
from bench.data.discover.split_words import splits_named
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree

WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "validate", "validation", "valid"),
    "test": ("test", "testing"),
}
# CVDF's archives replace corrupted videos in a folder of this name.
REPLACEMENTS = ("replacement",)

_TIMED = re.compile(r"(.{11})_\d{6}_\d{6}")
_COLUMNS = ("youtube_id", "time_start", "time_end")


def clip_id(name: str) -> str:
    """Return the video id of a clip; of other names, the name without extension.

    Times are removed from the right, as ids may contain `_` and `-`.
    """
    base = stem(name)
    match = _TIMED.fullmatch(base)
    return match[1] if match else base


def clip_keys(name: str) -> Sequence[str]:
    """Return the names a clip may have: as listed, its file name, its id alone."""
    return (*default_keys(name), clip_id(name))


def patterns(name: str) -> Mapping[str, tuple[str, ...]]:
    """Return the official table names of `k400` (or k600, k700) by split, best first."""
    long = name.replace("k", "kinetics", 1)
    spellings = {"train": ("train",), "val": ("val", "validate"), "test": ("test",)}
    return {
        split: tuple(
            pattern
            for word in words
            for pattern in (
                f"{word}.csv",
                f"kinetics_{word}.csv",
                f"{long}_{word}.csv",
                f"kinetics-{name[1:]}_{word}.csv",
                f"{name}_{word}.csv",
            )
        )
        for split, words in spellings.items()
    }


def reader(title: str) -> Reader:
    """Return the reader of a data set's tables; it returns None for any other file."""

    def read(path: Path, split: str, tree: Tree, labels: LabelMap | None) -> Listed | None:
        """Read the rows of a split; a table without rows of this split is read whole.

        Raises:
            DataError: a table without labels, an unknown label, a damaged row.
        """
        assert labels is not None, f"the label map of {title} is shipped"
        rows = _rows(path)
        if rows is None:
            return None
        if "label" not in rows[0][1]:
            raise DataError(
                f"{path} lists {len(rows):,} clips of {title} without labels; use the table of"
                " CVDF or DeepMind, whose first column is `label`."
            )
        in_split = [split in _splits(row.get("split", "").strip()) for _, row in rows]
        if any(in_split):
            rows = [row for row, is_in in zip(rows, in_split, strict=True) if is_in]
        known: dict[str, int] = {}
        names, indices = [], []
        for line, row in rows:
            label = unquote(row["label"].strip())
            if label not in known:
                known[label] = _index(path, line, label, labels)
            names.append(_clip_name(path, line, row))
            indices.append(known[label])
        label_rows = np.array(indices, dtype=np.int64)
        layout = f"table of clips{' (CVDF)' if 'is_cc' in rows[0][1] else ''}"
        return Listed(names=names, labels=label_rows, source=path, layout=layout)

    return read


def _rows(path: Path) -> list[tuple[int, dict[str, str]]] | None:
    """Return line numbers and rows of a table, None without the header of Kinetics."""
    lines = read_lines(path)
    header = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    if not set(_COLUMNS) <= set(header):
        return None
    table = csv.reader(io.StringIO("\n".join(lines)), strict=True)
    rows = []
    try:
        next(table)
        for row in table:
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {table.line_num}: {len(row)} fields, but the header has"
                    f" {len(header)}; labels that contain a comma need double quotes."
                )
            rows.append((table.line_num, dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {table.line_num}: {error}; check the quotes.") from error
    if not rows:
        raise DataError(f"{path} has no rows below its header; download it again.")
    return rows


@cache
def _splits(text: str) -> frozenset[str]:
    """Return the splits in a cell of the column `split`; cached, as few values repeat."""
    return splits_named(text, WORDS)


def _index(path: Path, line: int, label: str, labels: LabelMap) -> int:
    index = label_index(label, labels)
    if index is None or index < 0:
        raise DataError(
            f"{path}, line {line}: {label!r} is none of the {len(labels)} classes of"
            f" {labels.source}.{nearest(label, labels)} Another label map can be passed with"
            " --set task.classes=FILE"
        )
    return index


def _clip_name(path: Path, line: int, row: Mapping[str, str]) -> str:
    sample, start, end = (row[column].strip() for column in _COLUMNS)
    try:
        return f"{sample}_{int(float(start)):06d}_{int(float(end)):06d}"
    except ValueError:
        raise DataError(
            f"{path}, line {line}: the times of {sample!r} are {start!r} and {end!r}; they should"
            " be seconds."
        ) from None
