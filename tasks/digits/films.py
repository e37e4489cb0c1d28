"""The media files of moving_digits, rendered on first use.

    moving_digits/v2/rendering.json
    moving_digits/v2/videos/train/0000.mp4  ...  videos/test/0639.mp4
    moving_digits/v2/stills/train/0000.png  ...  stills/test/0639.png

A still is the middle frame of the video with the same number, without video compression.
"""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from bench.types import Kind
from tasks.digits import rendered_files
from tasks.digits.rendered_files import CODEC, claim, ensure_rendered
from tasks.digits.scenes import LOOK, Pixels, ScanSplit, digest_of, render, scans, scene

FOLDER = "moving_digits/v2"
FPS = 12


def ensure_files(data: Path, kind: Kind, split: ScanSplit, num_rows: int) -> list[Path]:
    """Return the files of the first `num_rows` rows below `data`, rendering missing ones.

    Raises:
        DataError: the folder has files rendered with other settings.
        BenchError: the files cannot be written.
    """
    root = data / FOLDER
    look = asdict(LOOK)
    facts = {"digest": digest_of(look), "look": look, "fps": FPS, "codec": CODEC}
    claim(root, facts, what="moving digits")
    folder = root / ("videos" if kind == "video" else "stills") / split
    suffix = "mp4" if kind == "video" else "png"

    def make(row: int) -> bytes:
        content = scene(split, row)
        if kind == "video":
            return encode_video(render(content))
        return encode_still(render(content.still()))

    scans()  # fills the cache before the threads start
    names = [f"{row:04d}.{suffix}" for row in range(num_rows)]
    return ensure_rendered(folder, names, make, what=f"{split} files")


def encode_video(frames: Pixels) -> bytes:
    """Return frames `[T, H, W, 3]` as an mp4 file: h264, 4:2:0, 12 fps."""
    return rendered_files.encode_video(frames, fps=FPS)


def encode_still(frames: Pixels) -> bytes:
    """Return a frame `[1, H, W, 3]` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(frames[0]).save(file, format="png")
    return file.getvalue()
