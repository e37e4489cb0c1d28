"""Which boxes of a file become rows, and the manifest of those rows.

A box counts at the first rule that drops it, in this order: its video is of another split, its key
frame is excluded, its second is not one of those asked for, its score is below the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.boxes.ava_csv import FloatArray, KeyFrames
from bench.data.boxes.ava_csv_lines import MAX_SECONDS
from bench.data.boxes.person_boxes import MILLIONTHS, PersonBoxes
from bench.data.boxes.regions import Regions
from bench.data.manifest import Manifest
from bench.data.media.media import Media
from bench.errors import DataError
from bench.metrics.frame_rows import FrameIndex
from bench.types import IntArray
from tasks.formats.ava_files import Classes
from tasks.formats.ava_media import media_facts

MICROS = 1_000_000
VIDEO = int(MAX_SECONDS) * MICROS  # a key frame as one number: its video's times this + its time
FindMedia = Callable[[Sequence[str]], Sequence[Media]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxFilter:
    """Which boxes become rows: the rules above; None is a rule that there is not.

    `videos` are those of the split, `labelled` the micros of key frames that a list names, `every`
    the seconds that a key frame's must be a multiple of.
    """

    videos: frozenset[str] | None = None
    excluded: KeyFrames | None = None
    labelled: frozenset[int] | None = None
    every: int = 1
    threshold: float | None = None

    def of(self, boxes: PersonBoxes, path: Path) -> tuple[PersonBoxes, dict[str, Any]]:
        """Return the boxes that become rows, and the count of every rule's.

        Raises:
            DataError: no box is left, with the rule that took them.
        """
        left = np.ones(len(boxes), dtype=np.bool_)
        counts: dict[str, int] = {}
        for rule, is_out in self._rules(boxes):
            counts[rule] = int((left & is_out).sum())
            left &= ~is_out
        facts = {"format": boxes.format, **boxes.counts, **counts, "kept": int(left.sum())}
        if self.threshold is not None:
            facts["threshold"] = self.threshold
        if not left.any():
            raise DataError(self._nothing_left(boxes, path, counts))
        return boxes.at(left), facts

    def _rules(self, boxes: PersonBoxes) -> list[tuple[str, Any]]:
        frames, rules = boxes.frames, []
        if self.videos is not None:
            is_own = np.array([name in self.videos for name in frames.videos], dtype=np.bool_)
            rules.append(("other_videos", ~is_own[frames.video]))
        if self.excluded is not None:
            rules.append(("excluded", FrameIndex([self.excluded]).number(frames) >= 0))
        is_other = frames.micros % (self.every * MICROS) != 0 if self.every > 1 else None
        if self.labelled is not None:
            named = np.array(sorted(self.labelled), dtype=np.int64)
            is_named = np.isin(frames.micros, named)
            is_other = ~is_named if is_other is None else is_other | ~is_named
        if is_other is not None:
            rules.append(("other_seconds", is_other))
        if self.threshold is not None:
            rules.append(("below_threshold", boxes.score < self.threshold))
        return rules

    def _nothing_left(self, boxes: PersonBoxes, path: Path, counts: Mapping[str, int]) -> str:
        if not len(boxes):
            return f"{path} holds no box with an area; check the file."
        if counts.get("other_videos") == len(boxes):
            return (
                f"{path}: its {len(boxes):,} boxes are on none of the {len(self.videos or ()):,}"
                f" videos of the split but on others, such as {boxes.frames.videos[0]}; name the"
                " file of the same split as the ground truth."
            )
        spelled = ", ".join(f"{rule.replace('_', ' ')} {n:,}" for rule, n in counts.items() if n)
        return f"{path}: none of its {len(boxes):,} boxes is left ({spelled}); check the options."


@dataclass(frozen=True, kw_only=True)
class KeyTimes:
    """Which key frames are scored, those whose second `seconds` divides, and where they are.

    `start` and `frame_rate` as in `Regions`.
    """

    seconds: int = 1
    start: float | None = None
    frame_rate: float = 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitBoxes:
    """The boxes of a split, which file they are of, and what to write down about them."""

    boxes: PersonBoxes
    path: Path
    facts: Mapping[str, Any]
    digests: Mapping[str, str] = field(default_factory=dict)


def box_manifest(
    rows: SplitBoxes, *, name: str, split: str, classes: Classes, media: FindMedia, times: KeyTimes
) -> Manifest:
    """Return boxes as rows in the order of video, time and their file.

    An id is video, second and corners, all as text that reads back to the same numbers.

    Raises:
        DataError: a label that is none of the classes.
    """
    boxes = rows.boxes
    names, video = _by_name(boxes.frames)
    order = np.lexsort((boxes.frames.micros, video))
    sorted_boxes = boxes.at(order)
    micros, video = sorted_boxes.frames.micros, video[order]
    found = media(names)
    regions = Regions.of(
        videos=names,
        media=found,
        video=video,
        micros=micros,
        corners=sorted_boxes.corners,
        start=times.start,
        frame_rate=times.frame_rate,
        facts={**rows.facts, "media": media_facts(found)},
    )
    return Manifest(
        name=name,
        split=split,
        kind="video",
        ids=box_ids(names, video, micros, sorted_boxes.corners),
        media=regions.by_row,
        labels=_labels(sorted_boxes, classes, rows.path),
        classes=tuple(classes.values()),
        source=str(rows.path),
        layout=boxes.format,
        regions=regions,
    )


def box_ids(
    videos: Sequence[str], video: IntArray, micros: IntArray, corners: FloatArray
) -> list[str]:
    """Spell every box: video, second (four digits), x1, y1, x2, y2 without needless zeros."""
    frames, of_row = np.unique(video * VIDEO + micros, return_inverse=True)
    heads = [f"{videos[key // VIDEO]},{spelled_second(key % VIDEO)}" for key in frames.tolist()]
    numbers, place = np.unique(np.rint(corners * MILLIONTHS), return_inverse=True)
    texts = [f"{int(n) / MILLIONTHS:.6f}".rstrip("0").rstrip(".") for n in numbers.tolist()]
    rows = zip(of_row.ravel().tolist(), *place.reshape(-1, 4).T.tolist(), strict=True)
    return [f"{heads[f]},{texts[a]},{texts[b]},{texts[c]},{texts[d]}" for f, a, b, c, d in rows]


def spelled_second(micros: int) -> str:
    """Spell a time in seconds with four digits before the point, as AVA does: `0902`."""
    whole, rest = divmod(micros, MICROS)
    return f"{whole:04d}" + (f".{rest:06d}".rstrip("0") if rest else "")


def _by_name(frames: KeyFrames) -> tuple[list[str], IntArray]:
    """Return the names of the videos that have rows, sorted, and by row the number of its own."""
    used = np.unique(frames.video)
    names = sorted(frames.videos[code] for code in used.tolist())
    number = {name: place for place, name in enumerate(names)}
    by_code = np.array([number.get(name, -1) for name in frames.videos], dtype=np.int64)
    return names, by_code[frames.video]


def _labels(boxes: PersonBoxes, classes: Classes, path: Path) -> IntArray:
    ids = np.array(list(classes), dtype=np.int64)
    place = np.minimum(np.searchsorted(ids, boxes.label), len(ids) - 1)
    unknown = np.flatnonzero(ids[place] != boxes.label)
    if len(unknown):
        raise DataError(
            f"{path}: {len(unknown):,} labels are none of the {len(ids)} classes, the first of them"
            f" {boxes.label[unknown[0]]}; the list of all classes does not belong to it."
        )
    labels = np.zeros((len(boxes), len(ids)), dtype=np.int64)
    labels[boxes.label_row, place] = 1
    return labels
