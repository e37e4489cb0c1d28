"""The embedded AVA: films of moving digits with boxes and key frames, in AVA's file formats.

Every digit of a film makes one of eight motions, fast or slow, near another one or alone; no single
frame shows which (see `tasks/digits/ava_scenes.py`). The files are read by the readers of AVA.
Their difficulty was tuned by measurement (`benchmarks/DIFFICULTY.md`).
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
from tasks.formats.ava_media import scan_ava
from tasks.formats.ava_rows import KeyTimes

# 22 of the 24 frames of a shot, as in the other moving-digits tasks.
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

    96 training and 48 validation films with four key frames each, rendered into `data` (default:
    the home folder) on first use; `size="small"` takes the first 16 and 8. `detections` is the file
    format of the simulated detector's boxes. The other options are those of `ava`.
    """
    name = "moving_digits_ava"
    if size not in NUM_FILMS:
        raise UsageError(f"{name}: size {size!r} is unknown; use full or small.")
    if detections not in DETECTIONS:
        raise UsageError(
            f"{name}: detections format {detections!r} is unknown; use slowfast, alphaction or"
            " mmaction2."
        )
    tree = scan_ava(ensure_films(home_folder(data), size))
    files = find_files(
        tree,
        version="2.2",
        detections=Path("detections", DETECTIONS[detections]) if boxes.uses_detections else None,
        with_detections=boxes.uses_detections,
        with_fit_detections=boxes.uses_fit_detections,
    )
    dataset = BoxData(
        name=name,
        title="Moving digits: AVA",
        files=files,
        media=tree.media_of,
        plan=PLAN,
        flip=False,  # left and right are classes
        options={"size": size, "detections": detections},
    )
    return cut_task(box_task(dataset, boxes=boxes, times=KeyTimes(start=0.0)), share)
