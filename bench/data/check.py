"""Check every file of a manifest before GPU time is spent: does it exist, and does it decode?

Rows that are boxes are checked by `bench.data.boxes.check_boxes`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench.data.manifest import Manifest
from bench.data.media.checked_before import Looks, states_of
from bench.data.media.content_digest import content_name, real_path
from bench.data.media.media import Media, is_empty, place, without_folder
from bench.errors import MissingMedia, UnreadableMedia
from bench.types import Progress

ROWS_AT_ONCE = 256
SHOWN = 5

# good, missing, empty, unreadable or partly (readable); and the reason, or several as JSON.
Outcome = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The findings of a check of one split, by sample id; nothing is left out or replaced.

    `expected` is the published number of rows, if any, `copies` those of known copies by name.
    `unreadable` pairs ids with reasons; `duplicates` pairs ids with the id of an earlier row with
    the same name or file; `excluded` pairs ids with the rule that removes them. Class sizes are
    (name, rows); `classes_without_rows` counts classes without rows. `remembered` rows were decoded
    by an earlier check and have not changed since. `notes` are sentences on files that are not read
    and on media in both splits.

    If rows are boxes, `videos` and `key_frames` count the distinct ones, `remembered` counts
    videos, `missing_videos` lists those not found, `without_labels` counts boxes without a label,
    and `facts` describe the source of the boxes.
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
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> int:
        """Number of rows with a problem, plus one if the row count is not the published one."""
        rows = len(self.missing) + len(self.empty) + len(self.unreadable) + len(self.duplicates)
        accounted = self.listed + len(self.excluded)
        return rows + (self.expected is not None and self.expected != accounted)

    @property
    def present(self) -> int:
        """Number of listed rows whose media exist and are not empty."""
        return self.listed - len(self.missing) - len(self.empty)

    @property
    def copy(self) -> str:
        """Name of the known copy whose row count matches the listed rows, else those present."""
        numbers = (self.listed, self.present)
        return next((name for n in numbers for name, rows in self.copies if rows == n), "")

    def as_table_rows(self) -> list[tuple[str, str]]:
        """Return (what, value) pairs for a terminal table, with the first few ids of each kind."""
        expected = "" if self.expected is None else f" (published: {self.expected:,})"
        known = ", ".join(f"{name} {rows:,}" for name, rows in self.copies)
        return [
            ("read as", f"{self.layout or 'a list or class folders'} ({self.source})"),
            ("rows", f"{self.listed:,}{expected}"),
            *self._box_rows(),
            *([("copy", f"{self.copy or 'not a known one'} (known: {known})")] if known else []),
            ("present", f"{self.present:,}"),
            ("missing", _some(self.missing)),
            ("empty files", _some(self.empty)),
            ("unreadable", self._unreadable()),
            ("duplicates", _some([f"{i} = {first}" for i, first in self.duplicates])),
            ("excluded by rule", _some([f"{i} ({rule})" for i, rule in self.excluded])),
            *(("note", note) for note in self.notes),
            ("decoded by an earlier check", f"{self.remembered:,}"),
            *self._class_rows(),
            ("problems", f"{self.problems:,}"),
        ]

    def _class_rows(self) -> list[tuple[str, str]]:
        if self.videos and self.without_labels == self.listed:
            return [("classes", f"{self.num_classes:,}; boxes from a detector have no labels")]
        return [
            ("classes", f"{self.num_classes:,}, {self.classes_without_rows:,} without rows"),
            ("smallest class", f"{self.smallest_class[1]:,} rows: {self.smallest_class[0]}"),
            ("largest class", f"{self.largest_class[1]:,} rows: {self.largest_class[0]}"),
        ]

    def _unreadable(self) -> str:
        """Return the first few rows with reasons; boxes of one key frame share a reason."""
        if not self.videos or not self.unreadable:
            return _some([f"{i} ({reason})" for i, reason in self.unreadable])
        rows = Counter(reason for _, reason in self.unreadable)
        reasons = [f"{num:,} rows ({reason})" for reason, num in rows.items()]
        return f"{len(self.unreadable):,} rows, reasons: {_some(reasons)}"

    def _box_rows(self) -> list[tuple[str, str]]:
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
        """Return everything, with full lists, as JSON types."""
        facts = {k: _listed(v) for k, v in asdict(self).items()}
        return {**facts, "present": self.present, "copy": self.copy, "problems": self.problems}


def check_manifest(
    manifest: Manifest,
    *,
    workers: int,
    progress: Progress,
    decode: Callable[[Media], None],
    looks: Looks | None = None,
    stop: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Check every file of `manifest`; `decode` reads one and raises `UnreadableMedia`.

    `workers` threads call `decode`. A file with zero bytes counts as empty and is not decoded.
    With `looks`, what an earlier check decoded is not decoded again, so a killed check resumes.
    `stop` makes the threads that decode end at once, when the check is interrupted.
    """
    found: dict[str, list[tuple[str, str]]] = {"missing": [], "empty": [], "unreadable": []}
    remembered = 0

    def decode_row(row: int) -> None:
        decode(manifest.media[row])

    looked = outcomes_of(
        f"check {manifest.name} {manifest.split}",
        manifest.media,
        decode_row,
        at_once=ROWS_AT_ONCE,
        threads=Threads(number=workers, stop=stop),
        progress=progress,
        looks=looks,
    )
    for sample, ((state, reason), is_known) in zip(manifest.ids, looked, strict=True):
        remembered += is_known
        if state != "good":
            found[state].append((sample, reason))
    twins = duplicates(zip(manifest.ids, manifest.media, strict=True))
    return report_of(manifest, found, remembered=remembered, twins=twins)


def report_of(
    manifest: Manifest,
    found: Mapping[str, Sequence[tuple[str, str]]],
    *,
    remembered: int,
    twins: tuple[tuple[str, str], ...],
    **boxes: Any,
) -> CheckReport:
    """Return what was `found` (ids and reasons by outcome) along with facts of the manifest."""
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
        duplicates=twins,
        excluded=tuple(manifest.excluded.items()),
        copies=tuple(manifest.copies.items()),
        layout=manifest.layout,
        source=manifest.source,
        remembered=remembered,
        num_classes=len(manifest.classes),
        classes_without_rows=int((sizes == 0).sum()),
        smallest_class=(manifest.classes[smallest], int(sizes[smallest])),
        largest_class=(manifest.classes[largest], int(sizes[largest])),
        notes=manifest.notes,
        **boxes,
    )


@dataclass(frozen=True, kw_only=True)
class Threads:
    """How many threads decode, and what ends the work that they wait for."""

    number: int
    stop: Callable[[], None]


def outcomes_of(
    title: str,
    media: Sequence[Media],
    decode: Callable[[int], Mapping[int, str] | None],
    *,
    at_once: int,
    threads: Threads,
    progress: Progress,
    looks: Looks | None,
    key_of: Callable[[int], str] | None = None,
) -> Iterator[tuple[Outcome, bool]]:
    """Yield the outcome of every medium, and whether it was remembered.

    `threads` call `decode`, which reads medium number i and may return the parts of it that
    cannot be read. `key_of` distinguishes several checks of one medium. The outcomes of
    `at_once` media are remembered together, a repeated medium among them only once; those that are
    known when the check is interrupted are remembered too, and the threads end.
    """
    progress.start(title, len(media))
    pool = ThreadPoolExecutor(threads.number)
    try:
        for start in range(0, len(media), at_once):
            rows = range(start, min(start + at_once, len(media)))
            here = [media[row] for row in rows]
            # Members of an archive may share a name.
            names = [content_name(m, os.path.abspath(place(m))) for m in here]  # noqa: PTH100
            if key_of is not None:
                names = [f"{name}//{key_of(row)}" for row, name in zip(rows, names, strict=True)]
            found = zip(names, states_of(here), strict=True)
            states = {name: state for name, state in found if state is not None}
            known = looks.known(names, states) if looks else {}
            progress.advance(sum(name in known for name in names))
            todo = {name: row for row, name in zip(rows, names, strict=True) if name not in known}
            looking = pool.map(partial(_outcome, media, decode), todo.values())
            seen: dict[str, Outcome] = {}
            try:
                for name, outcome in zip(todo, looking, strict=True):
                    seen[name] = outcome
                    progress.advance()
            finally:
                if looks and seen:
                    looks.remember(seen, states)
            uncounted = set(known)
            for name in names:
                yield known.get(name) or seen[name], name in uncounted
                uncounted.discard(name)
    except BaseException:
        threads.stop()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        pool.shutdown()
        progress.stop()


def _outcome(
    media: Sequence[Media], decode: Callable[[int], Mapping[int, str] | None], row: int
) -> Outcome:
    medium = media[row]
    try:
        if is_empty(medium):
            return "empty", ""
        reasons = decode(row)
    except MissingMedia:
        return "missing", ""
    except UnreadableMedia as error:
        return "unreadable", without_folder(error, medium)
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    return ("partly", json.dumps(reasons)) if reasons else ("good", "")


def duplicates(found: Iterable[tuple[str, Media]]) -> tuple[tuple[str, str], ...]:
    """Return (name, earlier name) for names that repeat a name or medium; links are resolved."""
    first: dict[str, str] = {}
    known: dict[str, str] = {}
    twins = []
    for name, medium in found:
        file = content_name(medium, real_path(medium, known))
        earlier = first.get(f"id {name}") or first.get(f"file {file}")
        if earlier is not None:
            twins.append((name, earlier))
        first.setdefault(f"id {name}", name)
        first.setdefault(f"file {file}", name)
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
