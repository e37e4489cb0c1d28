"""One sorted read of all frames of a video against reading its clips one after another.

`python benchmarks/decode.py` writes two videos (340x256, 10 s, a keyframe every 12 and every 250
frames) and prints the medians of interleaved runs with one thread. `clip by clip` is what the
released V-JEPA evaluation does: decord reads the frames in the order of the clips.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from bench.data.decode.container import inspect
from bench.data.decode.decode import Pixels, read_frames
from bench.data.views.clip_frames import frame_indices
from bench.types import ClipPlan, IntArray

NUM_FRAMES, WIDTH, HEIGHT, REPEATS = 300, 340, 256, 5


def main() -> None:
    """Print the table."""
    print(
        f"{'video':8} {'plan':8} {'ms: clip by clip':>17} {'decord':>14} {'pyav':>14} {'probe':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for gop in (12, 250):
            path = write_panning(Path(folder) / f"gop{gop}.mp4", gop)
            for plan in (ClipPlan.parse("16x8@4", "vjepa"), ClipPlan.parse("16x2@4", "vjepa")):
                print(row(path, plan))


def row(path: Path, plan: ClipPlan) -> str:
    """Time the ways to read the clips of `plan`; ratios are against clip by clip."""

    def choose(num_frames: int, fps: float) -> IntArray:
        return frame_indices(plan, num_frames)

    clips = choose(NUM_FRAMES, 30.0)
    ways: dict[str, Callable[[], object]] = {
        "clips": lambda: clip_by_clip(path, clips),
        "decord": lambda: read_frames(path, choose, decoder="decord"),
        "pyav": lambda: read_frames(path, choose, decoder="pyav"),
        "probe": lambda: inspect(path),
    }
    frames = read_frames(path, choose, decoder="decord")
    assert frames.decoder == "decord"
    assert np.array_equal(frames.pixels[frames.index], clip_by_clip(path, clips))
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            took[name].append(1000 * (time.perf_counter() - start))
    ms = {name: statistics.median(times) for name, times in took.items()}
    against = {name: f"{ms[name]:6.0f} ({ms['clips'] / ms[name]:4.2f}x)" for name in ways}
    return (
        f"{path.stem:8} {plan.num_frames}x{plan.num_clips}@{plan.stride:<4} {ms['clips']:17.0f}"
        f" {against['decord']:>14} {against['pyav']:>14} {ms['probe']:7.1f}"
    )


def clip_by_clip(path: Path, clips: IntArray) -> Pixels:
    """Read `[S, T]` frames in the order of the clips, as the released evaluation does."""
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    pixels: Pixels = reader.get_batch(clips.reshape(-1).tolist()).asnumpy()
    return pixels.reshape(*clips.shape, *pixels.shape[1:])


def write_panning(path: Path, gop: int) -> Path:
    """Write a noisy texture that a camera pans over, with B-frames and no other keyframes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (HEIGHT // 8 + 80, WIDTH // 8 + 80, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    with av.open(str(path), "w") as media:
        stream = media.add_stream("libx264", rate=30, options={"sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", gop
        for number in range(NUM_FRAMES):
            y, x = number, 2 * number
            view = scene[y : y + HEIGHT, x : x + WIDTH].astype(np.int16)
            view += rng.integers(-12, 13, view.shape, dtype=np.int16)
            frame = av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), format="rgb24")
            media.mux(stream.encode(frame))
        media.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
