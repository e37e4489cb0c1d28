"""Look at every file of a manifest before GPU time is spent: is it there, and can it be decoded?

Rows that are boxes have `bench.data.boxes.check_boxes`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench.data.manifest import Manifest
from bench.data.media.checked_before import Looks, states_of
from bench.data.media.content_digest import content_name, real_place
from bench.data.media.media import Media, is_empty, place, without_folder
from bench.errors import MissingMedia, UnreadableMedia
from bench.types import Progress

ROWS_AT_ONCE = 256
SHOWN = 5

# good, missing, empty, unreadable or partly (readable); and the reason, or JSON of several.
Outcome = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What was found in a split, by sample id; nothing is left out or replaced.

    `expected` is the published number of rows, if there is one, `copies` those of known copies by
    name. `unreadable` pairs ids with reasons; `duplicates` pairs ids with the id of an earlier row
    that has the same name or file; `excluded` pairs ids with the rule that takes them out. Class
    sizes are (name, rows); `classes_without_rows` counts classes that no row has. `remembered` rows
    were decoded by an earlier check and have not changed since.

    Where rows are boxes, `videos` and `key_frames` count what they lie on, `remembered` counts
    videos, `missing_videos` are those that are not there, `without_labels` counts boxes without a
    label, and `facts` say where the boxes come from.
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
    videos: int = 0
    key_frames: int = 0
    missing_videos: tuple[str, ...] = ()
    without_labels: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

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
            *self._box_rows(),
            *([("copy", f"{self.copy or 'none that is known'} (known: {known})")] if known else []),
            ("present", f"{self.present:,}"),
            ("missing", _some(self.missing)),
            ("empty files", _some(self.empty)),
            ("unreadable", self._unreadable()),
            ("duplicates", _some([f"{i} = {first}" for i, first in self.duplicates])),
            ("excluded by rule", _some([f"{i} ({rule})" for i, rule in self.excluded])),
            ("decoded by an earlier check", f"{self.remembered:,}"),
            *self._class_rows(),
            ("problems", f"{self.problems:,}"),
        ]

    def _class_rows(self) -> list[tuple[str, str]]:
        if self.videos and self.without_labels == self.listed:
            return [("classes", f"{self.num_classes:,}; boxes of a detector carry no labels")]
        return [
            ("classes", f"{self.num_classes:,}, {self.classes_without_rows:,} without rows"),
            ("smallest class", f"{self.smallest_class[1]:,} rows: {self.smallest_class[0]}"),
            ("largest class", f"{self.largest_class[1]:,} rows: {self.largest_class[0]}"),
        ]

    def _unreadable(self) -> str:
        """Return the first few with their reasons; the boxes of a key frame share one."""
        rows = dict.fromkeys((reason for _, reason in self.unreadable), 0) if self.videos else {}
        if not rows:
            return _some([f"{i} ({reason})" for i, reason in self.unreadable])
        for _, reason in self.unreadable:
            rows[reason] += 1
        said = [f"{num:,} rows ({reason})" for reason, num in rows.items()]
        return f"{len(self.unreadable):,} rows for reasons {_some(said)}"

    def _box_rows(self) -> list[tuple[str, str]]:
        """Return the lines that only rows that are boxes have."""
        if not self.videos:
            return []
        return [
            ("boxes", f"{self.listed:,}, {self.without_labels:,} without labels"),
            ("key frames", f"{self.key_frames:,}"),
            ("videos", f"{self.videos:,}"),
            ("missing videos", _some(self.missing_videos)),
            *((f"boxes: {name}", _spelled(value)) for name, value in self.facts.items()),
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
                outcomes, known = look_at(media, _each(media, decode), looks, pool, progress)
                remembered += known
                for sample, (state, reason) in zip(ids, outcomes, strict=True):
                    if state != "good":
                        found[state].append((sample, reason))
    finally:
        progress.stop()
    return report_of(manifest, found, remembered=remembered, duplicates=_duplicates(manifest))


def report_of(
    manifest: Manifest,
    found: Mapping[str, Sequence[tuple[str, str]]],
    *,
    remembered: int,
    duplicates: tuple[tuple[str, str], ...],
    **boxes: Any,
) -> CheckReport:
    """Return what was `found` (by outcome: ids and reasons) with what the manifest itself tells."""
    sizes = (
        manifest.labels.sum(axis=0)
        if manifest.has_many_labels
        else np.bincount(manifest.labels, minlength=len(manifest.classes))
    )
    smallest, largest = int(sizes.argmin()), int(sizes.argmax())
    return CheckReport(
        name=manifest.name,
        split=manifest.split,
        listed=len(manifest),
        expected=manifest.expected,
        missing=tuple(sample for sample, _ in found["missing"]),
        empty=tuple(sample for sample, _ in found["empty"]),
        unreadable=tuple(found["unreadable"]),
        duplicates=duplicates,
        excluded=tuple(manifest.excluded.items()),
        copies=tuple(manifest.copies.items()),
        layout=manifest.layout,
        source=manifest.source,
        remembered=remembered,
        num_classes=len(manifest.classes),
        classes_without_rows=int((sizes == 0).sum()),
        smallest_class=(manifest.classes[smallest], int(sizes[smallest])),
        largest_class=(manifest.classes[largest], int(sizes[largest])),
        **boxes,
    )


def look_at(
    media: Sequence[Media],
    decode: Callable[[int], Mapping[int, str] | None],
    looks: Looks | None,
    pool: ThreadPoolExecutor,
    progress: Progress,
    asked: Sequence[str] | None = None,
) -> tuple[list[Outcome], int]:
    """Return the outcome of every medium, and how many of them were remembered.

    `decode` reads medium number i, and may return what of it cannot be read. `asked` tells several
    questions about one medium apart.
    """
    # Members of an archive may share a name.
    names = [content_name(m, os.path.abspath(place(m))) for m in media]  # noqa: PTH100
    found = zip(names, states_of(media), strict=True)
    states = {name: state for name, state in found if state is not None}
    if asked is not None:
        of = [f"{name}//{question}" for name, question in zip(names, asked, strict=True)]
        pairs = zip(of, names, strict=True)
        states = {whole: states[name] for whole, name in pairs if name in states}
        names = of
    known = looks.known(names, states) if looks else {}
    progress.advance(sum(name in known for name in names))
    todo = {name: row for row, name in enumerate(names) if name not in known}
    seen: dict[str, Outcome] = {}
    looking = pool.map(lambda row: _look(media[row], partial(decode, row)), todo.values())
    for name, outcome in zip(todo, looking, strict=True):
        seen[name] = outcome
        progress.advance()
    if looks and seen:
        looks.remember(seen, states)
    return [known[name] if name in known else seen[name] for name in names], len(known)


def _each(
    media: Sequence[Media], decode: Callable[[Media], None]
) -> Callable[[int], Mapping[int, str] | None]:
    def of(row: int) -> None:
        decode(media[row])

    return of


def _look(medium: Media, decode: Callable[[], Mapping[int, str] | None]) -> Outcome:
    try:
        if is_empty(medium):
            return "empty", ""
        reasons = decode()
    except MissingMedia:
        return "missing", ""
    except UnreadableMedia as error:
        return "unreadable", without_folder(error, medium)
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    return ("partly", json.dumps(reasons)) if reasons else ("good", "")


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


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_spelled(inner)}" for name, inner in value.items())
    if isinstance(value, bool) or not isinstance(value, int):
        return value if isinstance(value, str) else json.dumps(value)
    return f"{value:,}"


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
