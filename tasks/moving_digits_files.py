"""The media files of moving_digits, rendered on first use.

    moving_digits/v2/rendering.json
    moving_digits/v2/videos/train/0000.mp4  ...  videos/test/0639.mp4
    moving_digits/v2/stills/train/0000.png  ...  stills/test/0639.png

A still is the middle frame of the video with the same number, without its compression. A file
appears whole or not at all, so rendering may be killed at any time, and several processes may
render into one folder: each makes what is missing, and the bytes are the same.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import av
from PIL import Image

from bench.errors import DataError
from bench.files import remove_leftovers, write_whole
from bench.types import Kind
from tasks.moving_digits_scenes import LOOK, Pixels, Split, render, scene

log = logging.getLogger(__name__)

FOLDER = "moving_digits/v2"
FPS = 12
# One build of libx264 gives the same bytes: one thread, no version strings of the muxer, and no
# macroblock tree, whose vector code differs from call to call on frames as small as these.
CODEC = {"crf": "18", "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
CONTAINER = {"fflags": "+bitexact"}
MAX_THREADS = 8


def ensure_files(data: Path, kind: Kind, split: Split, num_rows: int) -> list[Path]:
    """Return the files of the first `num_rows` rows below `data`, rendering those not there yet.

    Raises:
        DataError: the folder holds files that were rendered with other settings.
        BenchError: the files cannot be written.
    """
    root = data / FOLDER
    _claim(root)
    folder = root / ("videos" if kind == "video" else "stills") / split
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    suffix = "mp4" if kind == "video" else "png"
    paths = [folder / f"{row:04d}.{suffix}" for row in range(num_rows)]
    missing = [row for row in range(num_rows) if paths[row].name not in present]
    if missing:
        log.info("rendering %d of %d %s files into %s", len(missing), num_rows, split, folder)
        remove_leftovers(folder)
        _render_all([(row, paths[row]) for row in missing], kind, split)
    return paths


def encode_video(frames: Pixels) -> bytes:
    """Return frames `[T, H, W, 3]` as an mp4 file: h264, 4:2:0, 12 fps."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options=CONTAINER) as container:
        stream = container.add_stream("libx264", rate=FPS, options=CODEC)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def encode_still(frames: Pixels) -> bytes:
    """Return the only frame of `[1, H, W, 3]` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(frames[0]).save(file, format="png")
    return file.getvalue()


def _render_all(wanted: Sequence[tuple[int, Path]], kind: Kind, split: Split) -> None:
    """Render on all cores; numpy and libx264 leave Python's lock while they work."""
    from threadpoolctl import threadpool_limits  # changes the environment when it is imported

    def make(item: tuple[int, Path]) -> None:
        row, path = item
        content = scene(split, row)
        if kind == "video":
            write_whole(path, encode_video(render(content)))
        else:
            write_whole(path, encode_still(render(content.still())))

    scene(split, 0)  # reads the scans once, before the threads do
    # One thread each for the small products inside: threads of threads were seen to spin forever.
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
        pending = [pool.submit(make, item) for item in wanted]
        try:
            for future in pending:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _claim(root: Path) -> None:
    """Write down how the files of a folder are rendered, or check that it is how we do it."""
    facts = {"digest": LOOK.digest, "look": asdict(LOOK), "fps": FPS, "codec": CODEC}
    wanted = json.loads(json.dumps(facts))
    note = root / "rendering.json"
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_whole(note, json.dumps(wanted, indent=1).encode())
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{note} cannot be read ({error}); remove the folder {root}.") from error
    if found != wanted:
        raise DataError(
            f"{root} holds moving digits that were rendered with other settings (see {note.name});"
            " remove the folder, and they are rendered anew."
        )
