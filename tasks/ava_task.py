"""Turn AVA files into a task whose rows are person boxes: two manifests and the ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args, get_type_hints

import numpy as np

from bench.data.boxes.ava_csv import Boxes, KeyFrames, read_excluded
from bench.data.boxes.person_boxes import PersonBoxes, read_person_boxes, read_truth, together
from bench.data.boxes.regions import FrameTruth, RegionReadout
from bench.data.manifest import Task
from bench.errors import DataError, UsageError, known
from bench.files import file_sha256
from bench.metrics.frame_rows import FrameIndex
from bench.metrics.frame_rules import RULES
from bench.types import ClipPlan, Settings
from tasks.formats.ava_files import AvaFiles, Classes, read_classes, read_seconds
from tasks.formats.ava_rows import MICROS, BoxFilter, FindMedia, KeyTimes, SplitBoxes, box_manifest


@dataclass(frozen=True, kw_only=True)
class BoxOptions:
    """Which boxes to fit and score on, how their features are read, and the evaluator's rules.

    Boxes to score on are the `ground_truth` or a `detector`'s of score `threshold` and above; to
    fit on, the `ground_truth`, or `both` with a detector's of score `fit_threshold` and above.
    """

    score_boxes: Literal["detector", "ground_truth"] = "detector"
    fit_boxes: Literal["ground_truth", "both"] = "ground_truth"
    threshold: float = 0.8
    fit_threshold: float = 0.9
    readout: RegionReadout = field(default_factory=RegionReadout)
    rules: Literal["official", "slowfast", "mmaction2"] = "official"

    @property
    def uses_detections(self) -> bool:
        """Whether a detector's boxes are scored."""
        return self.score_boxes == "detector"

    @property
    def uses_fit_detections(self) -> bool:
        """Whether to fit on a detector's boxes too."""
        return self.fit_boxes == "both"

    @property
    def recorded(self) -> dict[str, Any]:
        """The options that have an effect."""
        return {
            "score_boxes": self.score_boxes,
            **({"threshold": self.threshold} if self.uses_detections else {}),
            "fit_boxes": self.fit_boxes,
            **({"fit_threshold": self.fit_threshold} if self.uses_fit_detections else {}),
            "rules": self.rules,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxData:
    """A data set of boxes on key frames.

    `media` maps video names to media, in order. `classes` (id -> name) replaces a missing
    `files.action_list`, `evaluated` a missing `files.label_map`. `options` are the task's own,
    without `BoxOptions` and `KeyTimes`.
    """

    name: str
    title: str
    files: AvaFiles
    media: FindMedia
    plan: str = "16x1x1@4"
    flip: bool = True
    classes: Classes | None = None
    evaluated: Classes | None = None
    options: Settings = field(default_factory=dict)
    probe_options: Mapping[str, Mapping[str, Settings]] = field(default_factory=dict)


def box_task(data: BoxData, *, boxes: BoxOptions, times: KeyTimes) -> Task:
    """Return the task of boxes on key frames; few-label subsets are up to the caller.

    Raises:
        UsageError: an option out of range, or one that needs a file that was not given.
        DataError: files that are unreadable or inconsistent.
    """
    files, readout = data.files, boxes.readout
    _check(data.name, files, boxes, times)
    known("rules", boxes.rules, list(RULES))
    classes, scored = read_classes(files, all_classes=data.classes, evaluated=data.evaluated)
    labelled = read_seconds(files.included) if files.included else None
    manifest = partial(box_manifest, name=data.name, classes=classes, media=data.media, times=times)
    fitted = _fit_rows(files, boxes, labelled)
    truth, truth_boxes, excluded = _truth(files, times.seconds)
    _refuse_shared(files, fitted.boxes.frames, truth_boxes.frames)
    scores = _score_rows(
        files,
        truth_boxes,
        BoxFilter(
            videos=_videos(truth, excluded),
            excluded=excluded,
            labelled=labelled,
            every=times.seconds,
            threshold=boxes.threshold if boxes.uses_detections else None,
        ),
    )
    scores = replace(scores, facts={**scores.facts, **_coverage(truth, excluded, scores.boxes)})
    clip_plan = ClipPlan.parse(data.plan)
    return Task(
        name=data.name,
        title=data.title,
        fit=manifest(fitted, split="train"),
        score=manifest(scores, split="val"),
        fit_plan=clip_plan,
        score_plan=clip_plan,
        flip=data.flip,
        metric="mean_ap",
        options={**data.options, **boxes.recorded, **asdict(times), **asdict(readout)},
        readout=readout,
        truth=FrameTruth(
            boxes=truth,
            excluded=excluded,
            classes=scored,
            ids=np.array(list(classes), dtype=np.int64),
            rules=boxes.rules,
        ),
        files={**files.digests, **fitted.digests, **scores.digests},
        probe_options=data.probe_options,
    )


def _fit_rows(files: AvaFiles, boxes: BoxOptions, labelled: frozenset[int] | None) -> SplitBoxes:
    """Read the boxes to fit on: the ground truth and, with "both", the detector's too."""
    path = files.ground_truth_train
    truth, true_boxes = read_truth(path)
    excluded = read_excluded(files.excluded_train) if files.excluded_train else None
    box_filter = BoxFilter(excluded=excluded, labelled=labelled)
    rows, counts = box_filter.apply(true_boxes, path)
    facts: dict[str, Any] = {"from": boxes.fit_boxes, "ground_truth": counts}
    if not boxes.uses_fit_detections:
        return SplitBoxes(boxes=rows, path=path, facts=facts)
    assert files.fit_detections is not None
    found = read_person_boxes(files.fit_detections, images=files.fit_images)
    if not len(found.label):
        raise DataError(
            f"{files.fit_detections} has no action labels for its {len(found):,} boxes, so fitting"
            " on them would teach that persons do nothing; pass the boxes matched to the ground"
            " truth (ava_detection_train_boxes_and_labels...csv) with --set"
            " task.fit_detections=FILE"
        )
    detected = replace(box_filter, videos=_videos(truth, excluded), threshold=boxes.fit_threshold)
    added, counts = detected.apply(found, files.fit_detections)
    both = together([rows, added])
    facts |= {
        "detector": counts,
        "in_both": len(rows) + len(added) - len(both),
        "without_labels": len(both) - len(np.unique(both.label_row)),
    }
    return SplitBoxes(
        boxes=both, path=path, facts=facts, digests=_image_digest("fit_images", found)
    )


def _truth(files: AvaFiles, seconds: int) -> tuple[Boxes, PersonBoxes, KeyFrames | None]:
    """Read the ground truth of every `seconds`-th second, all its boxes and excluded frames."""
    truth, boxes = read_truth(files.ground_truth)
    excluded = read_excluded(files.excluded) if files.excluded else None
    if seconds > 1:
        step = seconds * MICROS
        declared = truth.declared.at(truth.declared.micros % step == 0)
        truth = replace(truth.at(truth.frames.micros % step == 0), declared=declared)
    return truth, boxes, excluded


def _refuse_shared(files: AvaFiles, fitted: KeyFrames, scored: KeyFrames) -> None:
    """Refuse videos that are in both splits."""
    fit_videos, score_videos = (
        {frames.videos[code] for code in np.unique(frames.video).tolist()}
        for frames in (fitted, scored)
    )
    shared = sorted(fit_videos & score_videos)
    if shared:
        raise DataError(
            f"{len(shared):,} of the {len(score_videos):,} videos of {files.ground_truth} are in"
            f" {files.ground_truth_train} too, such as {shared[0]}: training data would be scored;"
            " pass lists without common videos."
        )


def _score_rows(files: AvaFiles, truth: PersonBoxes, box_filter: BoxFilter) -> SplitBoxes:
    """Select the boxes to score on: a detector's above a threshold, or the true ones."""
    if box_filter.threshold is None:
        path = files.ground_truth
        rows, counts = box_filter.apply(truth, path)
        facts = {"from": "ground_truth", "ground_truth": counts}
        return SplitBoxes(boxes=rows, path=path, facts=facts)
    assert files.detections is not None
    found = read_person_boxes(files.detections, images=files.images)
    rows, counts = box_filter.apply(found, files.detections)
    return SplitBoxes(
        boxes=rows.without_labels,
        path=files.detections,
        facts={"from": "detector", "detector": counts},
        digests=_image_digest("images", found),
    )


def _videos(truth: Boxes, excluded: KeyFrames | None) -> frozenset[str]:
    return frozenset([*truth.frames.videos, *(excluded.videos if excluded else ())])


def _coverage(truth: Boxes, excluded: KeyFrames | None, rows: PersonBoxes) -> dict[str, int]:
    """Count the scored key frames of the ground truth, and those without any box in `rows`."""
    frames = truth.frames
    if excluded is not None:
        frames = frames.at(FrameIndex([excluded]).number(frames) < 0)
    index = FrameIndex([frames])
    numbers = index.number(rows.frames)
    silent = len(index) - len(np.unique(numbers[numbers >= 0]))
    return {"truth_key_frames": len(index), "truth_key_frames_without_box": silent}


def _image_digest(what: str, boxes: PersonBoxes) -> dict[str, str]:
    return {} if boxes.images is None else {what: file_sha256(boxes.images)}


def _check(name: str, files: AvaFiles, boxes: BoxOptions, times: KeyTimes) -> None:
    """Refuse options that cannot work and files that would not be read."""
    hints = get_type_hints(BoxOptions)
    for option in ("score_boxes", "fit_boxes"):
        known(option, getattr(boxes, option), get_args(hints[option]))
    for option in ("threshold", "fit_threshold"):
        value = getattr(boxes, option)
        if not 0 <= value <= 1:
            raise UsageError(f"{name}: {option} {value} is outside [0, 1].")
    readout, seconds, start = boxes.readout, times.seconds, times.start
    if readout.num_layers < 1 or readout.bins < 1:
        raise UsageError(
            f"{name}: num_layers {readout.num_layers} and bins {readout.bins} must be at least 1."
        )
    if seconds < 1:
        raise UsageError(f"{name}: seconds {seconds}; use 1 for all key frames, 4 for a quarter.")
    if start is not None and not math.isfinite(start):
        raise UsageError(f"{name}: start {start}; use a second of the movie, such as 900.")
    if not 0 < times.frame_rate < math.inf:
        raise UsageError(
            f"{name}: frame_rate {times.frame_rate}; use frames per second, such as 30."
        )
    for option, path, other, is_used in (
        ("detections", files.detections, "score_boxes", boxes.uses_detections),
        ("fit_detections", files.fit_detections, "fit_boxes", boxes.uses_fit_detections),
    ):
        if path is None and is_used:
            raise UsageError(f"{name}: a detector's boxes are needed; pass {option}.")
        if path is not None and not is_used:
            raise UsageError(
                f"{name}: {option} {path} would not be read because {other} is ground_truth; omit"
                f" it or set {other}."
            )
