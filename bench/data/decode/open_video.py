"""Open a video for single-threaded decoding, and explain what is wrong with a file.

Of several video streams, the film is the first that the container marks as default, else the first
one: never an attached picture (a cover) or the thumbnails of chapters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from bench.data.decode.limits import LARGEST_PICTURE, refuse_too_large
from bench.data.media.media import Source, missing, unreadable


@contextmanager
def open_video(source: Source) -> Iterator[tuple[Any, Any]]:
    """Open a source with PyAV as (container, video stream), for single-threaded decoding.

    Bytes are read from the start, and may be opened again.

    Raises:
        MissingMedia: there is no such file.
        UnreadableMedia: it has no video.
    """
    import av  # loads FFmpeg

    _refuse_missing(source)
    # Since PyAV 19, opening a file with metadata that is not UTF-8 raises no error.
    old = int(av.__version__.split(".")[0]) < 19
    lenient: dict[str, Any] = {"metadata_errors": "replace"} if old else {}
    try:
        media = av.open(str(source) if isinstance(source, Path) else source, **lenient)
    except av.FFmpegError as error:
        is_page = isinstance(error, av.InvalidDataError) and _starts_like_a_page(source)
        reason = "it is a web page, not a video" if is_page else f"FFmpeg: {error.strerror}"
        raise unreadable(source, reason) from error
    with media:
        stream = _film(media.streams.video)
        if stream is None:
            raise unreadable(source, "it has no video stream")
        codec = stream.codec_context
        if codec is None or media.format.name == "tty":
            raise unreadable(source, "it is not a video that this build of FFmpeg can decode")
        refuse_too_large(source, codec.height, codec.width)
        codec.thread_count = 1
        codec.thread_type = "NONE"
        # Otherwise damage is concealed with parts of other frames.
        codec.options = {"err_detect": "explode", "max_pixels": str(LARGEST_PICTURE)}
        yield media, stream


def _film(streams: Sequence[Any]) -> Any:
    """Return the stream that is decoded, or None."""
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [stream for stream in streams if not stream.disposition & pictures]
    # A broadcast may declare a stream of which it has no packet, and so no size.
    films = [film for film in films if film.codec_context and film.codec_context.width] or films
    defaults = [film for film in films if film.disposition & Disposition.default]
    return next(iter(defaults or films), None)


class Damage(Exception):  # noqa: N818 (a state of the file; callers turn it into a BenchError)
    """Decoding met data that cannot be decoded; the text is the reason."""


def decoded(media: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames from here on in presentation order, without those cut by an edit list.

    Undecodable packets before the first frame are skipped: recordings may start between two
    keyframes.

    Raises:
        Damage: after the last intact frame.
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
        Damage: after the last intact packet.
    """
    import av

    packets = media.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise Damage(f"FFmpeg: {error.strerror}") from error
        except IndexError as error:
            raise Damage("an undeclared stream appears") from error
        if packet is None:
            return
        if packet.is_corrupt:
            raise Damage("a packet is incomplete")
        yield packet


def _refuse_missing(source: Source) -> None:
    """Refuse a missing file, a folder and an empty file; rewind bytes."""
    if not isinstance(source, Path):
        source.seek(0)
        if not source.size:
            raise unreadable(source, "the file is empty")
        return
    try:
        found = source.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(source) from error
    except OSError as error:
        raise unreadable(source, error.strerror or str(error)) from error
    if S_ISDIR(found.st_mode):
        raise unreadable(source, "it is a directory, not a regular file")
    if found.st_size == 0:
        raise unreadable(source, "the file is empty")


def _starts_like_a_page(source: Source) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(256)
    else:
        head = source.getvalue()[:256]
    return head.lstrip()[:1] in (b"<", b"{")
