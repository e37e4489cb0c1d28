"""Properties of a video file, found by reading its packets rather than decoding its frames.

Only the first frame is decoded, for size, orientation and bit depth, and a keyframe with other
headers than all before it. If the packets do not determine the number of frames, all are decoded
and counted. A film whose picture changes its size or orientation is refused, wherever that is.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from bench.data.decode.open_video import Damage, decoded, intact_packets, open_video
from bench.data.decode.picture import Picture, refuse_change, refuse_other_size
from bench.data.decode.picture_headers import OWN_SIZE, nal_units, picture_headers
from bench.data.decode.truncation import missing_bytes
from bench.data.media.media import Source, unreadable
from bench.types import IntArray

# FFmpeg's names of the containers in which every packet has the time of its frame, and the codecs
# whose packets are one shown frame each (VP8 hides frames; MPEG-4 in AVI packs them).
INDEXED_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
INDEXED_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
USUAL_CODECS = ("h264", "hevc", "vp9", "mpeg4")


@dataclass(frozen=True, kw_only=True, eq=False)
class Container:
    """Frames, rate and peculiarities of a video file.

    `num_frames` counts the frames that are shown, not those cut off by an edit list. `fps` is the
    average rate, 0 if the file has none. `picture` is the stored one of every frame. `unusual`
    lists the traits that make some decoder return wrong frames; it is empty for most files.

    `times` holds the presentation time of each frame in ticks of the stream, `tick` seconds each:
    empty if frames can only be counted, fewer than `num_frames` if the file ends early. `keys` are
    the frames from which decoding can start, in order; empty if that is not safe.
    """

    num_frames: int
    fps: float
    picture: Picture
    pixel_format: str
    unusual: tuple[str, ...]
    times: IntArray = field(repr=False)
    keys: IntArray = field(repr=False)
    tick: float


class _Packet(NamedTuple):
    time: int | None
    decoding_time: int | None
    is_key: bool
    is_cut: bool  # by an edit list
    is_clean: bool  # a keyframe with no references across it


def inspect(source: Source) -> Container:
    """Probe a video.

    Raises:
        MissingMedia: there is no such file.
        UnreadableMedia: it has no video that can be decoded.
    """
    with open_video(source) as (media, stream):
        packets, first, suspects, damage = _read_packets(media, stream)
        pictures = [] if first is None else _pictures(stream, suspects, Picture.of(first))
        num_streams = len(media.streams.video)
        form, codec = media.format.name, stream.codec_context.codec.canonical_name
        num_declared, rate, tick = stream.frames, stream.average_rate, stream.time_base
    lost = missing_bytes(source)
    damage = f"the file ends {lost:,} bytes early" if lost else damage
    if first is None:
        raise unreadable(source, damage or "none of its frames can be decoded")
    picture = Picture.of(first)
    for other in pictures:
        refuse_change(source, picture, other)
    unusual = _peculiarities(form, codec, first, packets)
    if num_streams > 1:
        unusual = (*unusual, "several video streams")
    if picture.rotation or picture.mirrored:
        unusual = (*unusual, "a turned picture")
    if form in INDEXED_FORMATS and codec in INDEXED_CODECS and not first.interlaced_frame:
        times, keys = _frame_table(packets)
    else:
        times = keys = np.zeros(0, dtype=np.int64)
    num_frames = len(times)
    if damage and (num_frames == 0 or num_declared <= len(packets)):
        raise unreadable(source, damage)
    if damage:
        num_frames += num_declared - len(packets)
        # A lost packet shows its frame no earlier than the decoding time of the last packet, so
        # the frames up to there are all present and correctly numbered.
        times = times[times <= (packets[-1].decoding_time or 0)]
        unusual = (*unusual, "ends early")
    elif num_frames == 0 or OWN_SIZE in suspects:
        unusual = unusual if num_frames else (*unusual, "no frame table")
        num_decoded = _decode_all(source, picture)
        num_frames = num_frames or num_decoded
    return Container(
        num_frames=num_frames,
        fps=float(rate or 0),
        picture=picture,
        pixel_format=first.format.name,
        unusual=unusual,
        times=times,
        keys=keys[:0] if "open GOP" in unusual or damage else keys,
        tick=float(tick or 0),
    )


def _decode_all(source: Source, picture: Picture) -> int:
    """Count the frames, and refuse those of another size."""
    count = 0
    with open_video(source) as (media, stream):
        try:
            for frame in decoded(media, stream):
                count += 1
                refuse_other_size(source, picture, frame)
        except Damage as error:
            reason = f"{error}, and its frames cannot be counted"
            raise unreadable(source, reason) from error
    return count


def _read_packets(media: Any, stream: Any) -> tuple[list[_Packet], Any, dict[bytes, Any], str]:
    """Return all intact packets, the first decoded frame (or None), and why reading stopped.

    Third are the packets with picture headers that neither the first packet nor an earlier one has,
    by these headers.
    """
    import av

    packets: list[_Packet] = []
    first = None
    suspects: dict[bytes, Any] = {}
    codec, file_header = stream.codec.canonical_name, stream.codec_context.extradata or b""
    initial = b""
    try:
        for packet in intact_packets(media, stream):
            if packet.size:
                data, is_key = memoryview(packet), packet.is_keyframe
                headers = picture_headers(codec, data, file_header, is_key=is_key)
                if is_key and packet.has_sidedata("new_extradata"):
                    headers += bytes(packet.get_sidedata("new_extradata"))
                if not packets:
                    initial = headers
                if headers == OWN_SIZE or headers not in (b"", initial):
                    suspects.setdefault(headers, packet)
                is_clean = is_key and _is_clean(data, codec, file_header)
                packets.append(_Packet(packet.pts, packet.dts, is_key, packet.is_discard, is_clean))
            if first is None:
                with suppress(av.FFmpegError):  # undecodable packets may precede the first frame
                    first = next(iter(packet.decode()), None)
    except Damage as damage:
        return packets, first, suspects, str(damage)
    return packets, first, suspects, ""


def _pictures(stream: Any, suspects: dict[bytes, Any], first: Picture) -> list[Picture]:
    """Return the pictures of packets, each decoded by itself, as far as that succeeds."""
    import av

    if stream.codec.canonical_name == "vp9":  # a frame between keyframes may have a size of its own
        sizes = [struct.unpack(">HH", headers[:4]) for headers in suspects]
        return [replace(first, width=width + 1, height=height + 1) for width, height in sizes]
    found = []
    for packet in suspects.values():
        stream.codec_context.flush_buffers()
        with suppress(av.FFmpegError):
            frames = [*packet.decode(), *stream.codec_context.decode(None)]
            found += [Picture.of(frame) for frame in frames]
    return found


def _frame_table(packets: list[_Packet]) -> tuple[IntArray, IntArray]:
    """Return the times of all frames and the numbers of the keyframes; empty if undecided."""
    shown = [p for p in packets if not p.is_cut]
    times = np.array(sorted(p.time for p in shown if p.time is not None), dtype=np.int64)
    keys = [p.time for p in shown if p.is_key and p.time is not None]
    is_whole = len(times) == len(shown) > 0 and (np.diff(times) > 0).all()
    # A frame shown before the first keyframe of the file refers to a missing one.
    starts = is_whole and packets[0].is_key and (packets[0].time or 0) <= times[0]
    if not starts:
        return times[:0], times[:0]
    return times, np.searchsorted(times, sorted(keys)).astype(np.int64)


def _peculiarities(form: str, codec: str, first: Any, packets: list[_Packet]) -> tuple[str, ...]:
    times = np.array(sorted(p.time for p in packets if p.time is not None), dtype=np.int64)
    steps = np.diff(times)
    bits = max(component.bits for component in first.format.components)
    found = {
        form: form not in INDEXED_FORMATS,
        codec: codec not in USUAL_CODECS,
        f"{bits} bits": bits > 8,
        "interlaced": bool(first.interlaced_frame),
        "edit list": any(p.is_cut for p in packets) or (len(times) > 0 and times[0] < 0),
        "open GOP": _has_open_gop(packets),
        # A fifth allows for times rounded to milliseconds.
        "variable frame rate": len(steps) > 0
        and bool(np.abs(steps - np.median(steps)).max() > np.median(steps) / 5),
    }
    return tuple(name for name, is_so in found.items() if is_so)


def _has_open_gop(packets: list[_Packet]) -> bool:
    """Whether frames after a keyframe in the file refer to frames before it."""
    key: int | None = None
    for packet in packets:
        if packet.is_key:
            key = packet.time
        early = key is not None and packet.time is not None and packet.time < key
        if early or (packet.is_key and not packet.is_clean):
            return True
    return False


def _is_clean(packet: memoryview, codec: str, file_header: bytes) -> bool:
    """Whether an H.264 keyframe is an instant refresh and not a recovery point (ITU-T H.264, 7.4).

    Other codecs, and streams without the avcC header of mp4 and mkv, pass.
    """
    if codec != "h264" or file_header[:1] != b"\x01":
        return True
    return any(kind == 5 for kind, _ in nal_units(codec, packet, file_header))
