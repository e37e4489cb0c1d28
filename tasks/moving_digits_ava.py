"""Films of moving digits with boxes and key frames, in the formats of AVA: the embedded AVA.

Every digit of a film does one of eight motions, fast or slow, near another one or alone; what it
does is told by no single frame (see `tasks/digits/ava_scenes.py`). The files are read by the
readers of AVA. How hard they are was chosen by measurement, see `benchmarks/DIFFICULTY.md`.
"""

from __future__ import annotations

from pathlib import Path

from bench.config import home_folder
from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Task
from bench.errors import UsageError
from bench.registry import grouped, task
from tasks.ava_task import BoxData, BoxOptions, box_task
from tasks.digits.ava_films import DETECTIONS, NUM_FILMS, DetectionFormat, ensure_films
from tasks.digits.scenes import Size
from tasks.formats.ava_files import find_files
from tasks.formats.ava_media import look_through
from tasks.formats.ava_rows import KeyTimes

# 22 of the 24 frames of a shot, as the other tasks on moving digits.
PLAN = "8x1x1@3"


@task
@grouped
def moving_digits_ava(
    *,
    data: Path | None = None,
    size: Size = "full",
    detections: DetectionFormat = "slowfast",
    boxes: BoxOptions,
    share: Share,
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
    tree = look_through(ensure_films(home_folder(data), size))
    files = find_files(
        tree,
        version="2.2",
        detections=Path("detections", DETECTIONS[detections]) if boxes.detector_scores else None,
        with_detections=boxes.detector_scores,
        with_fit_detections=boxes.detector_fits,
    )
    own = BoxData(
        name=name,
        title="Moving digits: AVA",
        files=files,
        media=tree.media_of,
        plan=PLAN,
        flip=False,  # left and right are classes
        options={"size": size, "detections": detections},
    )
    return cut_task(box_task(own, boxes=boxes, times=KeyTimes(start=0.0)), share)
