"""Tasks of published data sets: from the user's folder to two splits and their clip plans."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.data.discover.annotations import EXTENSIONS, extension, is_integer
from bench.data.discover.dataset import DataSet
from bench.data.discover.find_split import read_split
from bench.data.discover.folder_scan import scan
from bench.data.discover.label_map import LabelMap
from bench.data.discover.remembered import DESCRIPTION, added_root, read_added
from bench.data.discover.split_words import splits_named
from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Manifest, Task
from bench.errors import DataError, UsageError
from bench.registry import grouped, task
from bench.types import ClipPlan, Settings
from tasks.folder import IMAGE_PLAN


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What a data set's own options change; None keeps the value passed to `published`."""

    dataset: DataSet | None = None
    fit: str | None = None
    score: str | None = None
    options: Settings = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the splits of a data set are read from.

    `data` is the root of the data set, the output of `bench data add`, or the parent folder of
    either. `train` and `val` replace the lists found; `classes` and `media` as in `read_split`.
    """

    data: Path | None = None
    train: Path | None = None
    val: Path | None = None
    classes: Path | None = None
    media: Path | None = None


def published(
    dataset: DataSet, *, plan: str | None, flip: bool, fit: str = "train", score: str = "val"
) -> Callable[[Callable[..., Choice | None]], Callable[..., Task]]:
    """Register the task of a data set under the name and the docstring of a function.

    The function takes the data set's own options as keywords and returns their `Choice`; the task
    adds `Sources`, and `Share` to select training rows. `plan` is None for images; training clips
    have one view. `fit` and `score` are splits of the data set.
    """

    def decorate(declared: Callable[..., Choice | None]) -> Callable[..., Task]:
        def build(*, sources: Sources, share: Share, **options: Any) -> Task:
            """Return the task.

            Raises:
                UsageError: no data.
                DataError: data that cannot be read as this data set.
            """
            choice = declared(**options) or Choice()
            chosen = choice.dataset or dataset
            fitted, scored = _splits(
                chosen, sources, fit=choice.fit or fit, score=choice.score or score
            )
            fit_plan, score_plan = plans(chosen, plan)
            whole = Task(
                name=chosen.name,
                title=chosen.title,
                fit=fitted,
                score=scored,
                fit_plan=fit_plan,
                score_plan=score_plan,
                flip=flip,
                options=dict(choice.options),
            )
            return cut_task(whole, share)

        return task(grouped(build, declared))

    return decorate


def _splits(
    dataset: DataSet, sources: Sources, *, fit: str, score: str
) -> tuple[Manifest, Manifest]:
    """Read both splits as added, or from the root if `sources` has more than `data`."""
    folder = data_folder(dataset, sources.data)
    was_added = (folder / DESCRIPTION).is_file()
    if was_added and sources == Sources(data=sources.data):
        found = read_added(folder)
        for split in (fit, score):
            if split not in found:
                raise DataError(
                    f"{folder} has {', '.join(found) or 'no splits'} of {dataset.title} but not"
                    f" {split}; run `bench data add {dataset.name} DIR` again."
                )
        return found[fit], found[score]
    root = added_root(folder) if was_added else folder
    read = partial(read_split, dataset, root, media=sources.media, tree=scan(root, dataset.kind))
    fitted = read(fit, listing=sources.train, classes=sources.classes)
    known: Path | LabelMap | None = sources.classes
    if known is None and dataset.labels is None:
        are_ids = all(map(is_integer, fitted.classes))
        known = LabelMap(names=fitted.classes, source=fitted.source, are_ids=are_ids)
    return fitted, read(score, listing=sources.val, classes=known)


def plans(dataset: DataSet, plan: str | None) -> tuple[ClipPlan, ClipPlan]:
    """Return the plans to fit and to score with; without a plan, those of images."""
    assert (plan is None) == (dataset.kind == "image"), f"{dataset.name}: only videos have a plan"
    if plan is None:
        return IMAGE_PLAN, IMAGE_PLAN
    score = ClipPlan.parse(plan)
    return replace(score, num_views=1), score


def data_folder(dataset: DataSet, data: Path | None) -> Path:
    """Return the folder of a data set: `data`, or a subfolder named after the data set.

    Raises:
        UsageError: no folder given.
        DataError: no such folder, or several candidates in it.
    """
    if data is None:
        raise UsageError(
            f"task {dataset.name!r} needs the folder of {dataset.title}; pass --data DIR, or run"
            f" `bench data add {dataset.name} DIR` once."
        )
    if not data.is_dir():
        found = f"{data} is a file" if data.exists() else f"there is no folder {data}"
        raise DataError(f"{found}; pass --data DIR with the folder of {dataset.title}.")
    if (data / DESCRIPTION).is_file() or _has_splits(dataset, data, depth=1):
        return data
    known_names = {_bare(name) for name in (dataset.name, dataset.title, *dataset.folders)}
    inner = [
        path
        for path in sorted(data.iterdir())
        if path.is_dir()
        and _bare(path.name) in known_names
        and ((path / DESCRIPTION).is_file() or _has_splits(dataset, path, depth=2))
    ]
    exact = [path for path in inner if path.name == dataset.name]
    if len(inner) > 1 and not exact:
        raise DataError(
            f"{data} has several folders of {dataset.title}:"
            f" {', '.join(path.name for path in inner)}; pass one of them as --data."
        )
    return next(iter([*exact, *inner]), data)


def _has_splits(dataset: DataSet, folder: Path, *, depth: int) -> bool:
    """Check whether a folder has lists or folders of a split within `depth` levels."""
    official = {name.split("/")[-1] for names in dataset.patterns.values() for name in names}
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if any(fnmatch.fnmatch(entry.name.casefold(), name.casefold()) for name in official):
                return True
            if entry.is_dir() or extension(entry.name) not in EXTENSIONS:
                if splits_named(entry.name, dataset.words):
                    return True
                folders += [Path(entry.path)] if entry.is_dir() else []
    return depth > 1 and any(_has_splits(dataset, path, depth=depth - 1) for path in folders)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
