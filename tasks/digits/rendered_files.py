"""Files that the embedded data sets render on first use: complete or absent, and bit-identical.

Rendering may be killed at any time, and several processes may render into one folder: each adds
the missing files, and the bytes are the same.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av

from bench.errors import DataError
from bench.files import parse_json, remove_leftovers, write_whole
from tasks.digits.scenes import Pixels

log = logging.getLogger(__name__)

# Settings that make the bytes reproducible with one build of libx264: one thread, no muxer version
# strings, and no macroblock tree, whose SIMD code varies between calls on frames this small.
CODEC = {"crf": "18", "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
CONTAINER = {"fflags": "+bitexact"}
MAX_THREADS = 8


def ensure_rendered(
    folder: Path, names: Sequence[str], make: Callable[[int], bytes], *, what: str
) -> list[Path]:
    """Return the files `names` of a folder, rendering missing ones.

    `make` returns the bytes of a file by its index; `what` is for messages, as in "train files".

    Raises:
        BenchError: the files cannot be written.
    """
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    paths = [folder / name for name in names]
    missing = [index for index, name in enumerate(names) if name not in present]
    if missing:
        log.info("rendering %d of %d %s into %s", len(missing), len(names), what, folder)
        remove_leftovers(folder)
        _on_all_cores(lambda index: write_whole(paths[index], make(index)), missing)
    return paths


def claim(root: Path, facts: Mapping[str, Any], *, what: str) -> None:
    """Record the render settings of a folder, or check that they match; `what` is for messages.

    Raises:
        DataError: the folder has files rendered with other settings.
        BenchError: the note cannot be written.
    """
    settings = json.loads(json.dumps(facts))
    note = root / "rendering.json"
    try:
        found = parse_json(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_whole(note, json.dumps(settings, indent=1).encode())
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{note} cannot be read ({error}); remove the folder {root}.") from error
    if found != settings:
        raise DataError(
            f"{root} has {what} that were rendered with other settings (see {note.name});"
            " remove the folder to render them again."
        )


def encode_video(frames: Pixels, *, fps: int) -> bytes:
    """Return frames `[T, H, W, 3]` as an mp4 file: h264, 4:2:0."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options=CONTAINER) as container:
        stream = container.add_stream("libx264", rate=fps, options=CODEC)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _on_all_cores(make: Callable[[int], None], indices: Sequence[int]) -> None:
    """Call `make` with every index in threads; numpy and libx264 release the GIL."""
    from threadpoolctl import threadpool_limits  # changes the environment on import

    # One BLAS thread each: nested thread pools were seen to spin forever.
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    with threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
        list(pool.map(make, indices))  # re-raises errors and cancels the rest
