"""Moving digits: the embedded data set, real scans that move over restless backgrounds.

One set of files, three tasks: *what* (ten digits: appearance), *how* (eight motions that no single
frame tells: motion) and *stills* (ten digits, one picture each). The files are rendered on first
use, see `tasks/digits/films.py`; how hard they are was chosen by measurement, see
`benchmarks/DIFFICULTY.md`. Training and test scans are disjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bench.config import home_folder
from bench.data.few_labels import low_shot_task
from bench.data.manifest import Manifest, Task
from bench.errors import UsageError
from bench.registry import task
from bench.types import ClipPlan, Kind
from tasks.digits.films import ensure_files
from tasks.digits.scenes import DIGITS, MOTIONS, PAIRS, Split

Size = Literal["full", "small"]
Label = Literal["what", "how"]

# Multiples of PAIRS: every digit does every motion equally often.
NUM_ROWS: dict[Size, dict[Split, int]] = {
    "full": {"train": 16 * PAIRS, "test": 8 * PAIRS},
    "small": {"train": 2 * PAIRS, "test": PAIRS},
}
# 22 of the 24 frames. Both tasks on the videos read the same clips and so share features.
VIDEO_PLAN = ClipPlan(num_frames=8, num_clips=1, num_views=1, stride=3)
STILL_PLAN = ClipPlan(num_frames=8, num_clips=1, num_views=1, stride=0)


@task
def moving_digits_what(
    *,
    data: Path | None = None,
    fraction: float = 1.0,
    draw: int = 0,
    shots: int | None = None,
    subset: Path | None = None,
    size: Size = "full",
) -> Task:
    """Embedded: which of 10 digits moves (appearance); 1,280 training and 640 test videos.

    The files are rendered below `data` (default: the home folder) on first use. `fraction` or
    `shots` a class, with `draw`, or the list `subset` cut the training split; `size="small"` takes
    the first 160 training and 80 test videos.
    """
    whole = _whole("what", "video", data, size)
    return low_shot_task(whole, fraction=fraction, draw=draw, shots=shots, subset=subset)


@task
def moving_digits_how(
    *,
    data: Path | None = None,
    fraction: float = 1.0,
    draw: int = 0,
    shots: int | None = None,
    subset: Path | None = None,
    size: Size = "full",
) -> Task:
    """Embedded: which of 8 motions a digit makes, told by no single frame; the videos of *what*.

    Options as for `moving_digits_what`.
    """
    whole = _whole("how", "video", data, size)
    return low_shot_task(whole, fraction=fraction, draw=draw, shots=shots, subset=subset)


@task
def moving_digits_stills(
    *,
    data: Path | None = None,
    fraction: float = 1.0,
    draw: int = 0,
    shots: int | None = None,
    subset: Path | None = None,
    size: Size = "full",
) -> Task:
    """Embedded: which of 10 digits a picture shows; the middle frames of the videos of *what*.

    Options as for `moving_digits_what`.
    """
    whole = _whole("what", "image", data, size)
    return low_shot_task(whole, fraction=fraction, draw=draw, shots=shots, subset=subset)


def _whole(label: Label, kind: Kind, data: Path | None, size: Size) -> Task:
    folder = home_folder(data)
    name = f"moving_digits_{label if kind == 'video' else 'stills'}"
    if size not in NUM_ROWS:
        raise UsageError(f"{name}: size {size!r} is unknown; write full or small.")
    fit = _manifest(name, label, kind, "train", folder, size)
    score = _manifest(name, label, kind, "test", folder, size)
    plan = VIDEO_PLAN if kind == "video" else STILL_PLAN
    title = label if kind == "video" else "stills"
    return Task(
        name=name,
        title=f"Moving digits: {title}",
        fit=fit,
        score=score,
        fit_plan=plan,
        score_plan=plan,
        flip=False,
        options={"size": size},
    )


def _manifest(
    name: str, label: Label, kind: Kind, split: Split, folder: Path, size: Size
) -> Manifest:
    num_rows = NUM_ROWS[size][split]
    paths = ensure_files(folder, kind, split, num_rows)
    digit, motion = np.divmod(np.arange(num_rows, dtype=np.int64) % PAIRS, len(MOTIONS))
    classes: Sequence[str] = DIGITS if label == "what" else tuple(MOTIONS)
    return Manifest(
        name=name,
        split=split,
        kind=kind,
        ids=[f"{split}/{path.name}" for path in paths],
        media=paths,
        labels=digit if label == "what" else motion,
        classes=classes,
        expected=num_rows,
        source="rendered from scikit-learn's digits",
    )
