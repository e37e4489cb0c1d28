"""Films of moving digits with boxes and key frames, in the formats of AVA: the embedded AVA.

Every digit of a film does one of eight motions, fast or slow, near another one or alone; what it
does is told by no single frame (see `tasks/digits/ava_scenes.py`). The files are read by the
readers of AVA. How hard they are was chosen by measurement, see `benchmarks/DIFFICULTY.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.config import home_folder
from bench.data.boxes.regions import RegionReadout
from bench.data.few_labels import low_shot_task
from bench.data.manifest import Task
from bench.data.media.media import Media
from bench.errors import UsageError
from bench.registry import task
from tasks.ava_task import FitBoxes, ScoreBoxes, box_task
from tasks.digits.ava_films import (
    DETECTIONS,
    NUM_FILMS,
    DetectionFormat,
    DigitFilms,
    Size,
    ensure_films,
)
from tasks.formats.ava_files import AvaFiles

# 22 of the 24 frames of a shot, as the other tasks on moving digits.
PLAN = "8x1x1@3"


@task
def moving_digits_ava(
    *,
    data: Path | None = None,
    size: Size = "full",
    detections: DetectionFormat = "slowfast",
    score_boxes: ScoreBoxes = "detector",
    fit_boxes: FitBoxes = "ground_truth",
    threshold: float = 0.8,
    fit_threshold: float = 0.9,
    view: Literal["whole", "centre"] = "whole",
    pool: Literal["mean", "max"] = "mean",
    num_layers: int = 4,
    norm: bool = True,
    bins: int = 3,
    rules: Literal["official", "slowfast", "mmaction2"] = "official",
    fraction: float = 1.0,
    draw: int = 0,
    shots: int | None = None,
    subset: Path | None = None,
) -> Task:
    """Embedded: what each digit of a film does, on boxes of key frames (frame mAP, 12 classes).

    96 training and 48 validation films with four key frames each, rendered below `data` (default:
    the home folder) on first use; `size="small"` takes the first 16 and 8. `detections` is the
    format that the boxes of the made-up detector are read from. The other options are those of
    `ava`.
    """
    name = "moving_digits_ava"
    if size not in NUM_FILMS:
        raise UsageError(f"{name}: size {size!r} is unknown; write full or small.")
    if detections not in DETECTIONS:
        raise UsageError(
            f"{name}: the format of detections {detections!r} is unknown; write slowfast,"
            " alphaction or mmaction2."
        )
    films = ensure_films(home_folder(data), size)

    def media(videos: Sequence[str]) -> Sequence[Media]:
        return [films.video(video) for video in videos]

    whole = box_task(
        name=name,
        title="Moving digits: AVA",
        files=_files(films, detections, score_boxes, fit_boxes),
        media=media,
        plan=PLAN,
        flip=False,  # left and right are classes
        readout=RegionReadout(view=view, pool=pool, num_layers=num_layers, norm=norm, bins=bins),
        rules=rules,
        score_boxes=score_boxes,
        fit_boxes=fit_boxes,
        threshold=threshold,
        fit_threshold=fit_threshold,
        start=0.0,
        options={"size": size, "detections": detections},
    )
    return low_shot_task(whole, fraction=fraction, draw=draw, shots=shots, subset=subset)


def _files(
    films: DigitFilms, form: DetectionFormat, score_boxes: ScoreBoxes, fit_boxes: FitBoxes
) -> AvaFiles:
    lists = films.annotations
    return AvaFiles(
        ground_truth_train=lists / "ava_train_v2.2.csv",
        ground_truth=lists / "ava_val_v2.2.csv",
        detections=films.detections(form) if score_boxes == "detector" else None,
        fit_detections=films.fit_detections if fit_boxes == "both" else None,
        excluded_train=lists / "ava_train_excluded_timestamps_v2.2.csv",
        excluded=lists / "ava_val_excluded_timestamps_v2.2.csv",
        included=lists / "ava_included_timestamps_v2.2.txt",
        action_list=lists / "ava_action_list_v2.2.pbtxt",
        label_map=lists / "ava_action_list_v2.2_for_activitynet_2019.pbtxt",
    )
