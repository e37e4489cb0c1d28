"""How many bytes are missing from a media file, by the lengths of its top-level boxes.

ISO base media (mp4, mov): boxes of size and type. EBML (mkv, webm): header, then one segment.
RIFF (avi): one chunk. Formats without a declared length (MPEG-TS) cannot be judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from bench.data.media.media import Source

BOX_TYPES = (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
DATA_BOXES = (b"moov", b"moof", b"mdat")
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(source: Source) -> int:
    """Return how many bytes the file is shorter than it declares; 0 if it declares nothing."""
    if not isinstance(source, Path):
        return _missing(source, source.size)
    with source.open("rb") as file:
        return _missing(file, source.stat().st_size)


def _missing(file: BinaryIO, size: int) -> int:
    file.seek(0)
    head = file.read(12)
    if head[4:8] in BOX_TYPES:
        end = _end_of_boxes(file, size)
    elif head[:4] == EBML:
        end = _end_of_segment(file)
    elif head[:4] == b"RIFF":
        # Writers disagree on whether the length includes the padding byte of an odd chunk.
        end = int.from_bytes(head[4:8], "little") + 7
    else:
        end = 0
    return max(end - size, 0)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    start = 0
    while start < size:
        file.seek(start)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if start + length > size:
            # Only a box with media counts: padding after the last one may be anything.
            return start + length if kind in DATA_BOXES else 0
        if length < 8:  # 0 means "to the end of the file"
            return 0
        start += length
    return start


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(len(EBML))
    header = _element_length(file)
    if header is None:
        return 0
    file.seek(header, 1)
    segment = _element_length(file) if file.read(len(SEGMENT)) == SEGMENT else None
    return 0 if segment is None else file.tell() + segment


def _element_length(file: BinaryIO) -> int | None:
    """Read an EBML length: its number of leading zero bits is the number of further bytes."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] ^ (0x80 >> extra)]) + file.read(extra), "big")
    unknown = (1 << 7 * (extra + 1)) - 1
    return None if value == unknown else value
