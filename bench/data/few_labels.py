"""Low-shot tasks: a training split cut to a fraction, to shots per class, or to a published list.

V-JEPA (arXiv:2404.08471, table 7) measures 5, 10 and 50 % of the labels with three draws each;
SimCLR (arXiv:2002.05709) publishes the 1 % and 10 % of ImageNet it used as `1percent.txt` and
`10percent.txt`, one file name per line. Boxes of one video are similar and have several labels
each, so boxes are drawn by whole videos. The request and its outcome are in the task's options, and
so in every record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.discover.split_files import named_rows, split_digest
from bench.data.manifest import Manifest, Task
from bench.data.splits import (
    Permutation,
    check_draw,
    check_fraction,
    check_shots,
    permuted,
    permuted_groups,
)
from bench.errors import UsageError
from bench.files import file_sha256
from bench.types import IntArray, Settings

# Increment the version when the same request would draw other rows.
ORDER = "in the order of SHA-256 of (draw, class, rank by id), version 1"
RULES = {
    "whole": "all training rows",
    "fraction": f"of a class with n rows the first max(1, round(fraction * n)), halves up, {ORDER}",
    "shots": f"of every class the first rows, all of them where it has fewer, {ORDER}",
    "subset": "the training rows that a file names",
}
# For rows that are boxes.
VIDEO_RULES = {
    "whole": RULES["whole"],
    "fraction": "all boxes of the first max(1, round(fraction * n)) of n videos, halves up, in the"
    " order of SHA-256 of (draw, video), version 1",
    "subset": "the training boxes, or all of the videos, that a file names",
}


def fraction_of(percent: float, what: str) -> float:
    """Convert a decimal percentage, called `what` in errors, to a fraction without binary rounding.

    Raises:
        UsageError: not above 0, or more than 100.
    """
    if not 0 < percent <= 100:
        raise UsageError(f"{what} {percent:g}: it should be above 0 and at most 100 percent.")
    return float(Fraction(str(percent)) / 100)


@dataclass(frozen=True, kw_only=True)
class Share:
    """The requested training labels: a `fraction` of each class, `shots` per class, or the rows
    listed in the file `subset`. `draw` numbers the random draws of the first two.

    Raises:
        UsageError: two of these at once, or a number out of range.
    """

    fraction: float = 1.0
    draw: int = 0
    shots: int | None = None
    subset: Path | None = None

    def __post_init__(self) -> None:
        given = {
            f"fraction {self.fraction:g}": self.fraction != 1.0,
            f"shots {self.shots}": self.shots is not None,
            f"subset {self.subset}": self.subset is not None,
        }
        ways = [way for way, is_given in given.items() if is_given]
        if len(ways) > 1:
            raise UsageError(f"{' and '.join(ways)}: choose only one of them.")
        check_fraction(self.fraction)
        if self.shots is not None:
            check_shots(self.shots)
        check_draw(self.draw)
        if self.subset is not None and self.draw:
            raise UsageError(
                f"draw {self.draw}: the subset {self.subset} is not drawn; leave the draw out."
            )

    @property
    def way(self) -> str:
        """`whole`, `fraction`, `shots` or `subset`, a key of `RULES`."""
        if self.subset is not None:
            return "subset"
        if self.shots is not None:
            return "shots"
        return "whole" if self.fraction == 1.0 else "fraction"

    def __str__(self) -> str:
        if self.subset is not None:
            return f"the labels of {self.subset}"
        if self.way == "whole":
            return "all labels"
        of = "of the labels" if self.shots is None else "per class"
        return f"{share_title(self.fraction, self.shots)} {of}, draw {self.draw}"

    @property
    def options(self) -> dict[str, Any]:
        """The task options that request it; none for the whole split, where all draws are equal."""
        if self.subset is not None:
            return {"subset": self.subset}
        if self.shots is not None:
            return {"shots": self.shots, "draw": self.draw}
        return {} if self.way == "whole" else {"fraction": self.fraction, "draw": self.draw}


def share_title(fraction: float, shots: int | None) -> str:
    """Return the heading of a share in a table, such as `5 %` or `1 shot`."""
    if shots is None:
        return f"{100 * fraction:.10g} %"
    return f"{shots} {'shot' if shots == 1 else 'shots'}"


KEYS = (
    "fraction",
    "draw",
    "shots",
    "subset_sha256",
    "rule",
    "rows",
    "least",
    "most",
    "videos",
    "lost_classes",
    "lifted_classes",
    "short_classes",
    "split_sha256",
    "whole_sha256",
)


def low_shot_task(
    task: Task,
    *,
    fraction: float = 1.0,
    draw: int = 0,
    shots: int | None = None,
    subset: Path | None = None,
) -> Task:
    """Cut the training split of a task, and record in its options what was requested and drawn.

    Options: `fraction` or `shots` with `draw`, or `subset_sha256` (of the file's bytes); `rule`;
    `rows` drawn, with the `least` and `most` per class; `lifted_classes`, which got a row though
    the fraction rounds to none, or `short_classes`, which have fewer rows than shots. A cut split
    also has `split_sha256` (of its ids, see `write_split`) and `whole_sha256`, the digest of the
    manifest it was cut from. Boxes are drawn by whole videos: `least` and `most` count boxes per
    label, `videos` those drawn, `lost_classes` the labels without any box left.

    Raises:
        UsageError: two requests at once, a number out of range, or shots of boxes.
        DataError: a subset that cannot be read or lists rows that are not in the split.
    """
    return cut_task(task, Share(fraction=fraction, draw=draw, shots=shots, subset=subset))


def cut_task(task: Task, share: Share) -> Task:
    """Return `low_shot_task` for a share."""
    [cut] = cut_tasks(task, [share])
    return cut


def cut_tasks(task: Task, shares: Sequence[Share]) -> Iterator[Task]:
    """Yield `low_shot_task` for every share, permuting classes or videos once per draw."""
    permutations: dict[int, Permutation] = {}
    for share in shares:
        yield _cut(task, share, permutations)


def normalised_options(options: Settings, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Normalise a task's options so that equal shares of the labels have equal options.

    A fraction of 1 is left out together with the draw, because all draws of everything are equal;
    any other share has an explicit draw. `defaults` are those of the task; the options of tasks
    without shares are unchanged.
    """
    if not {"fraction", "draw"} <= defaults.keys():
        return dict(options)
    ways = ("fraction", "shots", "subset")
    kept = {k: v for k, v in options.items() if k not in ways or v != defaults.get(k)}
    if {"fraction", "shots"} & kept.keys():
        kept.setdefault("draw", defaults["draw"])
    elif defaults["fraction"] == 1.0 and "subset" not in kept:
        kept.pop("draw", None)
    return kept


def _cut(task: Task, share: Share, permutations: dict[int, Permutation]) -> Task:
    whole, way = task.fit, share.way
    rows = _rows(whole, share, permutations)
    fit = whole if rows is None or len(rows) == len(whole) else whole.subset(rows)
    sizes, taken = _class_sizes(whole), _class_sizes(fit)
    request = {"fraction": 1.0, "draw": 0} if way == "whole" else share.options
    if share.subset is not None:
        request = {"subset_sha256": file_sha256(share.subset)}
    facts: dict[str, Any] = {
        **request,
        "rule": (RULES if whole.regions is None else VIDEO_RULES)[way],
        "rows": len(fit),
        "least": int(taken.min()),
        "most": int(taken.max()),
    }
    if fit.regions is not None:
        facts["videos"] = len(np.unique(fit.regions.video))
        if way != "whole":
            facts["lost_classes"] = int(((sizes > 0) & (taken == 0)).sum())
    elif way == "fraction":
        # Half a row is rounded up, and compared as an integer that overflows no array.
        half_a_row = math.ceil(1 / (2 * Fraction(str(share.fraction))))
        facts["lifted_classes"] = int(((sizes > 0) & (sizes < half_a_row)).sum())
    if share.shots is not None:
        facts["short_classes"] = int((sizes < share.shots).sum())
    if way != "whole":
        facts |= {"split_sha256": split_digest(fit.ids), "whole_sha256": whole.digest}
    rest = {k: v for k, v in task.options.items() if k not in KEYS}
    return replace(task, fit=fit, options={**rest, **facts})


def _rows(whole: Manifest, share: Share, permutations: dict[int, Permutation]) -> IntArray | None:
    """Return the rows of a share, None for all of them."""
    if share.subset is not None:
        return named_rows(whole, share.subset)
    if share.way == "whole":
        return None
    if share.draw not in permutations:
        permutations[share.draw] = _permuted(whole, share.draw)
    drawn = permutations[share.draw]
    if share.shots is None:
        return drawn.fraction(share.fraction)
    if drawn.group is not None:
        raise UsageError(
            f"shots {share.shots}: the rows of {whole.name} are boxes with any number of labels,"
            " drawn by whole videos, so rows per class cannot be fixed; use a fraction."
        )
    return drawn.shots(share.shots)


def _permuted(whole: Manifest, draw: int) -> Permutation:
    if whole.regions is None:
        if whole.has_many_labels:
            raise UsageError(
                f"rows of {whole.name} may have several labels, so they cannot be drawn per class;"
                " use the whole split, or list the rows in a file (subset)."
            )
        return permuted(whole.labels, draw=draw, ids=whole.ids)
    return permuted_groups(whole.regions.video, whole.regions.videos, draw=draw)


def _class_sizes(manifest: Manifest) -> IntArray:
    """Return the number of rows with each label, int64 `[C]`."""
    if manifest.has_many_labels:
        return np.asarray(manifest.labels.sum(axis=0), dtype=np.int64)
    return np.bincount(manifest.labels, minlength=len(manifest.classes)).astype(np.int64)
