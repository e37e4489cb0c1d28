"""A video opened for decoding in this thread alone, and what is wrong with a file, as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import UnreadableMedia


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file with PyAV as (container, video stream), to be decoded in this thread alone.

    Raises:
        UnreadableMedia: there is no such file, or no video in it.
    """
    import av  # loads FFmpeg
    from av.stream import Disposition

    if not path.exists() or path.is_dir():
        raise unreadable(path, "it is a folder" if path.is_dir() else "there is no such file")
    if path.stat().st_size == 0:
        raise unreadable(path, "the file is empty")
    # From PyAV 19 on, metadata that is not UTF-8 is no error when a file is opened.
    old = int(av.__version__.split(".")[0]) < 19
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if old else {}
    try:
        media = av.open(str(path), **lenient)
    except av.FFmpegError as error:
        is_page = isinstance(error, av.InvalidDataError) and _starts_like_a_page(path)
        reason = "it is a web page, not a video" if is_page else f"FFmpeg: {error.strerror}"
        raise unreadable(path, reason) from error
    with media:
        stream = media.streams.best("video")
        if stream is None or stream.disposition & Disposition.attached_pic:
            raise unreadable(path, "it has no video stream")
        if stream.codec_context is None or media.format.name == "tty":
            raise unreadable(path, "it is not a video that this build of FFmpeg can decode")
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        # Otherwise damage is painted over with parts of other frames.
        stream.codec_context.options = {"err_detect": "explode"}
        yield media, stream


class Damage(Exception):  # noqa: N818 (a state of the file; callers turn it into a BenchError)
    """Decoding met data that cannot be decoded; the text is the reason."""


def decoded(media: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames from here on in presentation order, without those that an edit list cuts.

    Packets that do not decode are passed over until the first frame came out: recordings may start
    between two keyframes.

    Raises:
        Damage: after the last frame that is in order.
    """
    import av

    has_started = False
    for packet in intact_packets(media, stream):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if has_started:
                raise Damage(f"FFmpeg: {error.strerror}") from error
            continue
        for frame in frames:
            if frame.is_corrupt:
                raise Damage("a frame is damaged")
            has_started = True
            yield frame


def intact_packets(media: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets from here on in decoding order, the last one empty.

    Raises:
        Damage: after the last packet that is whole.
    """
    import av

    packets = media.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise Damage(f"FFmpeg: {error.strerror}") from error
        except IndexError as error:
            raise Damage("a stream appears that was not announced") from error
        if packet is None:
            return
        if packet.is_corrupt:
            raise Damage("a packet is incomplete")
        yield packet


def unreadable(path: Path, reason: str) -> UnreadableMedia:
    """Return the error for a file that cannot be decoded."""
    advice = "fetch the file again" if path.is_file() else "check the path"
    return UnreadableMedia(f"{path} cannot be decoded: {reason}; {advice}.")


def _starts_like_a_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(256).lstrip()[:1] in (b"<", b"{")
