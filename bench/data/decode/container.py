"""Properties of a video file, found by reading its packets rather than decoding its frames.

Only the first frame is decoded, for rotation and bit depth, unless the packets do not determine
the number of frames: then all frames are decoded and counted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bench.data.decode.open_video import Damage, decoded, intact_packets, open_video
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
    average rate, 0 if the file has none. The stored picture is to be turned clockwise by `rotation`
    degrees (0, 90, 180 or 270). `unusual` lists the traits that make some decoder return wrong
    frames; it is empty for most files.

    `times` holds the presentation time of each frame in ticks of the stream, `tick` seconds each:
    empty if frames can only be counted, fewer than `num_frames` if the file ends early. `keys` are
    the frames from which decoding can start, in order; empty if that is not safe.
    """

    num_frames: int
    fps: float
    rotation: int
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
        packets, first, damage = _read_packets(media, stream)
        form, codec = media.format.name, stream.codec_context.codec.canonical_name
        num_declared, rate, tick = stream.frames, stream.average_rate, stream.time_base
    lost = missing_bytes(source)
    damage = f"the file ends {lost:,} bytes early" if lost else damage
    if first is None:
        raise unreadable(source, damage or "none of its frames can be decoded")
    unusual = _peculiarities(form, codec, first, packets)
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
    elif num_frames == 0:
        unusual = (*unusual, "no frame table")
        with open_video(source) as (media, stream):
            try:
                num_frames = sum(1 for _ in decoded(media, stream))
            except Damage as error:
                reason = f"{error}, and its frames cannot be counted"
                raise unreadable(source, reason) from error
    return Container(
        num_frames=num_frames,
        fps=float(rate or 0),
        rotation=-round(first.rotation / 90) * 90 % 360,
        pixel_format=first.format.name,
        unusual=unusual,
        times=times,
        keys=keys[:0] if "open GOP" in unusual or damage else keys,
        tick=float(tick or 0),
    )


def _read_packets(media: Any, stream: Any) -> tuple[list[_Packet], Any, str]:
    """Return all intact packets, the first decoded frame (or None), and why reading stopped."""
    import av

    packets: list[_Packet] = []
    first = None
    try:
        for packet in intact_packets(media, stream):
            if packet.size:
                is_clean = packet.is_keyframe and _is_clean(packet, stream.codec_context)
                packets.append(
                    _Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard, is_clean)
                )
            if first is None:
                with suppress(av.FFmpegError):  # undecodable packets may precede the first frame
                    first = next(iter(packet.decode()), None)
    except Damage as damage:
        return packets, first, str(damage)
    return packets, first, ""


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


def _is_clean(packet: Any, codec_context: Any) -> bool:
    """Whether an H.264 keyframe is an instant refresh and not a recovery point (ITU-T H.264, 7.4).

    Other codecs, and streams without the avcC header of mp4 and mkv, pass.
    """
    header = codec_context.extradata or b""
    if codec_context.name != "h264" or header[:1] != b"\x01":
        return True
    data, width, start, kinds = bytes(packet), (header[4] & 3) + 1, 0, set()
    while start + width < len(data):
        kinds.add(data[start + width] & 31)
        start += width + int.from_bytes(data[start : start + width], "big")
    return 5 in kinds
