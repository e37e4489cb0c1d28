"""Frame numbers to pixels: every frame of a video that is needed is decoded exactly once.

Numbers are in presentation order, after edit lists. All clips of a video are read as one sorted
set without repeats, with one thread: four times faster than clip by clip if keyframes are rare,
and several decoders return wrong frames when they have to seek backwards.

decord is used if it is exact, since published numbers were made with it; PyAV if the container is
unusual (edit list, MPEG-TS, open GOP, variable rate, more than 8 bits, ...). PyAV reports nearly
all damage inside a file; decord conceals what its FFmpeg can conceal. A part of an archive is
decoded from memory, by the same code; a folder of frames by Pillow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.decode.container import Container
from bench.data.decode.frame_folder import read_pictures
from bench.data.decode.open_video import Damage, decoded, open_video
from bench.data.decode.other_decoders import Pixels as Pixels
from bench.data.decode.other_decoders import (
    Refusal,
    read_decord,
    read_torchcodec,
    refuse_where_inexact,
    upright,
)
from bench.data.decode.recently_probed import inspected, listed_pictures
from bench.data.media.media import FrameFolder, Media, Source, opened, unreadable
from bench.errors import UsageError, known
from bench.types import IntArray

Shrink = Callable[[Pixels], Pixels]  # frames [n, H, W, 3], any n, to as many [n, h, w, 3]

DECODERS = ("auto", "decord", "pyav", "torchcodec")

# Beyond this many frames to a later keyframe, seeking is cheaper than decoding.
SEEK_GAP = 24

SHRUNK_AT_ONCE = 8  # frames: torch takes twice as long per frame one at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Distinct frames of a video and their positions in its clips.

    `pixels` is uint8 RGB `[U, H, W, 3]` in presentation order, upright; `index` `[S, T]` are rows
    of it, so that `pixels[index]` are the clips. `decoder` is the decoder used, with the reason if
    it is not the requested one. `rotation` is how far (degrees clockwise) the stored picture was
    turned; `num_frames` and `fps` are those of the whole video (0: unknown).
    """

    pixels: Pixels
    index: IntArray
    num_frames: int
    decoder: str
    fps: float = 0.0
    rotation: int = 0


def read_frames(
    media: Media,
    choose: Callable[[int, float], IntArray],
    *,
    decoder: str = "auto",
    shrink: Shrink | None = None,
) -> Frames:
    """Decode the frames whose numbers `[S, T]` `choose(num_frames, fps)` returns.

    `decoder` is one of `DECODERS`; frame n is the same frame with all of them. If decord or
    torchcodec fails on a file, or is known to be inexact, PyAV reads it. A frame that cannot be
    decoded is never replaced by another one. Frame n of a folder is its n-th picture.

    `shrink` reduces upright frames to what is kept of them, if possible as soon as they are
    decoded, so that a hundred frames of a large film need not fit into memory.

    Raises:
        MissingMedia: there is no such file, folder or archive.
        UnreadableMedia: the file is not a video, or a needed frame is damaged or missing.
        UsageError: there is no such decoder, or it is not installed.
    """
    name = known("decoder", decoder, DECODERS)
    if name in ("decord", "torchcodec") and find_spec(name) is None:
        raise UsageError(
            f"decoder {name!r} is not installed; pip install {name}, or use decoder='pyav'."
        )
    if isinstance(media, FrameFolder):
        return _read_folder(media, choose, shrink)
    source = opened(media)
    container = inspected(source)
    wanted, index = _distinct(choose(container.num_frames, container.fps), container.num_frames)
    if name == "auto":
        name = "pyav" if container.unusual or find_spec("decord") is None else "decord"
    if name != "pyav":
        read = read_decord if name == "decord" else read_torchcodec
        try:
            refuse_where_inexact(name, container)
            pixels = read(source, wanted, container)
            pixels = shrink(pixels) if shrink else pixels
        except Refusal as refusal:
            name = f"pyav ({name}: {refusal})"
    if name.startswith("pyav"):
        pixels = _read_pyav(source, wanted, container, shrink)
    return Frames(
        pixels=pixels,
        index=index,
        num_frames=container.num_frames,
        fps=container.fps,
        decoder=name,
        rotation=container.rotation,
    )


def length_of(media: Media) -> tuple[int, float]:
    """Return the number of frames of a video and its frame rate (0: unknown).

    Raises:
        MissingMedia: there is no such file, folder or archive.
        UnreadableMedia: the file is not a video.
    """
    if isinstance(media, FrameFolder):
        return len(listed_pictures(media)), 0.0
    container = inspected(opened(media))
    return container.num_frames, container.fps


def uneven_times(media: Media) -> npt.NDArray[np.float64] | None:
    """Return the frame times in seconds from the first frame, if they are unevenly spaced.

    None if they are even, or if the file does not have the times of all frames.

    Raises:
        MissingMedia: there is no such file, folder or archive.
        UnreadableMedia: the file is not a video.
    """
    if isinstance(media, FrameFolder):
        return None
    found = inspected(opened(media))
    if "variable frame rate" not in found.unusual or len(found.times) < found.num_frames:
        return None
    seconds: npt.NDArray[np.float64] = (found.times - found.times[0]) * found.tick
    return seconds


def decoder_versions(decoder: str) -> dict[str, str]:
    """Return the versions of every library that `decoder` may use, including PyAV's FFmpeg.

    Raises:
        UsageError: there is no such decoder.
    """
    import av

    name = known("decoder", decoder, DECODERS)
    versions = {"pyav": av.__version__}
    for library in ("libavcodec", "libswscale"):
        versions[library] = ".".join(map(str, av.library_versions[library]))
    if name in ("auto", "decord") and find_spec("decord") is not None:
        import decord

        versions["decord"] = decord.__version__
    if name == "torchcodec" and find_spec("torchcodec") is not None:
        versions["torchcodec"] = version("torchcodec")
    return versions


def _distinct(chosen: IntArray, num_frames: int) -> tuple[IntArray, IntArray]:
    """Return the sorted distinct numbers, and the index of each of `chosen` among them."""
    chosen = np.asarray(chosen, dtype=np.int64)
    wanted, index = np.unique(chosen, return_inverse=True)
    assert 0 <= wanted[0] <= wanted[-1] < num_frames, (wanted, num_frames)
    return wanted, index.reshape(chosen.shape).astype(np.int64)


def _read_folder(
    folder: FrameFolder, choose: Callable[[int, float], IntArray], shrink: Shrink | None
) -> Frames:
    names = listed_pictures(folder)
    wanted, index = _distinct(choose(len(names), 0.0), len(names))  # pictures have no frame rate
    chosen = [names[number] for number in wanted.tolist()]
    step = SHRUNK_AT_ONCE if shrink else len(chosen)
    parts = (read_pictures(folder, chosen[i : i + step]) for i in range(0, len(chosen), step))
    pixels = np.concatenate([shrink(part) for part in parts]) if shrink else next(parts)
    return Frames(pixels=pixels, index=index, num_frames=len(names), decoder="pillow")


def _read_pyav(
    source: Source, wanted: IntArray, container: Container, shrink: Shrink | None
) -> Pixels:
    found: dict[int, Pixels] = {}
    fresh: dict[int, Pixels] = {}

    def settle() -> None:
        frames: Iterable[Pixels] = fresh.values()
        if shrink and fresh:
            frames = shrink(upright(_stacked(source, [*frames]), container))
        found.update(zip(fresh, frames, strict=True))
        fresh.clear()

    missing = wanted
    # A seek may land where the decoder does not recover: then retry from the beginning.
    attempts = [container.keys, container.keys[:0]] if len(container.keys) else [container.keys]
    for keys in attempts:
        reason = "it does not decode"
        try:
            for number, frame in _rgb_frames(source, missing, container, keys):
                fresh[number] = frame
                if len(fresh) == SHRUNK_AT_ONCE:
                    settle()
        except Damage as damage:
            reason = str(damage)
        settle()
        missing = wanted[[number not in found for number in wanted.tolist()]]
        if not len(missing):
            pixels = _stacked(source, [found[number] for number in wanted.tolist()])
            return pixels if shrink else upright(pixels, container)  # PyAV does not rotate
    raise unreadable(source, f"frame {missing[0]} of {container.num_frames}: {reason}")


def _stacked(source: Source, frames: list[Pixels]) -> Pixels:
    if len({frame.shape for frame in frames}) > 1:
        raise unreadable(source, "its frames are not all of the same size")
    return np.stack(frames)


def _rgb_frames(
    source: Source, wanted: IntArray, container: Container, keys: IntArray
) -> Iterator[tuple[int, Pixels]]:
    """Yield the `wanted` frames that decode; raises `Damage`."""
    from av.video.reformatter import VideoReformatter

    to_rgb: Any = VideoReformatter()  # caches its tables across frames
    with open_video(source) as (media, stream):
        for number, frame in _forward(media, stream, wanted, container.times, keys):
            yield number, to_rgb.reformat(frame, format="rgb24").to_ndarray()


def _forward(
    media: Any, stream: Any, wanted: IntArray, times: IntArray, keys: IntArray
) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) for the wanted numbers in order, seeking over gaps if it pays."""
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
    """Number frames by their times, or count them from the first if there is no table of times."""
    if len(times) == 0:
        yield from enumerate(frames)
        return
    for frame in frames:
        # A lookup per frame rather than a table of all times: this restarts after every seek.
        number = int(np.searchsorted(times, frame.pts)) if frame.pts is not None else len(times)
        if number < len(times) and times[number] == frame.pts:
            yield number, frame
