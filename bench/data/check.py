"""Look at every file of a manifest before GPU time is spent: is it there, and can it be decoded?"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.errors import UnreadableMedia
from bench.types import Manifest, Progress

ROWS_AT_ONCE = 1024
SHOWN = 5

Outcome = tuple[Literal["good", "missing", "empty", "unreadable"], str]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What was found in a split, by sample id; nothing is left out or replaced.

    `expected` is the published number of rows, if there is one. `unreadable` pairs ids with
    reasons; `duplicates` pairs ids with the id of an earlier row that has the same name or file.
    Class sizes are (name, rows); `classes_without_rows` counts classes that no row has.
    """

    name: str
    split: str
    listed: int
    expected: int | None
    missing: tuple[str, ...]
    empty: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    num_classes: int
    classes_without_rows: int
    smallest_class: tuple[str, int]
    largest_class: tuple[str, int]

    @property
    def problems(self) -> int:
        """Number of rows with a problem, plus one if the row count is not the published one."""
        rows = len(self.missing) + len(self.empty) + len(self.unreadable) + len(self.duplicates)
        return rows + (self.expected is not None and self.expected != self.listed)

    def as_table_rows(self) -> list[tuple[str, str]]:
        """Return (what, value) pairs for a terminal table, with the first few ids of each kind."""
        expected = "" if self.expected is None else f" (published: {self.expected:,})"
        return [
            ("rows", f"{self.listed:,}{expected}"),
            ("missing", _some(self.missing)),
            ("empty files", _some(self.empty)),
            ("unreadable", _some([f"{i} ({reason})" for i, reason in self.unreadable])),
            ("duplicates", _some([f"{i} = {first}" for i, first in self.duplicates])),
            ("classes", f"{self.num_classes:,}, {self.classes_without_rows:,} without rows"),
            ("smallest class", f"{self.smallest_class[1]:,} rows: {self.smallest_class[0]}"),
            ("largest class", f"{self.largest_class[1]:,} rows: {self.largest_class[0]}"),
            ("problems", f"{self.problems:,}"),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, with full lists, in types that JSON has."""
        facts = {k: _listed(v) for k, v in asdict(self).items()}
        return {**facts, "problems": self.problems}


def check_manifest(
    manifest: Manifest,
    *,
    workers: int,
    progress: Progress,
    decode: Callable[[Path], None],
) -> CheckReport:
    """Look at every file of `manifest`; `decode` reads one and raises `UnreadableMedia`.

    `workers` threads call `decode`, which may hand the file to a process of its own. A file with
    zero bytes is counted as empty and not decoded.
    """
    found: dict[str, list[tuple[str, str]]] = {"missing": [], "empty": [], "unreadable": []}
    progress.start(f"check {manifest.name} {manifest.split}", len(manifest))
    try:
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(manifest), ROWS_AT_ONCE):
                rows = range(start, min(start + ROWS_AT_ONCE, len(manifest)))
                outcomes = pool.map(lambda row: _look(manifest.media[row], decode), rows)
                for row, (state, reason) in zip(rows, outcomes, strict=True):
                    if state != "good":
                        found[state].append((manifest.ids[row], reason))
                    progress.advance()
    finally:
        progress.stop()
    sizes = np.bincount(manifest.labels, minlength=len(manifest.classes))
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    return CheckReport(
        name=manifest.name,
        split=manifest.split,
        listed=len(manifest),
        expected=manifest.expected,
        missing=tuple(sample for sample, _ in found["missing"]),
        empty=tuple(sample for sample, _ in found["empty"]),
        unreadable=tuple(found["unreadable"]),
        duplicates=_duplicates(manifest),
        num_classes=len(manifest.classes),
        classes_without_rows=int((sizes == 0).sum()),
        smallest_class=(manifest.classes[smallest], int(sizes[smallest])),
        largest_class=(manifest.classes[largest], int(sizes[largest])),
    )


def _look(path: Path, decode: Callable[[Path], None]) -> Outcome:
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "missing", ""
    except OSError as error:
        return "unreadable", str(error.strerror)
    if size == 0:
        return "empty", ""
    try:
        decode(path)
    except UnreadableMedia as error:
        return "unreadable", str(error)
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    return "good", ""


def _duplicates(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Return the rows whose id or file an earlier row has, links resolved."""
    first: dict[str, str] = {}
    twins = []
    for row, sample in enumerate(manifest.ids):
        file = os.path.realpath(manifest.media[row])
        earlier = first.get(f"id {sample}") or first.get(f"file {file}")
        if earlier is not None:
            twins.append((sample, earlier))
        first.setdefault(f"id {sample}", sample)
        first.setdefault(f"file {file}", sample)
    return tuple(twins)


def _some(found: tuple[str, ...] | list[str]) -> str:
    if not found:
        return "0"
    rest = f", and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return f"{len(found):,}: {', '.join(found[:SHOWN])}{rest}"


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
