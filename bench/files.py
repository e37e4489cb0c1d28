"""Atomic file writes, removal of what killed writers left behind, digests, seals, JSON and CSV."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from bench.errors import BenchError, visible

_SUFFIX = ".partial"
_ABANDONED_SECONDS = 24 * 3600.0  # of a file whose writer, on another host, cannot be asked
_SEAL = "seal"
_FORMULA = re.compile(r"[\s\x00-\x1f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20].|[\t\r\n]", re.DOTALL)


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


def remember(path: Path, content: bytes) -> None:
    """Write a file of a cache, as `write_whole`; in a read-only folder nothing is remembered.

    Raises:
        BenchError: no space, or another disk error.
    """
    if not is_read_only(path.parent):
        write_whole(path, content)


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


def is_read_only(folder: Path) -> bool:
    """Whether a folder, or if it does not exist the one to create it in, cannot be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and not os.access(folder, os.W_OK)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_cell(value: object) -> object:
    """Return a cell for a CSV file: a text that a spreadsheet would run as a formula gets a `'`.

    Control characters are `visible`.
    """
    if not isinstance(value, str):
        return value
    try:
        float(value)
    except ValueError:
        return visible(f"'{value}" if _FORMULA.match(value) else value)
    return value


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; a byte order mark is left out.

    Raises:
        ValueError: in one line: not JSON or not text, nested too deeply, a whole number beyond 64
            bits, or a key that an object has twice.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text))
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_int=_whole, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 63:
        raise ValueError(f"the whole number {digits[:20]}... is beyond 64 bits")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {twice!r} twice")
    return found


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
    content = parse_json(text)
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
