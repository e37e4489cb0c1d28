"""Look at a task's files before any GPU time is spent, by decoding the frames that will be used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import registry
from bench.config import expand
from bench.data.check import CheckReport, check_manifest
from bench.data.clips import frame_indices, repeated_frames
from bench.data.decode import read_frames
from bench.data.images import read_image
from bench.types import ClipPlan, Kind, Progress, Task


def check_task(
    name: str, settings: Sequence[str], data: Path | None, workers: int, progress: Progress
) -> dict[str, CheckReport]:
    """Check both splits of a task; return the reports by split name.

    Raises:
        UsageError: no such task or option.
        DataError: the annotations themselves cannot be read.
    """
    prefixed = [s if s.startswith("task.") else f"task.{s}" for s in settings]
    [config] = expand({"encoder": "none", "task": name, "probe": "none"}, prefixed)
    task: Task = registry.build("tasks", name, config.settled_task_options(data))
    return {
        manifest.split: check_manifest(
            manifest,
            workers=workers,
            progress=progress,
            decode=partial(_decode, plan=plan, kind=task.kind),
        )
        for manifest, plan in ((task.fit, task.fit_plan), (task.score, task.score_plan))
    }


def decode_planned(path: Path, *, plan: ClipPlan, kind: Kind) -> tuple[str, int]:
    """Decode what `plan` takes of one file; return the decoder and the number of repeated frames.

    Raises:
        UnreadableMedia: it cannot be decoded.
    """
    if kind == "image":
        read_image(path)
        return "pillow", 0
    frames = read_frames(path, lambda num_frames, fps: frame_indices(plan, num_frames))
    return frames.decoder, repeated_frames(frames.index)


def _decode(path: Path, *, plan: ClipPlan, kind: Kind) -> None:
    decode_planned(path, plan=plan, kind=kind)
