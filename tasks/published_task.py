"""Tasks of published data sets: from the folder of the user to two splits and their clip plans."""

from __future__ import annotations

import fnmatch
import inspect
import os
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data.discover.annotations import EXTENSIONS, extension
from bench.data.discover.dataset import DataSet
from bench.data.discover.find_split import read_split
from bench.data.discover.folder_scan import scan
from bench.data.discover.label_map import LabelMap
from bench.data.discover.remembered import DESCRIPTION, added_root, read_added
from bench.data.discover.split_words import splits_named
from bench.data.few_labels import low_shot_task
from bench.data.manifest import Manifest, Task
from bench.errors import DataError, UsageError
from bench.registry import task
from bench.types import ClipPlan, Settings
from tasks.folder import IMAGE_PLAN


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What the options of its own that a data set has decide; None leaves what `published` says."""

    dataset: DataSet | None = None
    fit: str | None = None
    score: str | None = None
    options: Settings = field(default_factory=dict)


def published(
    dataset: DataSet, *, plan: str | None, flip: bool, fit: str = "train", score: str = "val"
) -> Callable[[Callable[..., Choice | None]], Callable[..., Task]]:
    """Register the task of a data set under the name and the docstring of a function.

    The function takes the options that the data set has of its own, as keywords, and returns what
    they decide; the task has those of every published data set beside them (see `build`). `plan` is
    None for images; training clips have one view. `fit` and `score` are splits of the data set.
    """

    def decorate(own: Callable[..., Choice | None]) -> Callable[..., Task]:
        def build(
            *,
            data: Path | None = None,
            train: Path | None = None,
            val: Path | None = None,
            classes: Path | None = None,
            media: Path | None = None,
            fraction: float = 1.0,
            draw: int = 0,
            shots: int | None = None,
            subset: Path | None = None,
            **options: Any,
        ) -> Task:
            """Make the task.

            `data` is the root of the data set, a folder that holds one called like it, or what
            `bench data add` wrote (or the folder that holds this). `train` and `val` are lists to
            read instead of those found, `classes` and `media` as in `read_split`. `fraction`,
            `draw`, `shots` and `subset` cut the training split, see `bench/data/few_labels.py`.

            Raises:
                UsageError: no data.
                DataError: data that cannot be read as this data set.
            """
            choice = own(**options) or Choice()
            chosen = choice.dataset or dataset
            fitted, scored = _splits(
                chosen,
                data,
                (choice.fit or fit, choice.score or score),
                (train, val),
                classes,
                media,
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
            return low_shot_task(whole, fraction=fraction, draw=draw, shots=shots, subset=subset)

        return task(_described(build, own))

    return decorate


def _described(
    build: Callable[..., Task], own: Callable[..., Choice | None]
) -> Callable[..., Task]:
    """Give `build` the name, place and docstring of a function, and its options beside its own."""
    common, more = inspect.signature(build), inspect.signature(own)
    shared = [p for p in common.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    joined = common.replace(parameters=[*more.parameters.values(), *shared])
    hints = {**typing.get_type_hints(own), **typing.get_type_hints(build)}
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(build, name, getattr(own, name))
    build.__annotations__ = {name: hints[name] for name in (*joined.parameters, "return")}
    build.__signature__ = joined  # type: ignore[attr-defined]
    return build


def _splits(
    dataset: DataSet,
    data: Path | None,
    splits: tuple[str, str],
    listings: tuple[Path | None, Path | None],
    classes: Path | None,
    media: Path | None,
) -> tuple[Manifest, Manifest]:
    """Read both splits from what was added, or from the root where something else is asked for."""
    folder = data_folder(dataset, data)
    was_added = (folder / DESCRIPTION).is_file()
    if was_added and (*listings, classes, media) == (None,) * 4:
        return _from_added(dataset, folder, splits)
    root = added_root(folder) if was_added else folder
    return _from_root(dataset, root, splits, listings, classes, media)


def plans(dataset: DataSet, plan: str | None) -> tuple[ClipPlan, ClipPlan]:
    """Return the plans to fit and to score with; an image is one still without views."""
    assert (plan is None) == (dataset.kind == "image"), f"{dataset.name}: only videos have a plan"
    if plan is None:
        return IMAGE_PLAN, IMAGE_PLAN
    score = ClipPlan.parse(plan)
    fit = ClipPlan(
        num_frames=score.num_frames,
        num_clips=score.num_clips,
        num_views=1,
        stride=score.stride,
    )
    return fit, score


def data_folder(dataset: DataSet, data: Path | None) -> Path:
    """Return the folder of a data set: `data`, or one in it that is called like the data set.

    Raises:
        UsageError: no folder given.
        DataError: a folder that is not there.
    """
    if data is None:
        raise UsageError(
            f"task {dataset.name!r} needs the folder of {dataset.title}; say --data DIR, or"
            f" `bench data add {dataset.name} DIR` once."
        )
    if not data.is_dir():
        found = f"{data} is a file" if data.exists() else f"there is no folder {data}"
        raise DataError(f"{found}; say --data DIR with the folder of {dataset.title}.")
    if (data / DESCRIPTION).is_file() or _tells_splits(dataset, data, depth=1):
        return data
    called = {_bare(name) for name in (dataset.name, dataset.title, *dataset.folders)}
    inner = [
        path
        for path in sorted(data.iterdir())
        if path.is_dir()
        and _bare(path.name) in called
        and ((path / DESCRIPTION).is_file() or _tells_splits(dataset, path, depth=2))
    ]
    exact = [path for path in inner if path.name == dataset.name]
    if len(inner) > 1 and not exact:
        raise DataError(
            f"{data} holds several folders of {dataset.title}:"
            f" {', '.join(path.name for path in inner)}; say --data with one of them."
        )
    return next(iter([*exact, *inner]), data)


def _tells_splits(dataset: DataSet, folder: Path, *, depth: int) -> bool:
    """Whether a folder holds lists or folders of a split, so many levels down."""
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
    return depth > 1 and any(_tells_splits(dataset, path, depth=depth - 1) for path in folders)


def _from_added(
    dataset: DataSet, folder: Path, splits: tuple[str, str]
) -> tuple[Manifest, Manifest]:
    found = read_added(folder)
    for split in splits:
        if split not in found:
            raise DataError(
                f"{folder} holds {', '.join(found) or 'no splits'} of {dataset.title} but not"
                f" {split}; run `bench data add {dataset.name} DIR` again."
            )
    return found[splits[0]], found[splits[1]]


def _from_root(
    dataset: DataSet,
    root: Path,
    splits: tuple[str, str],
    listings: tuple[Path | None, Path | None],
    classes: Path | None,
    media: Path | None,
) -> tuple[Manifest, Manifest]:
    tree = scan(root, dataset.kind)
    fit = read_split(
        dataset, root, splits[0], listing=listings[0], classes=classes, media=media, tree=tree
    )
    known: Path | LabelMap | None = classes
    if classes is None and dataset.labels is None:
        known = LabelMap(names=fit.classes, source=fit.source)
    score = read_split(
        dataset, root, splits[1], listing=listings[1], classes=known, media=media, tree=tree
    )
    return fit, score


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
