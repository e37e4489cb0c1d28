"""The headers in a packet that set the size or the orientation of the picture from there on.

They are repeated with most keyframes, or stand only in the header of the file: a film changes its
picture only where they change. For H.264 (ITU-T H.264, 7.3 and annex D) and HEVC these are the
sequence parameter sets and the display orientation, for AV1 the sequence header, for MPEG-4 Part 2
the video object layer, for VP9 the size of the frame (its bitstream specification, 6.2 and 7.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# (kinds of slices, that of parameter sets, that of messages before the slices, bytes of a header)
NAL_UNITS = {"h264": (range(1, 6), 7, 6, 1), "hevc": (range(32), 33, 39, 2)}
ORIENTATION = b"\x2f"
OBU_SEQUENCE, OBU_FRAMES = 1, (3, 6)
VIDEO_OBJECT_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.DOTALL)


def picture_headers(codec: str, packet: memoryview, file_header: bytes, *, is_key: bool) -> bytes:
    """Return these headers of a packet, or nothing if it has none, as for most packets.

    `codec` is FFmpeg's name, `file_header` the one that the container has for the stream.
    """
    if codec in NAL_UNITS:
        slices, sets, messages, size = NAL_UNITS[codec]
        place = _length_bytes(codec, file_header)
        if 0 < place < len(packet) and _kind(codec, packet[place]) in slices:  # nearly always
            return b""
        return b"".join(
            bytes(unit)
            for kind, unit in nal_units(codec, packet, file_header)
            if kind == sets or (kind == messages and bytes(unit[size : size + 1]) == ORIENTATION)
        )
    if codec == "vp9":
        return _vp9_size(bytes(packet[:24]))
    if not is_key:
        return b""
    if codec == "av1":
        return _av1_sequence(packet)
    return b"".join(VIDEO_OBJECT_LAYER.findall(packet)) if codec == "mpeg4" else b""


def nal_units(codec: str, packet: memoryview, header: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield (kind, bytes) of the NAL units of an H.264 or HEVC packet, up to the first slice."""
    slices = NAL_UNITS[codec][0]
    for unit in _split(codec, packet, header):
        if len(unit):
            kind = _kind(codec, unit[0])
            yield kind, unit
            if kind in slices:
                return


def _kind(codec: str, first: int) -> int:
    return first & 31 if codec == "h264" else first >> 1 & 63


def _length_bytes(codec: str, header: bytes) -> int:
    """Return how many bytes before a unit state its length, as in mp4 and mkv; 0: start codes."""
    place = 4 if codec == "h264" else 21
    return (header[place] & 3) + 1 if header[:1] == b"\x01" and len(header) > place else 0


def _split(codec: str, packet: memoryview, header: bytes) -> Iterator[memoryview]:
    width, start = _length_bytes(codec, header), 0
    if width:
        while start + width < len(packet):
            end = start + width + int.from_bytes(packet[start : start + width], "big")
            yield packet[start + width : end]
            start = end
    else:
        starts = [match.end() for match in re.finditer(rb"\x00\x00\x01", packet)]
        ends = [*(start - 3 for start in starts[1:]), len(packet)]
        yield from (packet[start:end] for start, end in zip(starts, ends, strict=True))


def _av1_sequence(packet: memoryview) -> bytes:
    start, found = 0, b""
    while start < len(packet):
        kind, has_extension, has_size = (
            packet[start] >> 3 & 15,
            packet[start] >> 2 & 1,
            packet[start] >> 1 & 1,
        )
        if kind in OBU_FRAMES:
            break
        start += 1 + has_extension
        size = shift = 0
        more = has_size
        while more and start < len(packet):
            size |= (packet[start] & 127) << shift
            more, shift, start = packet[start] >> 7, shift + 7, start + 1
        end = start + size if has_size else len(packet)
        if kind == OBU_SEQUENCE:
            found += bytes(packet[start:end])
        start = end
    return found


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next `count` bits; zeros beyond the end."""
        self._left -= count
        value = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return value & ((1 << count) - 1)


def _vp9_size(data: bytes) -> bytes:
    """Return the four bytes of a size that a frame states; nothing if it has that of another."""
    bits = _Bits(data)
    bits.take(2)
    profile = bits.take(1) | bits.take(1) << 1
    bits.take(profile == 3)
    if bits.take(1):  # shows a frame again
        return b""
    is_inter, is_shown, is_resilient = bits.take(1), bits.take(1), bits.take(1)
    is_intra = not is_inter
    if is_inter:
        is_intra = bool(not is_shown and bits.take(1))
        bits.take(0 if is_resilient else 2)
    if is_intra:
        bits.take(24)
        if not is_inter or profile > 0:
            bits.take(profile >= 2)
            is_rgb = bits.take(3) == 7
            bits.take((not is_rgb) + (0 if profile % 2 == 0 else 1 if is_rgb else 3))
        bits.take(8 * is_inter)
    else:
        bits.take(8 + 3 * 4)
        if bits.take(1) or bits.take(1) or bits.take(1):  # the size of a reference
            return b""
    return bits.take(32).to_bytes(4, "big")
