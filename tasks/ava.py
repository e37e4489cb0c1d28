"""AVA v2.2 and v2.1 actions (arXiv 1705.08421): person boxes on key frames, scored by frame mAP.

    annotations/ava_{train,val}_v2.2.csv  ava_{train,val}_excluded_timestamps_v2.2.csv
    annotations/person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv
    videos/<id>.mp4  (or mkv, webm; whole movies or cut from second 900)  or  frames/<id>/*.jpg

V-JEPA (arXiv 2404.08471, table 10) trains a linear classifier on region features of a frozen
encoder; its code for this is not released. Where the paper is silent we follow SlowFast and
VideoMAE, whose settings it cites: one public detector's boxes of score 0.8 and above, fitted on
true boxes alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Task
from bench.errors import UsageError, known
from bench.registry import grouped, task
from bench.types import Settings
from tasks.ava_task import BoxData, BoxOptions, box_task
from tasks.formats.ava_files import find_files, resolve, shipped_classes
from tasks.formats.ava_media import scan_ava
from tasks.formats.ava_rows import KeyTimes

log = logging.getLogger(__name__)

# arXiv 2404.08471, table 10; the batch norm of `linear` is not in it.
TABLE_10: Settings = {
    "epochs": 30,
    "batch_size": 64,
    "lr": (1e-4,),
    "weight_decay": (0.05,),
    "warmup": 2.0,
    "start_lr": 1e-6,
    "final_lr": 1e-6,
    "batch_norm": False,
}
PROBE_OPTIONS: Mapping[str, Mapping[str, Settings]] = {
    "single": {"linear": TABLE_10},
    "honest": {"linear": {**TABLE_10, "lr": (1e-4, 3e-4, 1e-3, 3e-3)}},
}


@task
@grouped
def ava(
    *,
    data: Path | None = None,
    version: Literal["2.2", "2.1"] = "2.2",
    media: Path | None = None,
    annotations: Path | None = None,
    detections: Path | None = None,
    fit_detections: Path | None = None,
    boxes: BoxOptions,
    times: KeyTimes,
    share: Share,
) -> Task:
    """AVA actions: 80 classes, several per person; frame mAP over 60 classes on detected boxes.

    Lists and media are found by their published names below the root `data`, or below `annotations`
    and `media` if given. `detections` and `fit_detections` are box files, relative to the root or
    the working directory: SlowFast's CSV, AlphAction's JSON, or mmaction2's proposals as JSON.
    `score_boxes` is `detector` (boxes of score `threshold` and above) or `ground_truth`;
    `fit_boxes` is `ground_truth`, or `both` to add a detector's of score `fit_threshold` and above.
    `view`, `pool`, `num_layers`, `norm` and `bins`: see `RegionReadout`. `rules` is the evaluator
    whose number is reported. `seconds=4` scores every fourth second (SlowFast's mini set). `start`
    is the second of the movie at which files begin; frame folders have `frame_rate` frames per
    second. `fraction` with `draw`, or the list `subset`, selects training videos.

    Raises:
        UsageError: no data, or an option out of range.
        DataError: files that are missing, unreadable or inconsistent.
    """
    if data is None:
        raise UsageError("task 'ava' needs the folder of AVA; pass --data DIR.")
    known("version", version, ["2.2", "2.1"])
    tree = scan_ava(data)
    lists, places = (
        tree if path is None else scan_ava(resolve(data, path, f"task.{option}", "folder"))
        for option, path in (("annotations", annotations), ("media", media))
    )
    files = find_files(
        lists,
        version=version,
        detections=_from(data, detections),
        fit_detections=_from(data, fit_detections),
        with_detections=boxes.uses_detections,
        with_fit_detections=boxes.uses_fit_detections,
    )
    for split, path in (("training", files.excluded_train), ("validation", files.excluded)):
        if path is None:
            log.warning(
                "%s has no list of excluded %s key frames: all of them count", lists.root, split
            )
    classes, evaluated = shipped_classes()
    dataset = BoxData(
        name="ava",
        title=f"AVA v{version} actions",
        files=files,
        media=places.media_of,
        classes=classes,
        evaluated=evaluated,
        options={"version": version},
        probe_options=PROBE_OPTIONS,
    )
    return cut_task(box_task(dataset, boxes=boxes, times=times), share)


def _from(data: Path, path: Path | None) -> Path | None:
    """Return `data / path` if it exists, else `path`."""
    return data / path if path is not None and (data / path).exists() else path
