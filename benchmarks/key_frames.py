"""Takes of eight key frames against one key frame after another with plain PyAV.

`python benchmarks/key_frames.py` writes two films (two minutes, 320x240, 30 fps, a keyframe every
48 and every 250 frames) and makes clips of 16 frames with stride 4 around every second of them, to
the size of an encoder of 224 pixels. It prints medians of the processor time of interleaved runs,
in one process and one thread.
`one by one` opens the file for each key frame, seeks to the start of its clip and decodes until its
end; that it gives the same pixels is asserted. `takes, cold` probes the file first, as the first
take of a process does.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from bench.data.boxes.regions import RegionReadout, Regions
from bench.data.decode import recently_probed
from bench.data.loader import one_thread, samples
from bench.data.manifest import Manifest
from bench.data.views.clip_frames import key_clips
from bench.data.views.key_views import key_view
from bench.data.views.pixel_recipe import Recipe, keyframe_recipe
from bench.data.views.transforms import Pixels
from bench.types import ClipPlan, EncoderSpec, IntArray

SECONDS, FPS, WIDTH, HEIGHT, REPEATS = 120, 30, 320, 240, 3
SPEC = EncoderSpec(
    name="benchmark",
    width=768,
    depth=12,
    num_heads=12,
    num_frames=16,
    image_size=224,
    patch_size=16,
    tubelet_size=2,
    source="none",
)


def main() -> None:
    """Print the table."""
    print(f"{'film':8} {'s: one by one':>14} {'takes':>14} {'takes, cold':>14}")
    recipe = keyframe_recipe(SPEC, ClipPlan.parse("16@4"), RegionReadout(), "auto")
    with tempfile.TemporaryDirectory() as folder:
        for gop in (48, 250):
            print(row(write_panning(Path(folder) / f"gop{gop}.mp4", gop), recipe))


def row(path: Path, recipe: Recipe) -> str:
    """Time both ways on one film; ratios are against one by one."""
    manifest = boxes_of(path)
    rows = np.arange(len(manifest))
    assert manifest.regions is not None
    centres = manifest.regions.micros // 10**6 * FPS
    clips = key_clips(recipe.plan, SECONDS * FPS, centres)

    def cold() -> None:
        recently_probed._container.cache_clear()
        takes()

    def takes() -> None:
        for _ in samples(manifest, rows, recipe):
            pass

    def one_by_one() -> None:
        with one_thread():
            for clip in clips:
                plain_clip(path, clip, recipe)

    sample = next(iter(samples(manifest, rows[16:], recipe)))
    pixels = sample.pixels
    assert pixels is not None
    for moment, clip in enumerate(clips[16:24]):
        assert np.array_equal(pixels[0, moment].numpy(), plain_clip(path, clip, recipe))
    ways: dict[str, Callable[[], None]] = {"one": one_by_one, "takes": takes, "cold": cold}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            took[name].append(time.process_time() - start)
    seconds = {name: statistics.median(times) for name, times in took.items()}
    against = {n: f"{seconds[n]:6.2f} ({seconds['one'] / seconds[n]:4.2f}x)" for n in ways}
    return f"{path.stem:8} {seconds['one']:14.2f} {against['takes']:>14} {against['cold']:>14}"


def plain_clip(path: Path, clip: IntArray, recipe: Recipe) -> Pixels:
    """Open the film, seek to the first frame of a clip, and decode until its last one."""
    wanted = {int(number): None for number in clip}
    found: dict[int, Pixels] = {}
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        stream.codec_context.thread_count = 1
        assert stream.time_base is not None
        ticks = 1 / (stream.time_base * FPS)
        media.seek(int(clip.min() * ticks), stream=stream)
        for frame in media.decode(stream):
            assert frame.pts is not None
            number = int(frame.pts / ticks)
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24")
            if number >= clip.max():
                break
    frames = np.stack([found[number] for number in wanted])
    view = key_view(frames, recipe.view, size=recipe.size, patch=recipe.patch)[0]
    places = {number: place for place, number in enumerate(wanted)}
    return view[[places[int(number)] for number in clip]]


def boxes_of(path: Path) -> Manifest:
    """Return one box in every second of the film."""
    regions = Regions.of(
        videos=[path.stem],
        media=[path],
        video=np.zeros(SECONDS, dtype=np.int64),
        micros=np.arange(SECONDS, dtype=np.int64) * 10**6,
        corners=np.tile([0.2, 0.1, 0.6, 0.9], (SECONDS, 1)),
        start=0,
    )
    return Manifest(
        name="benchmark",
        split="val",
        kind="video",
        ids=[str(second) for second in range(SECONDS)],
        media=regions.by_row,
        labels=np.zeros((SECONDS, 1), dtype=np.int64),
        classes=["stand"],
        regions=regions,
    )


def write_panning(path: Path, gop: int) -> Path:
    """Write a texture that a camera pans over and back, with B-frames and no other keyframes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (HEIGHT // 8 + 40, WIDTH // 8 + 40, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    noise = rng.integers(-12, 13, (8, HEIGHT, WIDTH, 3), dtype=np.int16)
    with av.open(str(path), "w") as media:
        stream = media.add_stream("libx264", rate=FPS, options={"sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", gop
        for number in range(SECONDS * FPS):
            y, x = (abs(number * step % 600 - 300) for step in (1, 2))
            view = scene[y : y + HEIGHT, x : x + WIDTH] + noise[number % 8]
            frame = av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), format="rgb24")
            media.mux(stream.encode(frame))
        media.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
