"""Your own videos or images, listed in two annotation files: no code.

train.csv      clips/one.mp4 0          (or a name instead of the index, comma, tab, a header,
val.csv        clips/two.mp4 1           JSON lines, parquet: see bench/data/read_manifest.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.data.discover.annotations import read_annotations
from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Manifest, Task
from bench.data.read_manifest import classes_of, from_rows
from bench.errors import DataError
from bench.registry import grouped, task
from tasks.folder import DEFAULT_PLAN, task_of_splits


@task
@grouped
def listing(
    *,
    train: Path,
    val: Path,
    data: Path | None = None,
    classes: Path | None = None,
    plan: str = DEFAULT_PLAN,
    flip: bool = True,
    share: Share,
) -> Task:
    """Your own two lists: `path label` lines, CSV, TSV, JSON lines or parquet.

    Paths are relative to `data`, else to their list. `classes` is a file with one class name per
    line; without it, names are sorted, and both lists must use the same ones. `fraction` or `shots`
    per class, with `draw`, or the list `subset`, selects training rows.

    Raises:
        DataError: unreadable lists, or lists that disagree on the classes.
    """
    if data is not None and not data.is_dir():
        raise DataError(f"there is no folder {data}; pass --data DIR with the folder of the media.")
    fit, score = _read_both(train, val, data, classes)
    shared = len({*map(str, fit.media)}.intersection(map(str, score.media)))
    whole = task_of_splits(
        "listing",
        f"Lists {train.name} and {val.name}",
        fit,
        score,
        plan=plan,
        flip=flip,
        options={"rows_in_both_splits": shared},
    )
    return cut_task(whole, share)


def _read_both(
    train: Path, val: Path, data: Path | None, classes: Path | None
) -> tuple[Manifest, Manifest]:
    """Read both lists with one label map."""
    fit_rows, score_rows = read_annotations(train), read_annotations(val)
    known: Path | Sequence[str] | None = classes
    if known is None and fit_rows.numbered != score_rows.numbered:
        words = {True: "integers", False: "names"}
        raise DataError(
            f"labels are {words[fit_rows.numbered]} in {train} but"
            f" {words[score_rows.numbered]} in {val}; use the same in both, or pass a class list"
            " with --set task.classes=FILE"
        )
    if known is None and fit_rows.numbered:
        known = classes_of(fit_rows, score_rows)
    fit = from_rows(fit_rows, root=data, name="listing", split="train", classes=known)
    names = fit.classes if known is None else known  # a name must occur in training
    score = from_rows(score_rows, root=data, name="listing", split="val", classes=names)
    return fit, score
