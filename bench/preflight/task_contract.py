"""Check a task and its two splits."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench import registry
from bench.contracts import KIND, OPTIONS, TEXT, TEXTS, Members, check_members, require
from bench.data.manifest import Manifest, Task
from bench.types import ClipPlan, Settings

_MANIFEST = (lambda value: isinstance(value, Manifest), "a bench.Manifest")
_PLAN = (lambda value: isinstance(value, ClipPlan), "a bench.ClipPlan")


def _is_labels(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.int64 and value.ndim in (1, 2)


TASK: Members = {
    **dict.fromkeys(("name", "title"), TEXT),
    **dict.fromkeys(("fit", "score"), _MANIFEST),
    **dict.fromkeys(("fit_plan", "score_plan"), _PLAN),
    "metric": (lambda value: value in ("top1", "mean_ap"), "'top1' or 'mean_ap'"),
    **dict.fromkeys(("options", "files", "probe_options"), OPTIONS),
}

MANIFEST: Members = {
    **dict.fromkeys(("name", "split"), TEXT),
    "kind": KIND,
    "ids": TEXTS,
    "media": (lambda value: hasattr(value, "__len__"), "a sequence of the files behind the ids"),
    "classes": TEXTS,
    "labels": (_is_labels, "int64 [rows], or 0 and 1 int64 [rows, classes]"),
}


def build_task(name: str, options: Settings) -> Task:
    """Build a registered task and check it.

    Raises:
        UsageError: an unknown option, or a user-defined task that is not as it must be.
        DataError: the annotations cannot be read.
    """
    task: Task = registry.build("tasks", name, options)
    require_task(name, task)
    return task


def require_task(name: str, task: Any) -> None:
    """Check a user-defined task and both of its splits; built-in ones have tests.

    Raises:
        UsageError: a member is missing or of the wrong kind, or the splits do not match.
    """
    if registry.is_ours(registry.find("tasks", name).function.__module__):
        return
    check_members(f"task {name!r}", task, TASK, kind=Task)
    for split, manifest in (("fit", task.fit), ("score", task.score)):
        what = f"task {name!r}, {split}"
        check_members(what, manifest, MANIFEST)
        labels, rows, classes = manifest.labels, len(manifest.ids), len(manifest.classes)
        last = classes - 1 if labels.ndim == 1 else 1
        for is_right, member, words in (
            (len(manifest.media) == rows, "media", f"a file for each of the {rows} ids"),
            (len(labels) == rows, "labels", f"a row for each of the {rows} ids"),
            (labels.shape[1:] in ((), (classes,)), "labels", f"{classes} columns, one per class"),
            (labels.min() >= 0 and labels.max() <= last, "labels", f"numbers from 0 to {last}"),
        ):
            require(is_right, f"{what}: Manifest.{member} should hold {words}.")
    for member in ("classes", "kind"):
        require(
            [*getattr(task.fit, member)] == [*getattr(task.score, member)],
            f"task {name!r}: Manifest.{member} should be the same in fit and score.",
        )
