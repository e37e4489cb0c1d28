"""decord and torchcodec: frames by number, for files on which they are exact."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.decode.container import Container
from bench.data.decode.limits import fits
from bench.data.media.media import Source
from bench.errors import UsageError
from bench.types import IntArray

Pixels = npt.NDArray[np.uint8]

# Traits with which a decoder counts or seeks wrongly, or may show another picture or stream: it is
# not used even on request.
OTHER_PICTURE = ("several video streams", "a turned picture")
INEXACT = {
    "decord": ("edit list", "open GOP", "no frame table", "ends early", *OTHER_PICTURE),
    "torchcodec": ("open GOP", "no frame table", "ends early", *OTHER_PICTURE),
}


class Refusal(Exception):  # noqa: N818 (not a failure: another decoder takes over)
    """A decoder cannot be trusted with this file; the text is the reason, in a few words."""


def read_elsewhere(decoder: str, source: Source, wanted: IntArray, container: Container) -> Pixels:
    """Return the frames with these numbers, uint8 `[U, H, W, 3]`, from decord or torchcodec.

    Raises:
        Refusal: the decoder is known to be inexact with the file, fails, or gives another picture.
        UsageError: torchcodec does not load.
    """
    traits = [trait for trait in container.unusual if trait in INEXACT[decoder]]
    if traits:
        raise Refusal(f"inexact with {' and '.join(traits)}")
    picture = container.picture
    if not fits(picture.height, picture.width, len(wanted)):  # it has no small steps
        raise Refusal("too many frames at once")
    read = _read_decord if decoder == "decord" else _read_torchcodec
    pixels = read(source, wanted, container)
    if pixels.shape[1:3] != picture.shown:
        raise Refusal(f"gives {pixels.shape[2]} x {pixels.shape[1]} pixels, not {picture}")
    return pixels


def _read_decord(source: Source, wanted: IntArray, container: Container) -> Pixels:
    import decord  # loads an FFmpeg of its own
    from decord._ffi.base import DECORDError, DECORDLimitReachedError

    decord.logging.set_level(decord.logging.QUIET)
    # With a tolerance of one or more frames, it substitutes a neighbour for a frame it misses.
    settings = {"ctx": decord.cpu(0), "num_threads": 1, "fault_tol": 1e-9}
    try:
        if isinstance(source, Path):
            reader = decord.VideoReader(str(source), **settings)
        else:
            source.seek(0)
            reader = decord.VideoReader(source, **settings)
            # It leaves its copy of the bytes in a reference cycle, and hundreds would pile up.
            gc.collect(0)
        if len(reader) != container.num_frames:
            raise Refusal(f"finds {len(reader)} frames, not {container.num_frames}")
        pixels: Pixels = reader.get_batch(wanted.tolist()).asnumpy()
    except DECORDLimitReachedError as error:
        raise Refusal("misses frames") from error
    except (DECORDError, RuntimeError, AssertionError) as error:  # it asserts that there are frames
        raise Refusal(_in_short(error)) from error
    return pixels


def _read_torchcodec(source: Source, wanted: IntArray, container: Container) -> Pixels:
    try:
        from torchcodec.decoders import VideoDecoder

        reader: Any = VideoDecoder(
            str(source) if isinstance(source, Path) else source.getvalue(),
            seek_mode="exact",
            num_ffmpeg_threads=1,
            dimension_order="NHWC",
        )
        if len(reader) != container.num_frames:
            raise Refusal(f"finds {len(reader)} frames, not {container.num_frames}")
        pixels: Pixels = reader.get_frames_at(wanted.tolist()).data.numpy()
    except (ImportError, OSError, RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, ImportError | OSError) or "libtorchcodec" in str(error):
            raise UsageError(
                f"torchcodec does not load ({_in_short(error)}): install FFmpeg's libraries and a"
                " build that fits torch, or use decoder='pyav'."
            ) from error
        raise Refusal(_in_short(error)) from error
    return pixels


def _in_short(error: Exception) -> str:
    """Return the first line of a message without source positions, addresses and times of day."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: (\[.*?\])?", "", line)
    return text.split(" (")[0].rstrip(".")[:90]
