"""The mAP of a file of AVA detections: read the files, check that they match, score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.boxes.ava_csv import Boxes, KeyFrames, read_boxes, read_excluded
from bench.data.boxes.ava_labels import read_action_list
from bench.data.boxes.regions import FrameTruth
from bench.errors import DataError, known
from bench.files import file_sha256
from bench.metrics.frame_map import FrameMap, frame_map
from bench.metrics.frame_rows import FrameIndex
from bench.metrics.frame_rules import RULES


def score_files(
    *, truth: Path, detections: Path, label_map: Path, excluded: Path | None, rules: str
) -> FrameMap:
    """Score a file of detections against the ground truth, both CSV.

    Raises:
        UsageError: unknown rules.
        DataError: a file that cannot be read, or files without common videos, frames or classes.
    """
    chosen = RULES[known("rules", rules, tuple(RULES))]
    classes = read_action_list(label_map)
    wanted = read_boxes(truth, "ground truth")
    out = None if excluded is None else read_excluded(excluded)
    given = read_boxes(detections, "detections")
    if not len(given):
        raise DataError(
            f"{detections} has no detections, only {len(given.declared):,} frames declared to have"
            " none; check the program that wrote it."
        )
    _refuse_other_videos(detections, given.frames, truth, wanted)
    _refuse_other_times(detections, given.frames, truth, wanted)
    if excluded is not None and out is not None and len(out):
        _refuse_other_videos(excluded, out, truth, wanted)
    if not np.isin(given.action, list(classes)).any():
        actions = ", ".join(map(str, np.unique(given.action)[:5].tolist()))
        raise DataError(
            f"{detections}: none of its {len(given):,} rows has one of the {len(classes)} classes"
            f" of {label_map}, but {actions}, ...; a detector's person boxes cannot be scored."
        )
    ids = np.array(list(classes), dtype=np.int64)
    whole = FrameTruth(boxes=wanted, excluded=out, classes=classes, ids=ids, rules=rules)
    return frame_map(whole, given, chosen)


def as_json(score: FrameMap, files: Mapping[str, Path | None]) -> dict[str, Any]:
    """Return a score at full precision, with the paths and digests of its files."""
    return {
        "mAP@0.5": score.mean_ap,
        "rules": score.rules,
        "classes": [
            {
                "id": one.id,
                "name": one.name,
                "AP": one.ap,
                "ground_truth": one.num_truth,
                "detections": one.num_detections,
            }
            for one in score.classes
        ],
        "ground_truth": {
            name: count
            for name, count in score.truth.model_dump().items()
            if name in ("rows", "excluded", "other_classes", "scored")
        },
        "detections": score.detections.model_dump(),
        "frames": {
            "annotated": score.num_frames,
            "without_detections": score.num_silent_frames,
            "detections_on_other_frames": score.num_wrong_by_frame,
        },
        "clipped_boxes": score.num_clipped,
        "files": {
            name: None if path is None else {"path": str(path), "sha256": file_sha256(path)}
            for name, path in files.items()
        },
    }


def _refuse_other_times(path: Path, frames: KeyFrames, truth: Path, wanted: Boxes) -> None:
    numbers = FrameIndex([wanted.frames, wanted.declared]).number(frames)
    if (numbers < 0).all():
        spans = [
            f"{part.micros.min() / 1e6:g} to {part.micros.max() / 1e6:g}"
            for part in (frames, wanted.frames)
        ]
        raise DataError(
            f"{path}: its videos are in the ground truth {truth}, but none of its frames is; give"
            f" timestamps in seconds of the film, not {spans[0]} (ground truth: {spans[1]})."
        )


def _refuse_other_videos(path: Path, frames: KeyFrames, truth: Path, wanted: Boxes) -> None:
    known_videos = {*wanted.frames.videos, *wanted.declared.videos}
    if known_videos.isdisjoint(frames.videos):
        raise DataError(
            f"{path}: none of its {len(frames.videos):,} videos ({frames.videos[0]}, ...) is in the"
            f" ground truth {truth} ({next(iter(known_videos))}, ...); use the files of one split."
        )
