"""Frame numbers to pixels: every frame of a video that is needed is decoded exactly once.

Numbers are in presentation order, after edit lists. All clips of a video are read as one sorted
set without repeats, with one thread: four times faster than clip by clip if keyframes are rare,
and several decoders return wrong frames when they have to seek backwards.

One rule holds for all decoders. The stream is the one that the container marks as default, else the
first, never a cover or thumbnails. The whole display matrix (or, without one, the display
orientation of H.264 and HEVC) is applied once: mirrored, then turned by the nearest quarter turn.
A film whose picture changes its size or orientation is refused, whichever frames are needed. Pixels
that are not square stay as stored.

PyAV is the default (`auto`). It reports nearly all damage inside a file; decord, with which many
published numbers were made, conceals what its FFmpeg can conceal. decord and torchcodec are passed
over where they may differ: `other_decoders`. A part of an archive is decoded from memory, by the
same code; a folder of frames by Pillow.
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
from bench.data.decode.limits import refuse_too_large
from bench.data.decode.open_video import Damage, decoded, open_video
from bench.data.decode.other_decoders import Pixels as Pixels
from bench.data.decode.other_decoders import Refusal, read_elsewhere
from bench.data.decode.picture import refuse_other_size
from bench.data.decode.recently_probed import inspected, listed_pictures
from bench.data.media.media import FrameFolder, Media, Source, opened, unreadable
from bench.errors import UsageError, known
from bench.types import IntArray

Shrink = Callable[[Pixels], Pixels]  # frames [n, H, W, 3], any n, to as many [n, h, w, 3]

DECODERS = ("auto", "decord", "pyav", "torchcodec")

# Beyond this many frames to a later keyframe, seeking is cheaper than decoding.
SEEK_GAP = 24

# Part of every feature key of videos and of remembered checks: increment it when the rule changes
# what is decoded. 2: mirrors, streams, changing pictures.
RULE = "2"

SHRUNK_AT_ONCE = 8  # frames: torch takes twice as long per frame one at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Distinct frames of a video and their positions in its clips.

    `pixels` is uint8 RGB `[U, H, W, 3]` in presentation order, upright; `index` `[S, T]` are rows
    of it, so that `pixels[index]` are the clips. `decoder` is the decoder used, with the reason if
    it is not the requested one. The stored picture was `mirrored`, then turned clockwise by
    `rotation` degrees; `num_frames` and `fps` are those of the whole video (0: unknown).
    """

    pixels: Pixels
    index: IntArray
    num_frames: int
    decoder: str
    fps: float = 0.0
    rotation: int = 0
    mirrored: bool = False


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
    name = resolved(name)
    picture = container.picture
    if name != "pyav":
        try:
            pixels = read_elsewhere(name, source, wanted, container)
            pixels = shrink(pixels) if shrink else pixels
        except Refusal as refusal:
            name = f"pyav ({name}: {refusal})"
    if name.startswith("pyav"):
        at_once = min(len(wanted), SHRUNK_AT_ONCE) if shrink else len(wanted)
        refuse_too_large(source, picture.height, picture.width, num_frames=at_once)
        pixels = _read_pyav(source, wanted, container, shrink)
    return Frames(
        pixels=pixels,
        index=index,
        num_frames=container.num_frames,
        fps=container.fps,
        decoder=name,
        rotation=picture.rotation,
        mirrored=picture.mirrored,
    )


def resolved(decoder: str) -> str:
    """Return the decoder that `auto` means, or `decoder` itself."""
    return "pyav" if decoder == "auto" else decoder


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
    """Return the versions of what `decoder` may use: the rule, libraries, PyAV's FFmpeg.

    Raises:
        UsageError: there is no such decoder.
    """
    import av

    name = known("decoder", decoder, DECODERS)
    versions = {"rule": RULE, "pyav": av.__version__}
    for library in ("libavcodec", "libswscale"):
        versions[library] = ".".join(map(str, av.library_versions[library]))
    if name == "decord" and find_spec("decord") is not None:
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
            frames = shrink(upright(np.stack([*frames]), container))
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
            pixels = np.stack([found[number] for number in wanted.tolist()])
            return pixels if shrink else upright(pixels, container)  # PyAV does not rotate
    raise unreadable(source, f"frame {missing[0]} of {container.num_frames}: {reason}")


def upright(pixels: Pixels, container: Container) -> Pixels:
    """Mirror stored frames `[U, H, W, 3]` and turn them, as they are to be shown."""
    if container.picture.mirrored:
        pixels = pixels[:, :, ::-1]
    quarter_turns = -container.picture.rotation // 90  # numpy turns the other way
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns, axes=(1, 2)))


def _rgb_frames(
    source: Source, wanted: IntArray, container: Container, keys: IntArray
) -> Iterator[tuple[int, Pixels]]:
    """Yield the `wanted` frames that decode; raises `Damage`."""
    from av.video.reformatter import VideoReformatter

    to_rgb: Any = VideoReformatter()  # caches its tables across frames
    with open_video(source) as (media, stream):
        for number, frame in _forward(media, stream, wanted, container.times, keys):
            refuse_other_size(source, container.picture, frame)
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
