"""Look at every file of a manifest before GPU time is spent: is it there, and can it be decoded?"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.data.contents import content_name, real_place
from bench.data.looks import Looks, states_of
from bench.data.media import Media, is_empty, place, without_folder
from bench.errors import MissingMedia, UnreadableMedia
from bench.types import Manifest, Progress

ROWS_AT_ONCE = 256
SHOWN = 5

Outcome = tuple[str, str]  # good, missing, empty or unreadable; and the reason


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What was found in a split, by sample id; nothing is left out or replaced.

    `expected` is the published number of rows, if there is one, `copies` those of known copies by
    name. `unreadable` pairs ids with reasons; `duplicates` pairs ids with the id of an earlier row
    that has the same name or file; `excluded` pairs ids with the rule that takes them out. Class
    sizes are (name, rows); `classes_without_rows` counts classes that no row has. `remembered` rows
    were decoded by an earlier check and have not changed since.
    """

    name: str
    split: str
    listed: int
    expected: int | None
    missing: tuple[str, ...]
    empty: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...]
    copies: tuple[tuple[str, int], ...]
    layout: str
    source: str
    remembered: int
    num_classes: int
    classes_without_rows: int
    smallest_class: tuple[str, int]
    largest_class: tuple[str, int]

    @property
    def problems(self) -> int:
        """Number of rows with a problem, plus one if the row count is not the published one."""
        rows = len(self.missing) + len(self.empty) + len(self.unreadable) + len(self.duplicates)
        accounted = self.listed + len(self.excluded)
        return rows + (self.expected is not None and self.expected != accounted)

    @property
    def present(self) -> int:
        """Number of listed rows whose media are there and not empty."""
        return self.listed - len(self.missing) - len(self.empty)

    @property
    def copy(self) -> str:
        """Name of the known copy with as many rows as are listed, else as are present, if any."""
        for number in (self.listed, self.present):
            for name, rows in self.copies:
                if rows == number:
                    return name
        return ""

    def as_table_rows(self) -> list[tuple[str, str]]:
        """Return (what, value) pairs for a terminal table, with the first few ids of each kind."""
        expected = "" if self.expected is None else f" (published: {self.expected:,})"
        known = ", ".join(f"{name} {rows:,}" for name, rows in self.copies)
        return [
            ("read as", f"{self.layout or 'a list or class folders'} ({self.source})"),
            ("rows", f"{self.listed:,}{expected}"),
            *([("copy", f"{self.copy or 'none that is known'} (known: {known})")] if known else []),
            ("present", f"{self.present:,}"),
            ("missing", _some(self.missing)),
            ("empty files", _some(self.empty)),
            ("unreadable", _some([f"{i} ({reason})" for i, reason in self.unreadable])),
            ("duplicates", _some([f"{i} = {first}" for i, first in self.duplicates])),
            ("excluded by rule", _some([f"{i} ({rule})" for i, rule in self.excluded])),
            ("decoded by an earlier check", f"{self.remembered:,}"),
            ("classes", f"{self.num_classes:,}, {self.classes_without_rows:,} without rows"),
            ("smallest class", f"{self.smallest_class[1]:,} rows: {self.smallest_class[0]}"),
            ("largest class", f"{self.largest_class[1]:,} rows: {self.largest_class[0]}"),
            ("problems", f"{self.problems:,}"),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, with full lists, in types that JSON has."""
        facts = {k: _listed(v) for k, v in asdict(self).items()}
        return {**facts, "present": self.present, "copy": self.copy, "problems": self.problems}


def check_manifest(
    manifest: Manifest,
    *,
    workers: int,
    progress: Progress,
    decode: Callable[[Media], None],
    looks: Looks | None = None,
) -> CheckReport:
    """Look at every file of `manifest`; `decode` reads one and raises `UnreadableMedia`.

    `workers` threads call `decode`. A file with zero bytes is counted as empty and not decoded.
    With `looks`, what an earlier check decoded is not decoded again, and a killed one goes on.
    """
    found: dict[str, list[tuple[str, str]]] = {"missing": [], "empty": [], "unreadable": []}
    remembered = 0
    progress.start(f"check {manifest.name} {manifest.split}", len(manifest))
    try:
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(manifest), ROWS_AT_ONCE):
                ids = manifest.ids[start : start + ROWS_AT_ONCE]
                media = [manifest.media[row] for row in range(start, start + len(ids))]
                outcomes, known = _look_at(media, decode, looks, pool, progress)
                remembered += known
                for sample, (state, reason) in zip(ids, outcomes, strict=True):
                    if state != "good":
                        found[state].append((sample, reason))
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
        excluded=tuple(manifest.excluded.items()),
        copies=tuple(manifest.copies.items()),
        layout=manifest.layout,
        source=manifest.source,
        remembered=remembered,
        num_classes=len(manifest.classes),
        classes_without_rows=int((sizes == 0).sum()),
        smallest_class=(manifest.classes[smallest], int(sizes[smallest])),
        largest_class=(manifest.classes[largest], int(sizes[largest])),
    )


def _look_at(
    media: Sequence[Media],
    decode: Callable[[Media], None],
    looks: Looks | None,
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> tuple[list[Outcome], int]:
    """Return the outcome of every medium, and how many of them were remembered."""
    # Members of an archive may share a name.
    names = [content_name(m, os.path.abspath(place(m))) for m in media]  # noqa: PTH100
    found = zip(names, states_of(media), strict=True)
    states = {name: state for name, state in found if state is not None}
    known = looks.known(names, states) if looks else {}
    progress.advance(sum(name in known for name in names))
    todo = {name: medium for name, medium in zip(names, media, strict=True) if name not in known}
    seen: dict[str, Outcome] = {}
    looking = pool.map(partial(_look, decode=decode), todo.values())
    for name, outcome in zip(todo, looking, strict=True):
        seen[name] = outcome
        progress.advance()
    if looks and seen:
        looks.remember(seen, states)
    return [known[name] if name in known else seen[name] for name in names], len(known)


def _look(medium: Media, decode: Callable[[Media], None]) -> Outcome:
    try:
        if is_empty(medium):
            return "empty", ""
        decode(medium)
    except MissingMedia:
        return "missing", ""
    except UnreadableMedia as error:
        return "unreadable", without_folder(error, medium)
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    return "good", ""


def _duplicates(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Return the rows whose id or file (or part of an archive) an earlier row has.

    Links are resolved.
    """
    first: dict[str, str] = {}
    known: dict[str, str] = {}
    twins = []
    for row, sample in enumerate(manifest.ids):
        medium = manifest.media[row]
        file = content_name(medium, real_place(medium, known))
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
