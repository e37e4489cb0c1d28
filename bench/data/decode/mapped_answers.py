"""Answers between processes: their arrays travel in memory that both map, without a name."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

INLINE_BYTES = 32 << 10  # smaller answers travel in the pipe


def send_mapped(connection: Connection, outcome: Any) -> None:
    """Send what was found; arrays travel in memory that both processes map."""
    buffers: list[pickle.PickleBuffer] = []
    header = pickle.dumps(outcome, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    total = sum(part.nbytes for part in raw)
    if total <= INLINE_BYTES:
        connection.send((pickle.dumps(outcome, protocol=5), []))
        return
    with _shared_file() as file:
        for part in raw:
            file.write(part)
        file.flush()
        connection.send((header, [part.nbytes for part in raw]))
        reduction.send_handle(connection, file.fileno(), None)


def received_mapped(connection: Connection) -> Any:
    """Return what `send_mapped` sent; its arrays can be written to.

    Raises:
        EOFError, OSError: the other process ended.
    """
    header, sizes = connection.recv()
    if not sizes:
        return pickle.loads(header)
    handle = reduction.recv_handle(connection)
    try:
        memory = memoryview(mmap.mmap(handle, sum(sizes)))
    finally:
        os.close(handle)
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    parts = [memory[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return pickle.loads(header, buffers=parts)


def _shared_file() -> Any:
    """Return an open file in memory that has no name, so that nobody has to remove it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("frames"), "wb")
    return tempfile.TemporaryFile()
