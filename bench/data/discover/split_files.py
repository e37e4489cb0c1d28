"""Split files: the rows of a training split as text, one sample id per line, portable.

    # frozenbench split task=k400 split=train fraction=0.05 draw=1 rows=12013 sha256=... rule=...
    -0BtpH8ZgcQ
    ...

Ids are sorted by code point, lines end in a line feed, and the SHA-256 covers all lines except the
first (`tail -n +2 FILE | sha256sum`).
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.discover.annotations import read_lines
from bench.data.discover.unicode_names import composed
from bench.data.manifest import Manifest, Task
from bench.data.media.media import MediaColumn
from bench.errors import DataError
from bench.files import write_whole
from bench.types import IntArray

if TYPE_CHECKING:
    from bench.data.boxes.regions import Regions

HEADER = "# frozenbench split "
SHOWN = 3
AMBIGUOUS = -1  # a name shared by several rows


def split_digest(ids: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted ids, each followed by a line feed."""
    return hashlib.sha256(_body(ids)).hexdigest()


def split_text(task: Task) -> bytes:
    """Return the split file of a task's training rows: equal splits give equal bytes."""
    request = {
        key: task.options[key] for key in ("fraction", "shots", "draw") if key in task.options
    }
    facts = {
        "task": task.name,
        "split": task.fit.split,
        **request,
        "rows": len(task.fit),
        "sha256": split_digest(task.fit.ids),
        "rule": task.options.get("rule", "all training rows"),
    }
    header = HEADER + " ".join(f"{key}={value}" for key, value in facts.items())
    return f"{header}\n".encode() + _body(task.fit.ids)


def write_split(task: Task, path: Path) -> Path:
    """Write the split file of a task's training rows and return its path.

    Raises:
        BenchError: the file cannot be written.
    """
    write_whole(path, split_text(task))
    return path


def split_name(task: Task) -> str:
    """Return a file name with the share in it, such as `k400_train_5percent_draw1.txt`."""
    options = task.options
    draw = f"_draw{options.get('draw', 0)}"
    if "shots" in options:
        share = f"{options['shots']}shots{draw}"
    elif options.get("fraction", 1.0) != 1.0:
        share = f"{100 * options['fraction']:.10g}percent{draw}"
    else:
        share = f"subset_{options['subset_sha256'][:8]}" if "subset_sha256" in options else "all"
    return f"{task.name}_{task.fit.split}_{share}.txt"


def read_split(path: Path) -> list[str]:
    """Return the names that a split file lists, one per line; our own header is checked.

    Raises:
        DataError: missing, empty or undecodable file, or ids that do not match the digest.
    """
    names = read_lines(path)
    if not names or not names[0].startswith(HEADER):
        return names
    header, names = names[0], names[1:]
    stated = dict(word.partition("=")[::2] for word in header.split()).get("sha256")
    if stated != split_digest(names):
        raise DataError(
            f"{path} was changed: its ids do not match the SHA-256 in its first line; write it"
            " again, or remove the first line to use it as it is."
        )
    return names


def named_rows(manifest: Manifest, path: Path) -> IntArray:
    """Return the sorted rows of `manifest` that the file lists, int64 `[rows listed]`.

    A line is a sample id or a file name, with or without the folders above it and the extension.
    If ids are shorter than file names (Kinetics), the names of the files found count too. If rows
    are boxes, a line may name a video, meaning all of its boxes.

    Raises:
        DataError: a name that is not in the split, is ambiguous, or is listed twice.
    """
    names = read_split(path)
    if manifest.regions is not None:
        return _named_boxes(manifest, manifest.regions, path, names)
    index = _Index(manifest.ids)
    rows = np.array([index.row(name) for name in names], dtype=np.int64)
    lost = np.flatnonzero(rows == len(manifest))
    if len(lost) and isinstance(manifest.media, MediaColumn):
        files = _Index(manifest.media.names)
        rows[lost] = [files.row(names[line]) for line in lost]
    where = f"{manifest.name} {manifest.split}"
    _refuse(path, names, np.flatnonzero(rows == len(manifest)), f"not among the samples of {where}")
    _refuse(path, names, np.flatnonzero(rows == AMBIGUOUS), f"ambiguous among samples of {where}")
    found, first = np.unique(rows, return_index=True)
    _refuse(path, names, np.setdiff1d(np.arange(len(rows)), first), "listed twice")
    _require_some(path, found)
    return found


def _named_boxes(
    manifest: Manifest, regions: Regions, path: Path, names: Sequence[str]
) -> IntArray:
    """Return the sorted rows that lines list by id or by video."""
    ids = {sample: row for row, sample in enumerate(manifest.ids)}
    rows = np.array([ids.get(name, -1) for name in names], dtype=np.int64)
    index, unknown = _Index(regions.videos), len(regions.videos)
    video = np.array(
        [index.row(name) if row < 0 else unknown for name, row in zip(names, rows, strict=True)],
        dtype=np.int64,
    )
    where = f"{manifest.name} {manifest.split}"
    lost = np.flatnonzero((rows < 0) & (video == unknown))
    _refuse(path, names, lost, f"neither a sample nor a video of {where}")
    _refuse(path, names, np.flatnonzero(video == AMBIGUOUS), f"ambiguous among videos of {where}")
    # A box is listed twice if its video is listed too.
    named = np.where(rows < 0, video, unknown + 1 + rows)
    _, first = np.unique(named, return_index=True)
    is_again = np.ones(len(names), dtype=np.bool_)
    is_again[first] = False
    is_again[rows >= 0] |= np.isin(regions.video[rows[rows >= 0]], video)
    _refuse(path, names, np.flatnonzero(is_again), "listed twice")
    is_found = np.isin(regions.video, video[rows < 0])
    is_found[rows[rows >= 0]] = True
    found = np.flatnonzero(is_found)
    _require_some(path, found)
    return found


class _Index:
    """Row numbers by id and by its shorter forms, each built on first use."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = [composed(sample) for sample in ids]

    @cached_property
    def _exact(self) -> dict[str, int]:
        return {sample: row for row, sample in enumerate(self._ids)}

    @cached_property
    def _bare(self) -> dict[str, int]:
        return _rows_by(_bare(sample) for sample in self._ids)

    @cached_property
    def _stems(self) -> dict[str, int]:
        return _rows_by(posixpath.basename(_bare(sample)) for sample in self._ids)

    def row(self, name: str) -> int:
        """Return the row of a name, the number of rows if there is none, or AMBIGUOUS."""
        name = composed(name.replace("\\", "/").strip("/"))
        for below in _without_folders(name):
            if below in self._exact:
                return self._exact[below]
        for below in _without_folders(name):
            for form in (below, _bare(below)):
                if form in self._bare:
                    return self._bare[form]
        base = posixpath.basename(name)
        return self._stems.get(_bare(base), self._stems.get(base, len(self._ids)))


def _rows_by(names: Iterable[str]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        rows[name] = AMBIGUOUS if name in rows else row
    return rows


def _without_folders(name: str) -> Iterator[str]:
    """Yield a name, then the same without its first folder, and so on."""
    while True:
        yield name
        _, slash, name = name.partition("/")
        if not slash:
            return


def _bare(name: str) -> str:
    return posixpath.splitext(name)[0]


def _require_some(path: Path, found: IntArray) -> None:
    if not len(found):
        raise DataError(f"{path} lists no samples; it should have one id or file name per line.")


def _refuse(path: Path, names: Sequence[str], bad: IntArray, what: str) -> None:
    if not len(bad):
        return
    shown = ", ".join(repr(names[i]) for i in bad[:SHOWN])
    rest = ", ..." if len(bad) > SHOWN else ""
    raise DataError(
        f"{path}: of {len(names):,} names {len(bad):,} {'is' if len(bad) == 1 else 'are'} {what}:"
        f" {shown}{rest}. A line should be a sample id or a file name of the training split."
    )


def _body(ids: Iterable[str]) -> bytes:
    return "".join(f"{sample}\n" for sample in sorted(ids)).encode()
