"""Moving digits, the embedded data set: real scans that move over changing backgrounds.

One set of files, three tasks: *what* (ten digits: appearance), *how* (eight motions, not visible in
any single frame) and *stills* (ten digits, one image each). Files are rendered on first use
(`tasks/digits/films.py`); their difficulty was tuned by measurement (`benchmarks/DIFFICULTY.md`).
Training and test scans are disjoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bench.config import home_folder
from bench.data.few_labels import Share, cut_task
from bench.data.manifest import Manifest, Task
from bench.errors import UsageError
from bench.registry import grouped, task
from bench.types import ClipPlan, Kind
from tasks.digits.films import ensure_files
from tasks.digits.scenes import DIGITS, MOTIONS, PAIRS, ScanSplit, Size

Question = Literal["what", "how"]

# Multiples of PAIRS: every digit does every motion equally often.
NUM_ROWS: dict[Size, dict[ScanSplit, int]] = {
    "full": {"train": 16 * PAIRS, "test": 8 * PAIRS},
    "small": {"train": 2 * PAIRS, "test": PAIRS},
}
# 22 of the 24 frames. Both video tasks read the same clips and so share features.
VIDEO_PLAN = ClipPlan(num_frames=8, num_clips=1, num_views=1, stride=3)
STILL_PLAN = ClipPlan(num_frames=8, num_clips=1, num_views=1, stride=0)


def _embedded(label: Question, kind: Kind) -> Callable[[Callable[[], None]], Callable[..., Task]]:
    """Register one of the tasks under the name and the docstring of a function."""

    def decorate(declared: Callable[[], None]) -> Callable[..., Task]:
        def build(*, data: Path | None = None, share: Share, size: Size = "full") -> Task:
            folder, name = home_folder(data), declared.__name__
            if size not in NUM_ROWS:
                raise UsageError(f"{name}: size {size!r} is unknown; use full or small.")
            plan = VIDEO_PLAN if kind == "video" else STILL_PLAN
            whole = Task(
                name=name,
                title=f"Moving digits: {name.removeprefix('moving_digits_')}",
                fit=_manifest(name, label, kind, "train", folder, size),
                score=_manifest(name, label, kind, "test", folder, size),
                fit_plan=plan,
                score_plan=plan,
                flip=False,
                options={"size": size},
            )
            return cut_task(whole, share)

        return task(grouped(build, declared))

    return decorate


@_embedded("what", "video")
def moving_digits_what() -> None:
    """Embedded: which of 10 digits moves (appearance); 1,280 training and 640 test videos.

    Files are rendered into `data` (default: the home folder) on first use. `fraction` or `shots`
    per class, with `draw`, or the list `subset`, selects training rows; `size="small"` takes the
    first 160 training and 80 test videos.
    """


@_embedded("how", "video")
def moving_digits_how() -> None:
    """Embedded: which of 8 motions a digit makes (not visible in one frame); the videos of *what*.

    Options as for `moving_digits_what`.
    """


@_embedded("what", "image")
def moving_digits_stills() -> None:
    """Embedded: which of 10 digits an image shows; the middle frames of the videos of *what*.

    Options as for `moving_digits_what`.
    """


def _manifest(
    name: str, label: Question, kind: Kind, split: ScanSplit, folder: Path, size: Size
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
