"""Which boxes of a file become rows, and the manifest of those rows.

A dropped box is counted under the first rule that applies: its video is of another split, its key
frame is excluded, its second is not selected, its score is below the threshold.
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
from tasks.formats.ava_media import count_media

MICROS = 1_000_000
VIDEO = int(MAX_SECONDS) * MICROS  # a key frame as one number: video * VIDEO + micros
FindMedia = Callable[[Sequence[str]], Sequence[Media]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxFilter:
    """Which boxes become rows, by the rules above; None switches a rule off.

    `videos` are those of the split and `labelled` the listed key frames in microseconds; the second
    of a key frame has to be a multiple of `every`.
    """

    videos: frozenset[str] | None = None
    excluded: KeyFrames | None = None
    labelled: frozenset[int] | None = None
    every: int = 1
    threshold: float | None = None

    def apply(self, boxes: PersonBoxes, path: Path) -> tuple[PersonBoxes, dict[str, Any]]:
        """Return the boxes that become rows, and the number of boxes that each rule drops.

        Raises:
            DataError: no box is left; the message has the counts.
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
            return f"{path} has no box with an area; check the file."
        if counts.get("other_videos") == len(boxes):
            return (
                f"{path}: its {len(boxes):,} boxes are on none of the {len(self.videos or ()):,}"
                f" videos of the split but on others, such as {boxes.frames.videos[0]}; use the"
                " file of the ground truth's split."
            )
        dropped = ", ".join(f"{rule.replace('_', ' ')} {n:,}" for rule, n in counts.items() if n)
        return f"{path}: none of its {len(boxes):,} boxes is left ({dropped}); check the options."


@dataclass(frozen=True, kw_only=True)
class KeyTimes:
    """Score key frames at multiples of `seconds`; `start` and `frame_rate` as in `Regions`."""

    seconds: int = 1
    start: float | None = None
    frame_rate: float = 30.0


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitBoxes:
    """The boxes of a split, the file they are from, and facts and digests to record."""

    boxes: PersonBoxes
    path: Path
    facts: Mapping[str, Any]
    digests: Mapping[str, str] = field(default_factory=dict)


def box_manifest(
    rows: SplitBoxes, *, name: str, split: str, classes: Classes, media: FindMedia, times: KeyTimes
) -> Manifest:
    """Return boxes as rows, ordered by video and time, then as in the file.

    An id is video, second and corners, as text that reads back to the same numbers.

    Raises:
        DataError: a label that is not among the classes.
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
        facts={**rows.facts, "media": count_media(found)},
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
    """Format boxes as video, second (four digits), x1, y1, x2, y2 without trailing zeros."""
    frames, of_row = np.unique(video * VIDEO + micros, return_inverse=True)
    heads = [f"{videos[key // VIDEO]},{format_second(key % VIDEO)}" for key in frames.tolist()]
    numbers, place = np.unique(np.rint(corners * MILLIONTHS), return_inverse=True)
    texts = [f"{int(n) / MILLIONTHS:.6f}".rstrip("0").rstrip(".") for n in numbers.tolist()]
    rows = zip(of_row.ravel().tolist(), *place.reshape(-1, 4).T.tolist(), strict=True)
    return [f"{heads[f]},{texts[a]},{texts[b]},{texts[c]},{texts[d]}" for f, a, b, c, d in rows]


def format_second(micros: int) -> str:
    """Format a time in seconds with four digits before the point, as AVA does: `0902`."""
    whole, rest = divmod(micros, MICROS)
    return f"{whole:04d}" + (f".{rest:06d}".rstrip("0") if rest else "")


def _by_name(frames: KeyFrames) -> tuple[list[str], IntArray]:
    """Return the sorted names of the videos that have rows, and each row's index into them."""
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
            f" {boxes.label[unknown[0]]}; use the class list of the same release."
        )
    labels = np.zeros((len(boxes), len(ids)), dtype=np.int64)
    labels[boxes.label_row, place] = 1
    return labels
