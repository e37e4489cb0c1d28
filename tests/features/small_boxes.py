"""A data set of tiny videos with boxes on key frames, for the encoder of `tests.features.small`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.boxes.regions import RegionReadout, Regions
from bench.data.manifest import Manifest
from bench.data.views.pixel_recipe import keyframe_recipe
from bench.types import ClipPlan
from tests.features.small import tiny_encoder
from tests.media import write_video

FPS = 6
PLAN = ClipPlan(num_frames=4, num_clips=1, num_views=1, stride=2)
REGION = RegionReadout(num_layers=2, bins=2)
RECIPE = keyframe_recipe(tiny_encoder().spec, PLAN, REGION, "auto")
FLIPPED = keyframe_recipe(tiny_encoder().spec, PLAN, REGION, "auto", flip=True, seed=3)

# Key frames of each video, by seconds; the first has more than a take of eight.
SECONDS = (range(1, 13), range(1, 4), range(2, 6))
SIZES = ((48, 32), (32, 48), (48, 32))


def make_box_videos(folder: Path) -> list[Path]:
    """Write three videos of two shapes that hold the key frames of `SECONDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.mp4" for name in "abc"]
    for path, seconds, size in zip(paths, SECONDS, SIZES, strict=True):
        write_video(path, (max(seconds) + 1) * FPS, size=size, fps=FPS)
    return paths


def make_box_manifest(
    paths: list[Path], seconds: Sequence[Sequence[float]] = SECONDS, **how: Any
) -> Manifest:
    """One, two or three boxes on each key frame, with several labels or none each."""
    rng = np.random.default_rng(0)
    video, micros, corners = [], [], []
    for number, of in enumerate(seconds):
        for second in of:
            for _ in range(1 + (second + number) % 3):
                video.append(number)
                micros.append(second * 1_000_000)
                corners.append(np.sort(rng.random((2, 2)), axis=0).reshape(4).round(3))
    regions = Regions.of(
        videos=[path.stem for path in paths],
        media=paths,
        video=np.array(video, dtype=np.int64),
        micros=np.array(micros, dtype=np.int64),
        corners=np.array(corners),
        start=0.0,
        **how,
    )
    labels = (rng.random((len(video), 3)) < 0.4).astype(np.int64)
    return Manifest(
        name="boxes",
        split="train",
        kind="video",
        ids=[f"{v},{m},{c}" for v, m, c in zip(video, micros, corners, strict=True)],
        media=regions.by_row,
        labels=labels,
        classes=["stand", "talk", "carry"],
        regions=regions,
    )
