"""The headers in a packet that set the size or the orientation of the picture from there on.

They are repeated with most keyframes, or stand only in the header of the file: a film changes its
picture only where they change. For H.264 (ITU-T H.264, 7.3 and annex D) and HEVC these are the
sequence parameter sets and the display orientation, for MPEG-4 Part 2 the video object layer, for
VP9 the size of the frame (its bitstream specification, 6.2 and 7.2), for AV1 the sequence header,
or that a frame states a size, with which an encoder may scale each frame (its specification, 5.5
and 5.9).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

# (kinds of slices, that of parameter sets, that of messages before the slices, bytes of a header)
NAL_UNITS = {"h264": (range(1, 6), 7, 6, 1), "hevc": (range(32), 33, 39, 2)}
ORIENTATION = b"\x2f"
OBU_SEQUENCE, OBU_FRAMES = 1, (3, 6)
OWN_SIZE = b"a frame with a size of its own"
VIDEO_OBJECT_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.DOTALL)


def picture_headers(codec: str, packet: memoryview, file_header: bytes, *, is_key: bool) -> bytes:
    """Return these headers of a packet, or nothing if it has none, as for most packets.

    `codec` is FFmpeg's name, `file_header` the one that the container has for the stream. OWN_SIZE
    means that all frames must be decoded to know their sizes.
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
    if codec == "av1":
        return _av1_headers(packet, file_header)
    return b"".join(VIDEO_OBJECT_LAYER.findall(packet)) if codec == "mpeg4" and is_key else b""


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


def _av1_headers(packet: memoryview, file_header: bytes) -> bytes:
    """Return the sequence headers of a packet, or OWN_SIZE if a frame of it states a size."""
    sequences = [bytes(unit) for kind, unit in _av1_units(packet) if kind == OBU_SEQUENCE]
    known = sequences or [
        bytes(unit)
        for kind, unit in _av1_units(memoryview(file_header[4:]))
        if kind == OBU_SEQUENCE
    ]
    if known:
        settings = _av1_settings(known[-1])
        for kind, unit in _av1_units(packet):
            if kind in OBU_FRAMES and _av1_states_size(bytes(unit[:24]), settings):
                return OWN_SIZE
    return b"".join(sequences)


def _av1_units(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    start = 0
    while start < len(data):
        head = data[start]
        start += 1 + (head >> 2 & 1)  # the extension
        size, shift, more = 0, 0, head >> 1 & 1
        while more and start < len(data):
            size |= (data[start] & 127) << shift
            more, shift, start = data[start] >> 7, shift + 7, start + 1
        end = start + size if head >> 1 & 1 else len(data)
        yield head >> 3 & 15, data[start:end]
        start = end


class _Av1Settings(NamedTuple):
    """What of a sequence header decides where a frame header has its first fields."""

    is_reduced: bool
    time_bits: int
    tools: int  # screen content tools, and integer motion vectors: 2 if each frame states them
    integers: int
    id_bits: int


@lru_cache(maxsize=16)
def _av1_settings(sequence: bytes) -> _Av1Settings:
    bits = _Bits(sequence)
    bits.take(4)
    is_reduced, time_bits, delay_bits, id_bits = bool(bits.take(1)), 0, 0, 0
    if is_reduced:
        bits.take(5)
    else:
        if bits.take(1):  # timing
            bits.take(64)
            if is_equal := bits.take(1):
                zeros = 0
                while not bits.take(1) and zeros < 32:
                    zeros += 1
                bits.take(zeros)
            if bits.take(1):  # decoder model
                delay_bits = bits.take(5) + 1
                bits.take(37)
                time_bits = 0 if is_equal else bits.take(5) + 1
                bits.take(5 * is_equal)
        has_delay = bits.take(1)
        for _ in range(bits.take(5) + 1):  # operating points
            bits.take(12)
            bits.take(bits.take(5) > 7)
            if delay_bits and bits.take(1):
                bits.take(2 * delay_bits + 1)
            if has_delay and bits.take(1):
                bits.take(4)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    bits.take(width_bits + height_bits)
    tools = integers = 2
    if not is_reduced:
        if bits.take(1):  # frame ids
            id_bits = bits.take(4) + 2
            id_bits += bits.take(3) + 1
        bits.take(3 + 4)
        if bits.take(1):  # order hints
            bits.take(2)
        tools = 2 if bits.take(1) else bits.take(1)
        if tools:
            integers = 2 if bits.take(1) else bits.take(1)
    return _Av1Settings(is_reduced, time_bits, tools, integers, id_bits)


def _av1_states_size(frame: bytes, settings: _Av1Settings) -> bool:
    bits = _Bits(frame)
    if settings.is_reduced or bits.take(1):  # shows a frame again
        return False
    kind, is_shown = bits.take(2), bits.take(1)
    bits.take(settings.time_bits if is_shown else 1)
    bits.take(not (kind == 3 or (kind == 0 and is_shown)))  # resilience to errors
    bits.take(1)
    tools = bits.take(1) if settings.tools == 2 else settings.tools
    bits.take(bool(tools) and settings.integers == 2)
    bits.take(settings.id_bits)
    return kind == 3 or bool(bits.take(1))


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """Return the next `count` bits; zeros beyond the end."""
        self._left -= count
        value = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return value & ((1 << count) - 1)
