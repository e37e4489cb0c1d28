"""Your own videos or images in class folders: no code, no annotation file.

    data/train/<class>/*.mp4      data/val/<class>/*.mp4

Classes may be nested: `train/a/abbey/1.jpg` is class `a/abbey` if `a` has only subfolders.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Manifest, Task
from bench.data.read_manifest import read_folder
from bench.errors import DataError, UsageError
from bench.registry import grouped, task
from bench.types import ClipPlan, Settings

DEFAULT_PLAN = "16x1x1@4"
# An image is repeated to fill one clip (V-JEPA's image protocol).
IMAGE_PLAN = ClipPlan(num_frames=16, num_clips=1, num_views=1, stride=0)


@task
@grouped
def folder(
    *,
    data: Path | None = None,
    train: str = "train",
    val: str = "val",
    plan: str = DEFAULT_PLAN,
    flip: bool = True,
    share: Share,
) -> Task:
    """Your own class folders: data/train/<class>/* and data/val/<class>/*, videos or images.

    `train` and `val` are the folder names; classes are the folders of `train` in ASCII order.
    `fraction` or `shots` per class, with `draw`, or the list `subset`, selects training rows.

    Raises:
        DataError: a missing or empty folder, a class of `val` that `train` lacks.
    """
    if data is None:
        raise UsageError(
            "task 'folder' needs the folder of your data; pass --data DIR with"
            f" {train}/<class>/ and {val}/<class>/ in it."
        )
    fit = read_folder(_split_folder(data, train, "train"), name="folder", split="train")
    score = read_folder(
        _split_folder(data, val, "val"),
        name="folder",
        split="val",
        classes=fit.classes,
        kind=fit.kind,
    )
    whole = task_of_splits(
        "folder", f"Class folders {data.name}", fit, score, plan=plan, flip=flip, options={}
    )
    return cut_task(whole, share)


def task_of_splits(
    name: str,
    title: str,
    fit: Manifest,
    score: Manifest,
    *,
    plan: str,
    flip: bool,
    options: Settings,
) -> Task:
    """Return the task of two manifests of one kind; training clips have one view.

    Raises:
        DataError: videos in one split and images in the other.
        UsageError: a clip plan for images.
    """
    if fit.kind != score.kind:
        raise DataError(
            f"{name}: the training split has {fit.kind}s, the other one {score.kind}s; use one kind"
            " in both."
        )
    parsed = ClipPlan.parse(plan)
    if fit.kind == "image" and parsed != ClipPlan.parse(DEFAULT_PLAN):
        raise UsageError(f"{name}: images have no clips; omit the plan {plan}.")
    score_plan = parsed if fit.kind == "video" else IMAGE_PLAN
    return Task(
        name=name,
        title=title,
        fit=fit,
        score=score,
        fit_plan=replace(score_plan, num_views=1),
        score_plan=score_plan,
        flip=flip,
        options=options,
    )


def _split_folder(data: Path, split: str, option: str) -> Path:
    if not data.is_dir():
        raise DataError(f"there is no folder {data}; pass --data DIR with the folder of your data.")
    if (data / split).is_dir():
        return data / split
    found = sorted(p.name for p in data.iterdir() if p.is_dir() and not p.name.startswith("."))
    other = [n for n in ("valid", "validation", "test") if n in found and option == "val"]
    example = other[0] if other else "NAME"
    raise DataError(
        f"{data} has no folder {split!r}; found {', '.join(found) or 'no folders'}; choose one"
        f" with --set task.{option}={example}"
    )
