"""Files of one tensor and a text, with checksums, so that no damaged byte becomes a number.

A safetensors file with the tensor `x` and one metadata text: eight hexadecimal digits of the CRC-32
of the tensor's bytes, eight of that of everything else (place, type, shape, note and the first
checksum), then the note. Older files have the note alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bench.errors import BenchError
from bench.files import write_whole

_CHUNK_BYTES = 2**20  # stays in the processor's cache between reading and checking
_SUMMED, _OLDER = "summed", "rows"


class DamagedBlockError(BenchError):
    """A file whose content is not what was written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """An open file: the memory-mapped tensor, its note, and whether it has checksums."""

    x: Any
    note: str
    is_summed: bool


def write_block(path: Path, x: torch.Tensor, note: str, place: str) -> None:
    """Write a contiguous tensor atomically; `place` says where it belongs. Equal input, equal file.

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    data = zlib.crc32(x.numpy().data)
    # A single text: the library writes several in random order.
    text = f"{data:08x}{_other_sum(x, place, note, data):08x}{note}"
    write_whole(path, save({"x": x}, metadata={_SUMMED: text}))


def open_block(path: Path, place: str) -> Block:
    """Open what `write_block` wrote for `place`; content is verified once per process.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedBlockError: any byte is not as written, or the file belongs to another place.
    """
    try:
        handle: Any = safe_open(path, framework="pt")
        x, texts = handle.get_slice("x"), handle.metadata() or {}
        if texts.keys() == {_OLDER}:
            return Block(x=x, note=texts[_OLDER], is_summed=False)
        text = texts[_SUMMED] if texts.keys() == {_SUMMED} else ""
        data, other, note = int(text[:8], 16), int(text[8:16], 16), text[16:]
        empty = x[:0]
    except FileNotFoundError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        raise DamagedBlockError(_damaged(path, str(error))) from error
    shape = torch.empty(x.get_shape(), dtype=empty.dtype, device="meta")
    if _other_sum(shape, place, note, data) != other:
        raise DamagedBlockError(_damaged(path, "its header is not what was written for this place"))
    facts = path.stat()
    now = _data_sum(path, shape.nbytes, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    if now != data:
        raise DamagedBlockError(_damaged(path, "its checksum differs"))
    return Block(x=x, note=note, is_summed=True)


def _other_sum(x: torch.Tensor, place: str, note: str, data: int) -> int:
    return zlib.crc32(f"{place} {x.dtype} {list(x.shape)} {data} {note}".encode())


@lru_cache(maxsize=2**18)
def _data_sum(path: Path, num_bytes: int, size: int, *unchanged: int) -> int:
    """Return the CRC-32 of the last `num_bytes` of a file of this size, which are its tensor."""
    total, chunk = 0, memoryview(bytearray(_CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        file.seek(size - num_bytes)
        while count := file.readinto(chunk):
            total = zlib.crc32(chunk[:count], total)
    return total


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path} is damaged ({reason}): run bench store verify --repair, which deletes damaged"
        " blocks, then the same command again, which computes them anew."
    )
