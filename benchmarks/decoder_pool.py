"""Decoding in killable child processes, beside the same decoding in this process.

    python -m benchmarks.decoder_pool [--videos 40]

Films of 10 seconds are read as 16x8 clips at 224 pixels, by the same function with one child and
without, in turn; the ratio is that of the fastest rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.data.decode.read_ahead import read_ahead
from bench.data.loader import read_view
from bench.types import ClipPlan
from tests.features import small
from tests.media import write_video

ROUNDS = 5


def main() -> None:
    """Print wall seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=40)
    count = parser.parse_args().videos
    torch.set_num_threads(1)
    plan = ClipPlan(num_frames=16, num_clips=8, num_views=1, stride=4)
    recipe = replace(small.RECIPE, plan=plan, size=224, decoder="pyav")
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            write_video(Path(folder) / f"{number}.mp4", 250, size=(340, 256), gop=12)
            for number in range(count)
        ]
        calls = [(read_view, path, {"recipe": recipe, "seed": (0, 0, 0)}) for path in paths]

        def plain() -> list[np.ndarray]:
            return [read_view(path, recipe=recipe, seed=(0, 0, 0)).pixels[0, 0] for path in paths]

        def pooled() -> list[np.ndarray]:
            return [found.pixels[0, 0] for found in read_ahead(calls, workers=0, ahead=1)]

        seconds: dict[str, list[float]] = {"in this process": [], "in a child": []}
        for _ in range(ROUNDS):
            for name, work in (("in this process", plain), ("in a child", pooled)):
                taken, _frames = timed(work)
                seconds[name].append(taken)
        assert all(map(np.array_equal, plain(), pooled()))
    for name, taken in seconds.items():
        print(f"{name:16s} {1000 * min(taken) / count:7.1f} ms a film")
    ratio = min(seconds["in a child"]) / min(seconds["in this process"])
    print(f"ratio            {ratio:7.2f}")


def timed(work: Callable[[], list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
    """Return the wall seconds that `work` takes, and its result."""
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


if __name__ == "__main__":
    main()
