"""Who works on what: claims that the system itself frees when their holder dies.

They are byte-range locks (`fcntl.lockf`), which NFS passes on to other hosts; one file holds the
claims of a whole job, so that nothing is left of them but an empty file, which `sweep` removes.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from bench.files import is_read_only, remove_leftovers, this_host

_FOLDER, _SUFFIX = "claims", ".lock"
_HOLDER_BYTES = 200


class Claims:
    """Numbers that this process claims in the lock file `path`, made when the first is taken.

    Where the file system has no locks, every claim is granted. Not for several threads.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._taken: set[int] = set()

    def take(self, number: int = 0, *, wait: bool = False) -> bool:
        """Claim a number, or return False if a living process has it (`wait`: until it is free)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
            except (BlockingIOError, PermissionError):
                return False
            except OSError:  # no locks here: two processes may do the same work
                return True
            if self._taken or self._is_current():
                self._taken.add(number)
                return True
            os.close(self._file)  # removed by its last user before it was locked
            self._file = None

    def release(self, number: int = 0) -> None:
        """Free a number."""
        assert self._file is not None
        if number in self._taken:
            self._taken.remove(number)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number)

    def sign(self) -> None:
        """Write who and since when into the file, for those who are refused."""
        assert self._file is not None
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        text = f"process {os.getpid()} on {this_host()} since {since}"
        os.pwrite(self._file, text.encode().ljust(_HOLDER_BYTES), 0)

    def holder(self) -> str:
        """Return what the holder wrote; only for a process that has no claim."""
        with suppress(OSError, UnicodeDecodeError):
            return self.path.read_text(encoding="utf-8").strip() or "another process"
        return "another process"

    def close(self) -> bool:
        """Free all numbers; the last user removes the file. Returns whether it was removed."""
        if self._file is None:
            return False
        is_last = False
        with suppress(OSError):
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                self.path.unlink()
                is_last = True
        os.close(self._file)
        self._file = None
        self._taken.clear()
        return is_last

    def _is_current(self) -> bool:
        assert self._file is not None
        with suppress(FileNotFoundError):
            return os.fstat(self._file).st_ino == self.path.stat().st_ino
        return False


def claims_file(home: Path, digest: str) -> Path:
    """Return the lock file of the job with that digest."""
    return home / _FOLDER / f"{digest}{_SUFFIX}"


def sweep(home: Path) -> int:
    """Remove and count what dead processes left below `home`; nothing if it is read-only."""
    if is_read_only(home):
        return 0
    removed = remove_leftovers(home)
    for path in (home / _FOLDER).glob(f"*{_SUFFIX}"):
        claims = Claims(path)
        with suppress(OSError):
            if claims.take():
                removed += claims.close()
    return removed
