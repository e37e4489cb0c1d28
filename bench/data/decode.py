"""Frame numbers to pixels: every frame of a video that is needed, once, whatever asks for it.

Numbers are in presentation order, after edit lists. All clips of a video are read as one sorted
set without repeats, with one thread: four times faster than clip by clip where keyframes are rare,
and several decoders return wrong frames when they have to go backwards.

decord is used where it is exact, since published numbers were made with it; PyAV where the
container is unusual (edit list, MPEG-TS, open GOP, variable rate, more than 8 bits, ...). Of damage
inside a file PyAV reports nearly all; decord conceals what its FFmpeg can conceal.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.container import Container, inspect
from bench.data.stream import Damage, decoded, open_video, unreadable
from bench.errors import UsageError, known
from bench.types import IntArray

Pixels = npt.NDArray[np.uint8]
DECODERS = ("auto", "decord", "pyav", "torchcodec")

# Where a decoder counts or seeks wrongly, so that it is not used even if asked for.
INEXACT = {
    "decord": ("edit list", "open GOP", "no frame table", "ends early"),
    "torchcodec": ("open GOP", "no frame table", "ends early"),
}

# Frames between here and a later keyframe from which on a seek is cheaper than decoding them.
SEEK_GAP = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Distinct frames of a video and where they stand in its clips.

    `pixels` is uint8 RGB `[U, H, W, 3]` in presentation order, upright; `index` `[S, T]` are rows
    of it, so that `pixels[index]` are the clips. `decoder` names what was used, with the reason
    where it is not what was asked for. `rotation` is how far (degrees clockwise) the stored picture
    was turned; `num_frames` and `fps` are those of the whole video.
    """

    pixels: Pixels
    index: IntArray
    num_frames: int
    fps: float
    decoder: str
    rotation: int


def read_frames(
    path: Path, choose: Callable[[int, float], IntArray], *, decoder: str = "auto"
) -> Frames:
    """Decode the frames that `choose(num_frames, fps)` names as numbers `[S, T]`.

    `decoder` is one of `DECODERS`; whichever it is, frame n is the same frame. Where decord or
    torchcodec fails on a file, or is known to be inexact, PyAV reads it. A frame that cannot be
    decoded is never replaced by another one.

    Raises:
        UnreadableMedia: the file is no video, or a frame that is needed is damaged or missing.
        UsageError: there is no such decoder, or it is not installed.
    """
    name = known("decoder", decoder, DECODERS)
    if name in ("decord", "torchcodec") and find_spec(name) is None:
        raise UsageError(
            f"decoder {name!r} is not installed; pip install {name}, or use decoder='pyav'."
        )
    container = inspect(path)
    chosen = np.asarray(choose(container.num_frames, container.fps), dtype=np.int64)
    wanted, index = np.unique(chosen, return_inverse=True)
    assert 0 <= wanted[0] <= wanted[-1] < container.num_frames, (wanted, container.num_frames)
    if name == "auto":
        name = "pyav" if container.unusual or find_spec("decord") is None else "decord"
    if name != "pyav":
        read = _read_decord if name == "decord" else _read_torchcodec
        try:
            _refuse_where_inexact(name, container)
            pixels = read(path, wanted, container)
        except _Refusal as refusal:
            name = f"pyav ({name}: {refusal})"
    if name.startswith("pyav"):
        pixels = _read_pyav(path, wanted, container)
    return Frames(
        pixels=pixels,
        index=index.reshape(chosen.shape).astype(np.int64),
        num_frames=container.num_frames,
        fps=container.fps,
        decoder=name,
        rotation=container.rotation,
    )


def decoder_versions(decoder: str) -> dict[str, str]:
    """Return the versions of everything that `decoder` may decode with, PyAV's FFmpeg included.

    Raises:
        UsageError: there is no such decoder.
    """
    import av

    name = known("decoder", decoder, DECODERS)
    versions = {"pyav": av.__version__}
    versions["libavcodec"] = ".".join(str(part) for part in av.library_versions["libavcodec"])
    versions["libswscale"] = ".".join(str(part) for part in av.library_versions["libswscale"])
    if name in ("auto", "decord") and find_spec("decord") is not None:
        import decord

        versions["decord"] = decord.__version__
    if name == "torchcodec" and find_spec("torchcodec") is not None:
        versions["torchcodec"] = version("torchcodec")
    return versions


class _Refusal(Exception):  # noqa: N818 (not a failure: another decoder takes over)
    """A decoder cannot be trusted with this file; the text is the reason, in a few words."""


def _refuse_where_inexact(decoder: str, container: Container) -> None:
    traits = [trait for trait in container.unusual if trait in INEXACT[decoder]]
    if traits:
        raise _Refusal(f"inexact with {' and '.join(traits)}")


def _read_decord(path: Path, wanted: IntArray, container: Container) -> Pixels:
    """decord applies the rotation itself."""
    import decord  # loads an FFmpeg of its own
    from decord._ffi.base import DECORDError, DECORDLimitReachedError

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # Unless told to tolerate less than one, it fills in a neighbour for a frame it misses.
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1, fault_tol=1e-9)
        if len(reader) != container.num_frames:
            raise _Refusal(f"finds {len(reader)} frames, not {container.num_frames}")
        pixels: Pixels = reader.get_batch(wanted.tolist()).asnumpy()
    except DECORDLimitReachedError as error:
        raise _Refusal("misses frames") from error
    except (DECORDError, RuntimeError) as error:
        raise _Refusal(_in_short(error)) from error
    return pixels


def _read_torchcodec(path: Path, wanted: IntArray, container: Container) -> Pixels:
    """torchcodec applies the rotation itself where its metadata know of one (from 0.11 on)."""
    try:
        from torchcodec.decoders import VideoDecoder

        reader: Any = VideoDecoder(
            str(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC"
        )
        if len(reader) != container.num_frames:
            raise _Refusal(f"finds {len(reader)} frames, not {container.num_frames}")
        pixels: Pixels = reader.get_frames_at(wanted.tolist()).data.numpy()
    except (ImportError, OSError, RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, ImportError | OSError) or "libtorchcodec" in str(error):
            raise UsageError(
                f"torchcodec does not load ({_in_short(error)}): install FFmpeg's libraries and a"
                " build that fits torch, or use decoder='pyav'."
            ) from error
        raise _Refusal(_in_short(error)) from error
    return pixels if hasattr(reader.metadata, "rotation") else _upright(pixels, container)


def _read_pyav(path: Path, wanted: IntArray, container: Container) -> Pixels:
    """PyAV leaves the rotation to us."""
    found: dict[int, Pixels] = {}
    reason = _collect(path, wanted, container, container.keys, found)
    missing = wanted[[number not in found for number in wanted.tolist()]]
    if len(missing) and len(container.keys):
        # A seek may land where the decoder does not recover: once more from the beginning.
        reason = _collect(path, missing, container, container.keys[:0], found)
        missing = wanted[[number not in found for number in wanted.tolist()]]
    if len(missing):
        raise unreadable(path, f"frame {missing[0]} of {container.num_frames}: {reason}")
    frames = [found[number] for number in wanted.tolist()]
    if len({frame.shape for frame in frames}) > 1:
        raise unreadable(path, "its frames are not all of the same size")
    return _upright(np.stack(frames), container)


def _collect(
    path: Path, wanted: IntArray, container: Container, keys: IntArray, found: dict[int, Pixels]
) -> str:
    """Put the `wanted` frames into `found`, as far as they decode; return why others did not."""
    from av.video.reformatter import VideoReformatter

    to_rgb: Any = VideoReformatter()  # keeps its tables from frame to frame
    with open_video(path) as (media, stream):
        try:
            for number, frame in _forward(media, stream, wanted, container.times, keys):
                found[number] = to_rgb.reformat(frame, format="rgb24").to_ndarray()
        except Damage as damage:
            return str(damage)
    return "it is not among the frames that decode"


def _forward(
    media: Any, stream: Any, wanted: IntArray, times: IntArray, keys: IntArray
) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) for the wanted numbers in order, seeking over gaps where that pays."""
    waiting = deque(wanted.tolist())
    position = -1

    def keyframe_ahead() -> int | None:
        before = int(np.searchsorted(keys, waiting[0], side="right")) - 1
        is_far = before >= 0 and keys[before] > position + SEEK_GAP
        return int(keys[before]) if is_far else None

    while waiting:
        key = keyframe_ahead()
        if key is not None:
            media.seek(int(times[key]), stream=stream)
        for number, frame in _numbered(decoded(media, stream), times):
            position = number
            if number < waiting[0]:
                continue
            if number == waiting[0]:
                yield number, frame
            while waiting and waiting[0] <= number:
                waiting.popleft()
            if not waiting or keyframe_ahead() is not None:
                break
        else:
            return


def _numbered(frames: Iterator[Any], times: IntArray) -> Iterator[tuple[int, Any]]:
    """Number frames by their times, or count them from the first where there is no such table."""
    if len(times) == 0:
        yield from enumerate(frames)
        return
    numbers = {time: number for number, time in enumerate(times.tolist())}
    for frame in frames:
        if frame.pts in numbers:
            yield numbers[frame.pts], frame


def _upright(pixels: Pixels, container: Container) -> Pixels:
    quarter_turns = -container.rotation // 90  # numpy turns the other way
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns, axes=(1, 2)))


def _in_short(error: Exception) -> str:
    """The first line of a message without source positions, addresses and times of day."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: (\[.*?\])?", "", line)
    return text.split(" (")[0].rstrip(".")[:90]
