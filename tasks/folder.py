"""Your own videos or images in class folders; no code and no annotation file.

    data/train/<class>/*.mp4      data/val/<class>/*.mp4

A class may lie deeper (`train/a/abbey/1.jpg` is class `a/abbey`) where a folder holds folders only.
"""

from __future__ import annotations

from pathlib import Path

from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Manifest, Task
from bench.data.read_manifest import read_folder
from bench.errors import DataError, UsageError
from bench.registry import grouped, task
from bench.types import ClipPlan, Settings

DEFAULT_PLAN = "16x1x1@4"
# A still is repeated to the frames of one clip (V-JEPA's image protocol).
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
    """Class folders of your own: data/train/<class>/* and data/val/<class>/*, videos or images.

    `train` and `val` name the two folders; classes are those of `train`, in ASCII order.
    `fraction` or `shots` a class, with `draw`, or the list `subset` cut the training split.

    Raises:
        DataError: a folder that is missing or empty, a class in `val` that `train` lacks.
    """
    if data is None:
        raise UsageError(
            "task 'folder' needs the folder of your data; say --data DIR, where DIR holds"
            f" {train}/<class>/ and {val}/<class>/."
        )
    fit = read_folder(_split_folder(data, train, "train"), name="folder", split="train")
    score = read_folder(
        _split_folder(data, val, "val"), name="folder", split="val", classes=fit.classes
    )
    whole = own_data(
        "folder", f"Class folders {data.name}", fit, score, plan=plan, flip=flip, options={}
    )
    return cut_task(whole, share)


def own_data(
    name: str,
    title: str,
    fit: Manifest,
    score: Manifest,
    *,
    plan: str,
    flip: bool,
    options: Settings,
) -> Task:
    """Make the task of two manifests of one kind; training clips have one view.

    Raises:
        DataError: videos in one split and images in the other.
        UsageError: a clip plan for images.
    """
    if fit.kind != score.kind:
        raise DataError(
            f"{name}: the training split has {fit.kind}s and the other one {score.kind}s; both"
            " should be of one kind."
        )
    parsed = ClipPlan.parse(plan)
    if fit.kind == "image" and parsed != ClipPlan.parse(DEFAULT_PLAN):
        raise UsageError(f"{name}: images have no clips; leave out the plan {plan}.")
    score_plan = parsed if fit.kind == "video" else IMAGE_PLAN
    fit_plan = ClipPlan(
        num_frames=score_plan.num_frames,
        num_clips=score_plan.num_clips,
        num_views=1,
        stride=score_plan.stride,
    )
    return Task(
        name=name,
        title=title,
        fit=fit,
        score=score,
        fit_plan=fit_plan,
        score_plan=score_plan,
        flip=flip,
        options=options,
    )


def _split_folder(data: Path, split: str, option: str) -> Path:
    if not data.is_dir():
        raise DataError(f"there is no folder {data}; say --data DIR with the folder of your data.")
    if (data / split).is_dir():
        return data / split
    found = sorted(p.name for p in data.iterdir() if p.is_dir() and not p.name.startswith("."))
    other = [n for n in ("valid", "validation", "test") if n in found and option == "val"]
    example = other[0] if other else "NAME"
    raise DataError(
        f"{data} has no folder {split!r}; found {', '.join(found) or 'no folders'}. Name the one"
        f" to use with --set task.{option}={example}"
    )
