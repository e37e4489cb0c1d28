"""Atomic file writes, removal of what killed writers left behind, file digests and seals."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bench.errors import BenchError

_SUFFIX = ".partial"
_ABANDONED_SECONDS = 24 * 3600.0  # of a file whose writer, on another host, cannot be asked
_SEAL = "seal"


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: write under a temporary name, sync, rename; create its folder.

    `content` is the bytes, or a function that writes them into an open file (for large content).

    Raises:
        BenchError: no space, no permission, or another disk error.
    """
    partial = partial_name(path)
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


def partial_name(path: Path) -> Path:
    """Return the name under which this process may write a file or folder until it is whole."""
    return path.with_name(f"{path.name}.{this_host()}.{os.getpid()}{_SUFFIX}")


def remove_leftovers(folder: Path) -> int:
    """Remove and count partial files and folders below `folder` whose writers are dead.

    Those of other hosts count as abandoned after a day without a change.
    """
    removed = 0
    for place, folders, files in os.walk(folder):
        for name in [name for name in (*folders, *files) if name.endswith(_SUFFIX)]:
            path = Path(place, name)
            with contextlib.suppress(OSError):  # another user's, or just gone
                if _is_abandoned(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed += 1
        folders[:] = [name for name in folders if not name.endswith(_SUFFIX)]
    return removed


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return JSON text that carries its own SHA-256, to be read with `unsealed`."""
    facts: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps({**facts, _SEAL: _seal(facts)}, indent=1, ensure_ascii=False)
    return f"{text}\n".encode()


def unsealed(text: bytes) -> dict[str, Any]:
    """Return the content of a sealed text, or of an older one without a seal.

    Raises:
        ValueError: not a JSON object, or its content is not what was sealed.
    """
    content = json.loads(text.decode())
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    seal = content.pop(_SEAL, None)
    if seal not in (None, _seal(content)):
        raise ValueError("it was changed after it was written: its seal differs")
    return content


def _seal(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def this_host() -> str:
    """Return the name of this machine."""
    return socket.gethostname() or "host"


def _is_abandoned(path: Path) -> bool:
    owner, _, pid = path.name.removesuffix(_SUFFIX).rpartition(".")
    if not pid.isdigit():
        return False
    if owner.endswith(f".{this_host()}"):
        return not _lives(int(pid))
    return time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS


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
