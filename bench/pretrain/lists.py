"""Lists of videos and images to pretrain on, as one long column of paths without labels.

A list is one of

    clips.csv           one media file per line; or rows in any layout of
                        `bench.data.discover.annotations`, whose labels are ignored
    folder              every video and image below it, sorted; hidden files are left out
    task:NAME           the training split of a registered task

and may be followed by `=WEIGHT`. Millions of paths are stored as one block of bytes that worker
processes share.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import overload

import numpy as np
import torch

from bench.data.discover.annotations import (
    EXTENSIONS,
    FILE_COLUMNS,
    extension,
    read_annotations,
    read_lines,
    unquote,
)
from bench.data.discover.folder_scan import media_below
from bench.errors import DataError, UsageError
from bench.preflight.settle import with_data
from bench.preflight.task_contract import build_task

TASK = "task:"
NUM_PROBED = 16  # evenly spaced names per list that are looked up to find its root folder
NOT_LINE_BASED = (".jsonl", ".ndjson", ".parquet")

Names = tuple[Path, list[str]]  # a folder and the names below it


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipLists:
    """The rows of all lists, concatenated.

    `names` are the lists as given, `sizes` their numbers of rows, `weights` their sampling weights
    (None: proportional to size). `digest` is a SHA-256 over sizes, weights and file names relative
    to their list's folder, so that it is the same on every machine.
    """

    names: tuple[str, ...]
    paths: Sequence[Path]
    sizes: tuple[int, ...]
    weights: tuple[float, ...] | None
    digest: str

    def __len__(self) -> int:
        return sum(self.sizes)


def read_lists(specs: Sequence[str], data: Path | None) -> ClipLists:
    """Read the lists named by `specs`: `PATH`, `PATH=WEIGHT`, `task:NAME` or `task:NAME=WEIGHT`.

    Relative names in a list file are looked up next to it, else below `data`, which is also passed
    to tasks as their `data` option. Media files are not opened.

    Raises:
        UsageError: no list, weights on some lists only, an invalid weight, or a task that cannot be
            built.
        DataError: a list that is missing or empty, or whose media cannot be found.
    """
    if not specs:
        raise UsageError("nothing to train on: give a list, a folder or task:NAME.")
    found = [_parse(spec) for spec in specs]
    weights = tuple(weight for _, weight in found if weight is not None) or None
    if weights and len(weights) < len(found):
        bare = next(name for name, weight in found if weight is None)
        raise UsageError(
            f"list {bare!r} has no weight but others do: append =WEIGHT to every list or to none."
        )
    files = [_read(name, data) for name, _ in found]
    sizes = tuple(len(rows) for _, rows in files)
    digest = hashlib.sha256(json.dumps([sizes, weights]).encode())
    for row in chain.from_iterable(rows for _, rows in files):
        digest.update(b"\n" + os.fsencode(row))
    return ClipLists(
        names=tuple(name for name, _ in found),
        paths=PathTable(files),
        sizes=sizes,
        weights=weights,
        digest=digest.hexdigest(),
    )


class PathTable(Sequence[Path]):
    """Paths of millions of files without one object per path.

    Two tensors hold the names: forked processes share their pages, and torch puts them into shared
    memory for spawned ones.
    """

    def __init__(self, files: Sequence[Names]) -> None:
        self._roots = [root for root, _ in files]
        self._list_ends = np.cumsum([len(names) for _, names in files])
        encoded = [os.fsencode(name) for name in chain.from_iterable(names for _, names in files)]
        self._text = torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        self._ends = torch.from_numpy(np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> Path: ...
    @overload
    def __getitem__(self, row: slice) -> list[Path]: ...
    def __getitem__(self, row: int | slice) -> Path | list[Path]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        number = range(len(self))[row]  # negative counts from the end; IndexError if outside
        start = int(self._ends[number - 1]) if number else 0
        name = self._text[start : int(self._ends[number])].numpy().tobytes()
        index = int(np.searchsorted(self._list_ends, number, side="right"))
        return self._roots[index] / os.fsdecode(name)


def _parse(spec: str) -> tuple[str, float | None]:
    """Split a spec into its list and its weight; a path that exists is never split."""
    name, equals, text = spec.rpartition("=")
    if not equals or not name or Path(spec).exists():
        return spec, None
    try:
        weight = float(text)
    except ValueError:
        return spec, None
    if not 0 < weight < math.inf:
        raise UsageError(f"list {name!r}: the weight {text} must be a number above 0.")
    return name, weight


def _read(name: str, data: Path | None) -> Names:
    path = Path(name)
    if name.startswith(TASK):
        return _task_files(name.removeprefix(TASK), data)
    if path.is_dir():
        names = media_below(path)
        if names:
            return path, names
        raise DataError(
            f"{path} has no videos or images, that is, no files that end in one of"
            f" {' '.join(EXTENSIONS)}, or without an ending that begin like one."
        )
    if not path.exists():
        raise DataError(
            f"there is no list or folder {name!r}; check the path, or write task:NAME for the"
            " training split of a task."
        )
    return _list_files(path, data)


def _task_files(name: str, data: Path | None) -> Names:
    task = build_task(name, with_data(name, data, {}))
    names = [str(media.absolute()) for media in task.fit.media if isinstance(media, Path)]
    if len(names) < len(task.fit):
        raise DataError(
            f"{TASK}{name}: {len(task.fit) - len(names)} of {len(task.fit)} training samples are"
            " folders of frames or archive members, which pretraining cannot read; give a folder or"
            " a list of media files."
        )
    return _split_common_folder(names)


def _list_files(path: Path, data: Path | None) -> Names:
    names, lines = _read_names(path)
    for name, line in zip(names, lines, strict=True):
        if extension(name) not in EXTENSIONS:
            raise DataError(
                f"{path}, line {line}: {name!r} does not end in a known extension"
                f" ({' '.join(EXTENSIONS)}); every row must name a video or an image."
            )
    names = [name.removeprefix("./") for name in names]
    roots = [path.parent] if data is None else [path.parent, data]
    if all(name.startswith("/") for name in names):
        root, names = _split_common_folder(names)
        roots = [root]
    probed = names[:: -(-len(names) // NUM_PROBED)]
    for root in roots:
        if any((root / name).exists() for name in probed):
            return root, names
    places = " or ".join(str(root) for root in roots)
    advice = "check --data-root" if data is not None else "give their folder with --data-root"
    raise DataError(
        f"{path}: none of {len(probed)} names tried is a file below {places} (such as"
        f" {probed[0]!r}); {advice}."
    )


def _read_names(path: Path) -> tuple[Sequence[str], Sequence[int]]:
    """Return the names in a list file and their line numbers."""
    if path.suffix not in NOT_LINE_BASED:
        lines = read_lines(path)
        header = int(bool(lines) and lines[0].strip().lower() in FILE_COLUMNS)
        if len(lines) == header:
            raise DataError(f"{path} is empty: it should name one video or image per line.")
        # If the whole first line is a media name, no line has a label.
        if extension(unquote(lines[header].strip())) in EXTENSIONS:
            names = [unquote(line.strip()) for line in lines[header:]]
            return names, range(header + 1, len(lines) + 1)
        del lines  # frees memory: the other layouts read the file again
    rows = read_annotations(path)
    return rows.files, rows.lines


def _split_common_folder(names: Sequence[str]) -> Names:
    """Split absolute names into their common folder and the names below it."""
    ends = [posixpath.dirname(min(names)), posixpath.dirname(max(names))]
    shared = posixpath.commonpath(ends).rstrip("/") + "/"
    return Path(shared), [name[len(shared) :] for name in names]
