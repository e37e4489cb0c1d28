"""Deterministic views in uint8 against the same views made in float32.

Prints, per source size, milliseconds for a 16-frame clip (decoded pixels to normalised views at
224 pixels, one thread) and the ratio to ours. Run: `python benchmarks/transforms.py`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from bench.data.views.augment import augment
from bench.data.views.transforms import Pixels, normalise, score_views
from bench.types import IMAGENET_MEAN, IMAGENET_STD

SIZE = 224


def ours(pixels: Pixels, num_views: int) -> torch.Tensor:
    """Resize in uint8, crop, then convert: `[V, 3, T, size, size]`."""
    views = score_views(pixels, size=SIZE, num_views=num_views, kind="video")
    return normalise(torch.from_numpy(views), IMAGENET_MEAN, IMAGENET_STD)


def float_first(pixels: Pixels, num_views: int, *, planar: bool) -> torch.Tensor:
    """Convert, scale to [0, 1], normalise, resize, crop; on planes or interleaved channels."""
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    frames = frames.contiguous() if planar else frames
    shape = (1, 3, 1, 1)
    mean = torch.tensor(IMAGENET_MEAN).view(shape)
    std = torch.tensor(IMAGENET_STD).view(shape)
    values = (frames.float() / 255 - mean) / std
    short = SIZE if num_views > 1 else SIZE * 256 // 224
    height, width = short, short * pixels.shape[2] // pixels.shape[1]
    values = functional.interpolate(
        values, size=(height, width), mode="bilinear", align_corners=False
    )
    if num_views == 1:
        corners = [(round((height - SIZE) / 2), round((width - SIZE) / 2))]
    else:
        corners = [(0, v * ((width - SIZE) // (num_views - 1))) for v in range(num_views)]
    crops = [values[:, :, y : y + SIZE, x : x + SIZE].transpose(0, 1) for y, x in corners]
    return torch.stack(crops)


def milliseconds(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each, taken in turns so that a busy machine slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(repeats + 1):
        for name, function in candidates.items():
            start = time.perf_counter()
            function()
            if turn:  # the first turn warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure both source sizes with one and three views, and print the ratios."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    for width, height in ((340, 256), (426, 320)):
        pixels = generator.integers(0, 256, (16, height, width, 3), dtype=np.uint8)
        for num_views in (1, 3):
            _compare(pixels, num_views)
    for name in ("vjepa_paper", "vjepa_released"):
        print(f"426x320 to {name}, mean of 8 draws: {_augmenting(name, pixels):.1f} ms")


def _augmenting(name: str, pixels: Pixels) -> float:
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(8):
        augment(name, pixels, size=SIZE, mean=IMAGENET_MEAN, std=IMAGENET_STD, flip=True, rng=rng)
    return 1000 * (time.perf_counter() - start) / 8


def _compare(pixels: Pixels, num_views: int) -> None:
    apart = (ours(pixels, num_views) - float_first(pixels, num_views, planar=True)).abs().max()
    assert apart < 1.01 / 255 / min(IMAGENET_STD), f"{apart}: more than one grey level"
    spent = milliseconds(
        {
            "ours": lambda: ours(pixels, num_views),
            "planar": lambda: float_first(pixels, num_views, planar=True),
            "interleaved": lambda: float_first(pixels, num_views, planar=False),
        },
        repeats=9,
    )
    height, width = pixels.shape[1:3]
    print(
        f"{width}x{height} to {num_views} x {SIZE}: uint8 then float {spent['ours']:.1f} ms;"
        f" float first {spent['planar']:.1f} ms ({spent['planar'] / spent['ours']:.1f}x),"
        f" interleaved {spent['interleaved']:.1f} ms"
        f" ({spent['interleaved'] / spent['ours']:.1f}x)"
    )


if __name__ == "__main__":
    main()
