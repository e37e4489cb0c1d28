"""Files of one tensor and a text, with checksums, so that no damaged byte becomes a number.

A safetensors file with the tensor `x` and one metadata text: 16 hexadecimal digits for the tensor's
bytes, 16 for everything else (place, type, shape, note and the first digits), then the note. Older
files have the note alone.

Hashing all bytes would cost a third of reading them. Instead the bytes are a table of 64-bit words
with 512 columns, and its row sums and column sums are hashed: any change within one row of 4,096
bytes (a flipped bit, a lost sector) changes a column sum, exchanged rows change the row sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bench.errors import BenchError
from bench.files import write_whole

_COLUMNS = 512  # words of eight bytes
_CHUNK_BYTES = 2**19  # whole rows, which stay in the processor's cache while they are summed
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
    data = _table_hash(_chunks_of(x.numpy().reshape(-1).view(np.uint8)))
    # A single text: the library writes several in random order.
    text = f"{data}{_other_hash(x, place, note, data)}{note}"
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
        data, other, note = text[:16], text[16:32], text[32:]
        empty = x[:0]
    except FileNotFoundError:
        raise
    except (SafetensorError, ValueError, OSError) as error:
        raise DamagedBlockError(_damaged(path, str(error))) from error
    shape = torch.empty(x.get_shape(), dtype=empty.dtype, device="meta")
    if _other_hash(shape, place, note, data) != other:
        raise DamagedBlockError(_damaged(path, "its header is not what was written for this place"))
    facts = path.stat()
    now = _stored_hash(path, shape.nbytes, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    if now != data:
        raise DamagedBlockError(_damaged(path, "its checksum differs"))
    return Block(x=x, note=note, is_summed=True)


def _other_hash(x: torch.Tensor, place: str, note: str, data: str) -> str:
    text = f"{place} {x.dtype} {list(x.shape)} {data} {note}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=2**18)
def _stored_hash(path: Path, num_bytes: int, size: int, *unchanged: int) -> str:
    """Return the hash of the last `num_bytes` of a file of this size, which are its tensor."""

    def chunks() -> Iterator[npt.NDArray[np.uint8]]:
        chunk = np.empty(_CHUNK_BYTES, np.uint8)
        with path.open("rb") as file:
            file.seek(size - num_bytes)
            while count := file.readinto(chunk.data):
                yield chunk[:count]

    try:
        return _table_hash(chunks())
    except OSError as error:
        raise DamagedBlockError(_damaged(path, error.strerror or str(error))) from error


def _chunks_of(content: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]


def _table_hash(chunks: Iterable[npt.NDArray[np.uint8]]) -> str:
    """Hash row sums, column sums and what is left of bytes that come in whole rows."""
    seen, columns = hashlib.sha256(), np.zeros(_COLUMNS, "<u8")
    for chunk in chunks:
        whole = len(chunk) // (8 * _COLUMNS) * (8 * _COLUMNS)
        table = chunk[:whole].view("<u8").reshape(-1, _COLUMNS)
        columns += np.add.reduce(table, axis=0)
        seen.update(np.add.reduce(table, axis=1).data)
        seen.update(chunk[whole:].data)
    seen.update(columns.data)
    return seen.hexdigest()[:16]


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path} is damaged ({reason}): run bench store verify --repair, which deletes damaged"
        " blocks, then the same command again, which computes them anew."
    )
