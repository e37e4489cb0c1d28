"""Atomic file writes, removal of what killed writers left behind, and file digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from bench.errors import BenchError

_SUFFIX = ".partial"


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: write under a temporary name, sync, rename; create its folder.

    `content` is the bytes, or a function that writes them into an open file (for large content).

    Raises:
        BenchError: no space, no permission, or another disk error.
    """
    partial = path.with_name(f"{path.name}.{_host()}.{os.getpid()}{_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise BenchError(_sentence(path, error)) from error


def remove_leftovers(folder: Path) -> int:
    """Remove and count the partial files below `folder` whose writers on this host are dead."""
    removed = 0
    for path in folder.rglob(f"*{_SUFFIX}"):
        owner, _, pid = path.name.removesuffix(_SUFFIX).rpartition(".")
        if owner.endswith(f".{_host()}") and pid.isdigit() and not _lives(int(pid)):
            with contextlib.suppress(PermissionError):  # another user's file
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _host() -> str:
    return socket.gethostname() or "host"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)  # makes a rename survive a power cut
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sentence(path: Path, error: OSError) -> str:
    advice = {
        errno.ENOSPC: "free some space, or set BENCH_HOME to a larger disk",
        errno.EDQUOT: "the quota is used up: free some space, or set BENCH_HOME to another disk",
        errno.EACCES: "set BENCH_HOME to a writable folder",
        errno.EPERM: "set BENCH_HOME to a writable folder",
        errno.EROFS: "the disk is read-only: set BENCH_HOME to another one",
    }.get(error.errno or 0, "check the disk, or set BENCH_HOME to another one")
    reason = error.strerror or error
    return f"cannot write {path}: {reason}; {advice}, and run again: finished work is kept."
