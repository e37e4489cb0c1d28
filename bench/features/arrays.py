"""Features computed elsewhere: arrays in memory or in an .npz file, as a feature source."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.errors import DataError
from bench.features.source import epoch_order, make_batch, split_batches
from bench.types import Batch, IntArray, Reads

FloatArray = npt.NDArray[np.float32]

MOST_LOST = 0.01  # of the spread of features, when they are rounded to float32
LARGEST_RATIO, UNSUSPICIOUS_BYTES = 50, 1 << 28  # of the arrays to their compressed file
# What reading an array of a damaged archive raises (RuntimeError: encrypted or unknown method).
_ARRAY_FAILURES = (
    ValueError, OSError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


class ArraySource:
    """Features in memory as a `FeatureSource`, one view per row.

    `x` is `[N, D]` (read as vectors) or `[N, L, D]` (as tokens), `y` int64 `[N]`; `num_classes`
    defaults to the largest label plus one.

    Raises:
        DataError: shapes or labels do not match, or values are not finite.
    """

    def __init__(
        self, x: npt.NDArray[Any], y: npt.NDArray[Any], num_classes: int | None = None
    ) -> None:
        _check(x, y)
        self._x = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        self.labels: IntArray = y.astype(np.int64)
        self.reads: Reads = "vector" if x.ndim == 2 else "tokens"
        self.groups = None  # the videos of the rows are unknown
        self.width = x.shape[-1]
        largest = int(self.labels.max())
        self.num_classes = largest + 1 if num_classes is None else num_classes
        if largest >= self.num_classes:
            raise DataError(
                f"label {largest} is outside the {self.num_classes} classes; labels start at 0."
            )

    def __len__(self) -> int:
        return len(self._x)

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield every row exactly once; in row order without a seed, else by (seed, number)."""
        for rows in split_batches(epoch_order(len(self), number, seed), batch_size):
            yield make_batch(self._x[torch.from_numpy(rows)].unsqueeze(1), self.labels, rows)

    def row_digests(self) -> Iterator[bytes]:
        """Yield a digest of the features of every row."""
        for row in self._x.numpy():
            yield hashlib.blake2b(row, digest_size=16).digest()

    def subset(self, rows: IntArray) -> ArraySource:
        """The same features restricted to `rows`."""
        return ArraySource(self._x.numpy()[rows], self.labels[rows], self.num_classes)


def read_npz(path: Path) -> tuple[FloatArray, IntArray]:
    """Read `x` (`[N, D]` or `[N, L, D]`) and `y` (`[N]`) of an .npz file, as float32 and int64.

    Raises:
        DataError: no such file, not an .npz, arrays that are missing or do not match, or values
            whose differences float32 cannot represent.
    """
    x, y = read_arrays(path, ("x", "y"))
    try:
        _check(x, y)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    _refuse_lost(path, x, narrow)
    return narrow, y.astype(np.int64)


def read_arrays(path: Path, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Return the named arrays of an .npz file, without unpickling anything.

    Raises:
        DataError: no such file, not a complete .npz, or an array that is missing or not plain.
    """
    _require_archive(path, names)
    found = []
    with np.load(path, allow_pickle=False) as arrays:
        for name in names:
            if name not in arrays:
                needed = f"array{'s' * (len(names) > 1)} {' and '.join(names)}"
                present = ", ".join(arrays.files) or "nothing"
                raise DataError(f"{path} must have the {needed}; {name} is missing, has {present}.")
            try:
                array = arrays[name]
                _require_whole(path, name, array)
            except _ARRAY_FAILURES as error:
                # numpy's own message would advise loading the file unsafely.
                is_pickle = "allow_pickle" in str(error)
                reason = "holds Python objects" if is_pickle else "is damaged"
                raise DataError(_not_plain(path, f"array {name} {reason}", names)) from error
            if not isinstance(array, np.ndarray):  # numpy gives the bytes of any other member
                raise DataError(_not_plain(path, f"{name} is not an array", names))
            found.append(array)
    return found


def _refuse_lost(path: Path, x: npt.NDArray[Any], narrow: FloatArray) -> None:
    """Refuse float64 features whose differences are lost in float32."""
    if x.dtype.itemsize <= narrow.itemsize:
        return
    means = x.reshape(-1, x.shape[-1]).mean(axis=0)
    lost = sum(float(np.abs(row - kept).sum()) for row, kept in zip(x, narrow, strict=True))
    spread = sum(float(np.abs(row - means).sum()) for row in x)
    if lost > MOST_LOST * spread:
        raise DataError(
            f"{path}: the values of x are beyond float32, or its rows differ by less than float32"
            " represents at their size; divide x by its scale and subtract its mean."
        )


def _require_whole(path: Path, name: str, array: Any) -> None:
    """Raise ValueError if a member is longer than its array: its header, then, is damaged.

    The checksum of a member is compared only once its last byte is read.
    """
    with zipfile.ZipFile(path) as archive:
        member = f"{name}.npy"
        if member not in archive.namelist():
            return
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
            start = 8 + (2 if version == (1, 0) else 4) + length
        if archive.getinfo(member).file_size != start + getattr(array, "nbytes", -1):
            raise ValueError("its header does not fit its length")


def _require_archive(path: Path, names: Sequence[str]) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(6)
        is_archive = zipfile.is_zipfile(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    if start == b"\x93NUMPY":
        raise DataError(_not_plain(path, "it is a single array from numpy.save", names))
    if not is_archive:
        reason = "it is cut short" if start.startswith(b"PK") else f"it begins with {start!r}"
        raise DataError(_not_plain(path, reason, names))
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(_not_plain(path, "it is damaged", names)) from error
    size = path.stat().st_size
    if unpacked > max(LARGEST_RATIO * size, UNSUSPICIOUS_BYTES):
        raise DataError(
            f"{path} would unpack {size:,} bytes to {unpacked:,}, which is refused because it could"
            " fill the memory; write it with numpy.savez, which does not compress."
        )


def _not_plain(path: Path, reason: str, names: Sequence[str]) -> str:
    arrays = ", ".join(f"{name}={name}" for name in names)
    return (
        f"{path} is not an .npz of plain arrays ({reason}); write it with"
        f" numpy.savez(path, {arrays})."
    )


def _check(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
    if x.ndim not in (2, 3) or x.dtype.kind != "f" or 0 in x.shape:
        raise DataError(
            f"x is {x.dtype} {x.shape}; it must be floating point [rows, width] or"
            " [rows, tokens, width], with at least one row."
        )
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise DataError(f"y is {y.dtype} {y.shape}; it must be one integer label per row of x.")
    if y.min() < 0 or y.max() > np.iinfo(np.int64).max:
        worst = y.min() if y.min() < 0 else y.max()
        raise DataError(f"y has the label {worst}; labels are from 0 to {np.iinfo(np.int64).max}.")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"x has non-finite values in {int((~finite).sum())} rows, first in row"
            f" {int(finite.argmin())}; repair or remove them."
        )
