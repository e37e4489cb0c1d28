"""From the files of AVA to a task whose rows are person boxes: two manifests and what they face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from bench.data.boxes.ava_csv import Boxes, Frames, read_excluded
from bench.data.boxes.person_boxes import PersonBoxes, read_person_boxes, read_truth, together
from bench.data.boxes.regions import FrameTruth, RegionReadout
from bench.data.manifest import Task
from bench.errors import DataError, UsageError, known
from bench.files import file_sha256
from bench.metrics.frame_rows import FrameIndex
from bench.metrics.frame_rules import RULES
from bench.types import ClipPlan, Settings
from tasks.formats.ava_files import AvaFiles, Classes, read_classes, read_seconds
from tasks.formats.ava_rows import MICROS, FindMedia, Wanted, box_manifest

ScoreBoxes = Literal["detector", "ground_truth"]
FitBoxes = Literal["ground_truth", "both"]


def box_task(
    *,
    name: str,
    title: str,
    files: AvaFiles,
    media: FindMedia,
    plan: str = "16x1x1@4",
    flip: bool = True,
    classes: Classes | None = None,
    evaluated: Classes | None = None,
    readout: RegionReadout | None = None,
    rules: str = "official",
    score_boxes: ScoreBoxes = "detector",
    fit_boxes: FitBoxes = "ground_truth",
    threshold: float = 0.8,
    fit_threshold: float = 0.9,
    seconds: int = 1,
    start: float | None = None,
    frame_rate: float = 30.0,
    options: Settings | None = None,
    probe_options: Mapping[str, Mapping[str, Settings]] | None = None,
) -> Task:
    """Make the task of boxes on key frames: fit on the ground truth, score on a detector's boxes.

    `media` gives the medium of every video named, in their order. `classes` (id -> name) stand in
    for `files.action_list` and `evaluated` for `files.label_map` where there is no such file.
    Boxes of the detector count from a score of `threshold` on, those that `fit_boxes="both"` adds
    to the ground truth from `fit_threshold` on. Of the scored key frames those are kept whose
    second `seconds` divides (4: the mini set of SlowFast). `start` and `frame_rate` as in
    `Regions`. `options` are the task's beside those of this function, which it writes down itself.
    Few labels are for the caller to cut, with `bench.data.few_labels`.

    Raises:
        UsageError: an option out of its range, or one that needs a file that is not named.
        DataError: files that cannot be read or do not belong together.
    """
    readout, thresholds = readout or RegionReadout(), (threshold, fit_threshold)
    _check(name, files, readout, score_boxes, fit_boxes, thresholds, seconds, start, frame_rate)
    known("rules", rules, list(RULES))
    all_classes, scored = read_classes(files, all_classes=classes, evaluated=evaluated)
    labelled = read_seconds(files.included) if files.included else None
    manifest = partial(
        box_manifest,
        name=name,
        classes=all_classes,
        media=media,
        start=start,
        frame_rate=frame_rate,
    )
    fitted = _fit_rows(files, fit_boxes, fit_threshold, labelled)
    truth, truth_boxes, excluded = _truth(files, seconds)
    _refuse_shared(files, fitted.boxes.frames, truth_boxes.frames)
    scores = _score_rows(
        files,
        truth_boxes,
        Wanted(
            videos=_videos(truth, excluded),
            excluded=excluded,
            labelled=labelled,
            every=seconds,
            threshold=threshold if score_boxes == "detector" else None,
        ),
    )
    facts = {**scores.facts, **_covered(truth, excluded, scores.boxes)}
    asked = {
        **(options or {}),
        "score_boxes": score_boxes,
        **({"threshold": threshold} if score_boxes == "detector" else {}),
        "fit_boxes": fit_boxes,
        **({"fit_threshold": fit_threshold} if fit_boxes == "both" else {}),
        **{"rules": rules, "seconds": seconds, "start": start, "frame_rate": frame_rate},
        **asdict(readout),
    }
    clip_plan = ClipPlan.parse(plan)
    return Task(
        name=name,
        title=title,
        fit=manifest(fitted.boxes, split="train", path=fitted.path, facts=fitted.facts),
        score=manifest(scores.boxes, split="val", path=scores.path, facts=facts),
        fit_plan=clip_plan,
        score_plan=clip_plan,
        flip=flip,
        metric="mean_ap",
        options=asked,
        readout=readout,
        truth=FrameTruth(
            boxes=truth,
            excluded=excluded,
            classes=scored,
            ids=np.array(list(all_classes), dtype=np.int64),
            rules=rules,
        ),
        files={**files.digests, **fitted.digests, **scores.digests},
        probe_options=probe_options or {},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """The boxes of a split, which file they are of, and what to write down about them."""

    boxes: PersonBoxes
    path: Path
    facts: dict[str, Any]
    digests: dict[str, str]


def _fit_rows(
    files: AvaFiles, fit_boxes: FitBoxes, threshold: float, labelled: frozenset[int] | None
) -> _Rows:
    """Read the boxes to fit on: those of the ground truth, and with "both" the detector's too."""
    path = files.ground_truth_train
    truth, boxes = read_truth(path)
    excluded = read_excluded(files.excluded_train) if files.excluded_train else None
    rows, counts = Wanted(excluded=excluded, labelled=labelled).of(boxes, path)
    facts: dict[str, Any] = {"from": fit_boxes, "ground_truth": counts}
    if fit_boxes == "ground_truth":
        return _Rows(boxes=rows, path=path, facts=facts, digests={})
    assert files.fit_detections is not None
    found = read_person_boxes(files.fit_detections, images=files.fit_images)
    if not len(found.label):
        raise DataError(
            f"{files.fit_detections} tells no action of any of its {len(found):,} boxes, and to fit"
            " on them as they are would teach that persons do nothing; name the file that was"
            " matched to the ground truth (ava_detection_train_boxes_and_labels...csv) with --set"
            " task.fit_detections=FILE"
        )
    wanted = Wanted(
        videos=_videos(truth, excluded), excluded=excluded, labelled=labelled, threshold=threshold
    )
    added, counts = wanted.of(found, files.fit_detections)
    boxes = together([rows, added])
    facts |= {
        "detector": counts,
        "in_both": len(rows) + len(added) - len(boxes),
        "without_labels": len(boxes) - len(np.unique(boxes.label_row)),
    }
    return _Rows(boxes=boxes, path=path, facts=facts, digests=_images("fit_images", found))


def _truth(files: AvaFiles, seconds: int) -> tuple[Boxes, PersonBoxes, Frames | None]:
    """Read what detections are scored against, cut to the seconds asked for; and its boxes."""
    truth, boxes = read_truth(files.ground_truth)
    excluded = read_excluded(files.excluded) if files.excluded else None
    if seconds > 1:
        step = seconds * MICROS
        declared = truth.declared.at(truth.declared.micros % step == 0)
        truth = replace(truth.at(truth.frames.micros % step == 0), declared=declared)
    return truth, boxes, excluded


def _refuse_shared(files: AvaFiles, fitted: Frames, scored: Frames) -> None:
    """Refuse to score the videos that are fitted on."""
    fit_videos, score_videos = (
        {frames.videos[code] for code in np.unique(frames.video).tolist()}
        for frames in (fitted, scored)
    )
    shared = sorted(fit_videos & score_videos)
    if shared:
        raise DataError(
            f"{len(shared):,} of the {len(score_videos):,} videos of {files.ground_truth} are in"
            f" {files.ground_truth_train} too, such as {shared[0]}: what is scored would be what"
            " was fitted on; give lists that share no video."
        )


def _score_rows(files: AvaFiles, truth: PersonBoxes, wanted: Wanted) -> _Rows:
    """Choose the boxes to score on: a detector's, from a threshold on, or those of the truth."""
    if wanted.threshold is None:
        path = files.ground_truth
        rows, counts = wanted.of(truth, path)
        facts = {"from": "ground_truth", "ground_truth": counts}
        return _Rows(boxes=rows, path=path, facts=facts, digests={})
    assert files.detections is not None
    found = read_person_boxes(files.detections, images=files.images)
    rows, counts = wanted.of(found, files.detections)
    return _Rows(
        boxes=rows.without_labels,
        path=files.detections,
        facts={"from": "detector", "detector": counts},
        digests=_images("images", found),
    )


def _videos(truth: Boxes, excluded: Frames | None) -> frozenset[str]:
    return frozenset([*truth.frames.videos, *(excluded.videos if excluded else ())])


def _covered(truth: Boxes, excluded: Frames | None, rows: PersonBoxes) -> dict[str, int]:
    """Count the key frames of the truth that count, and those of them on which there is no box."""
    frames = truth.frames
    if excluded is not None:
        frames = frames.at(FrameIndex([excluded]).number(frames) < 0)
    index = FrameIndex([frames])
    numbers = index.number(rows.frames)
    silent = len(index) - len(np.unique(numbers[numbers >= 0]))
    return {"truth_key_frames": len(index), "truth_key_frames_without_box": silent}


def _images(what: str, boxes: PersonBoxes) -> dict[str, str]:
    return {} if boxes.images is None else {what: file_sha256(boxes.images)}


def _check(
    name: str,
    files: AvaFiles,
    readout: RegionReadout,
    score_boxes: ScoreBoxes,
    fit_boxes: FitBoxes,
    thresholds: tuple[float, float],
    seconds: int,
    start: float | None,
    frame_rate: float,
) -> None:
    """Refuse options that cannot work, or that a file would be read for in vain."""
    known("score_boxes", score_boxes, get_args(ScoreBoxes))
    known("fit_boxes", fit_boxes, get_args(FitBoxes))
    for option, value in zip(("threshold", "fit_threshold"), thresholds, strict=True):
        if not 0 <= value <= 1:
            raise UsageError(f"{name}: {option} {value} is no score; write one from 0 to 1.")
    if readout.num_layers < 1 or readout.bins < 1:
        raise UsageError(
            f"{name}: num_layers {readout.num_layers} and bins {readout.bins} must be at least 1."
        )
    if seconds < 1:
        raise UsageError(f"{name}: seconds {seconds}; write 1 for all key frames, 4 for a quarter.")
    if start is not None and not math.isfinite(start):
        raise UsageError(f"{name}: start {start}; write the second of the film, such as 900.")
    if not 0 < frame_rate < math.inf:
        raise UsageError(f"{name}: frame_rate {frame_rate}; write pictures a second, such as 30.")
    for option, path, is_used in (
        ("detections", files.detections, score_boxes == "detector"),
        ("fit_detections", files.fit_detections, fit_boxes == "both"),
    ):
        other = "score_boxes" if option == "detections" else "fit_boxes"
        if path is None and is_used:
            raise UsageError(f"{name}: the boxes of a detector are needed; name {option}.")
        if path is not None and not is_used:
            raise UsageError(
                f"{name}: {option} {path} would not be read, since {other} is ground_truth; leave"
                f" it out, or set {other}."
            )
