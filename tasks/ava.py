"""AVA v2.2 and v2.1 actions (arXiv 1705.08421): boxes of persons on key frames, by frame mAP.

    annotations/ava_{train,val}_v2.2.csv  ava_{train,val}_excluded_timestamps_v2.2.csv
    annotations/person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv
    videos/<id>.mp4  (or mkv, webm; whole films or cut at second 900)  or  frames/<id>/*.jpg

V-JEPA (arXiv 2404.08471, table 10) puts a linear classifier on the regions of a frozen encoder; its
code for this is not released. Where the paper says nothing we follow SlowFast and VideoMAE, whose
settings it names: boxes of one public detector from a score of 0.8 on, fitted on true boxes alone.
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
from tasks.formats.ava_files import below, find_files, shipped_classes
from tasks.formats.ava_media import look_through
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
    """AVA actions: 80 classes, several a person; frame mAP of 60 on a detector's boxes.

    `data` is the root. Lists and media are found below it by their published names, or below
    `annotations` and `media` alone. `detections` and `fit_detections` name files of boxes, from the
    root or from here: SlowFast's CSV, AlphAction's JSON, or mmaction2's proposals as JSON. Boxes to
    score on are a `detector`'s of score `threshold` and more, or those of the `ground_truth`; to
    fit on the ground truth's, or `both` with a detector's of score `fit_threshold` and more.
    `view`, `pool`, `num_layers`, `norm` and `bins` say how a box is read, see `RegionReadout`.
    `rules` name the evaluator whose number is reported. With `seconds` 4 every fourth second is
    scored (SlowFast's mini set). `start` is the second of the film at which files begin, and a
    folder of frames holds `frame_rate` pictures a second. `fraction` with `draw`, or the list
    `subset` cut the training videos.

    Raises:
        UsageError: no data, or an option out of its range.
        DataError: files that are missing, cannot be read, or do not belong together.
    """
    if data is None:
        raise UsageError("task 'ava' needs the folder of AVA; say --data DIR.")
    known("version", version, ["2.2", "2.1"])
    tree = look_through(data)
    lists, places = (
        tree if path is None else look_through(below(data, path, f"task.{option}", "folder"))
        for option, path in (("annotations", annotations), ("media", media))
    )
    files = find_files(
        lists,
        version=version,
        detections=_from(data, detections),
        fit_detections=_from(data, fit_detections),
        with_detections=boxes.detector_scores,
        with_fit_detections=boxes.detector_fits,
    )
    for split, path in (("training", files.excluded_train), ("validation", files.excluded)):
        if path is None:
            log.warning("%s lists no excluded %s key frames: all of them count", lists.root, split)
    classes, evaluated = shipped_classes()
    own = BoxData(
        name="ava",
        title=f"AVA v{version} actions",
        files=files,
        media=places.media_of,
        classes=classes,
        evaluated=evaluated,
        options={"version": version},
        probe_options=PROBE_OPTIONS,
    )
    return cut_task(box_task(own, boxes=boxes, times=times), share)


def _from(data: Path, path: Path | None) -> Path | None:
    """Return a file below the root if it is there, else the path as it was given."""
    return data / path if path is not None and (data / path).exists() else path
