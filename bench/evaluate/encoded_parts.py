"""Rows of a file being encoded, kept in checked parts beside it until all are there.

.OUT.npz.<digest of the inputs>.unfinished/000000000128.safetensors      rows from number 128 on
"""

from __future__ import annotations

import glob
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch

from bench.features.block_file import DamagedBlockError, open_block, write_block
from bench.files import parse_json, remove_leftovers, write_whole

PART_BYTES = 16 * 2**20
PART_SECONDS = 10.0
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every member, so that equal arrays give equal files


class Parts:
    """Float32 rows `[total, ...]` for the file `out`; those of a killed process are kept.

    `key` is the digest of everything that the rows depend on.
    """

    def __init__(self, out: Path, key: str) -> None:
        self.out, self.key = out, key
        self.folder = out.with_name(f".{out.name}.{key[:16]}.unfinished")
        remove_leftovers(self.folder)
        self.grid: tuple[int, ...] = ()
        self.done, self._row_shape = 0, torch.Size()
        for part, grid in self._parts():
            self.done, self.grid, self._row_shape = self.done + len(part), grid, part.shape[1:]
        self._waiting: list[torch.Tensor] = []
        self._since = time.monotonic()

    def add(self, rows: torch.Tensor, grid: tuple[int, ...]) -> None:
        """Append rows; they are written once they are many, or some time has passed."""
        self._waiting.append(rows)
        self.grid, self._row_shape = grid, rows.shape[1:]
        num_bytes = sum(part.nbytes for part in self._waiting)
        if num_bytes >= PART_BYTES or time.monotonic() - self._since > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        if self._waiting:
            rows = torch.cat(self._waiting).contiguous()
            write_block(self._file(self.done), rows, json.dumps(self.grid), self._place(self.done))
            self.done += len(rows)
        self._waiting, self._since = [], time.monotonic()

    def finish(self, name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[int, ...]:
        """Write `out` with all rows as the array `name` and other arrays; return the rows' shape.

        Raises:
            BenchError: the disk is full or cannot be written; the parts are kept.
        """
        self.flush()
        shape = (self.done, *self._row_shape)

        def write(file: BinaryIO) -> None:
            with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
                for one in sorted([name, *arrays]):
                    member = zipfile.ZipInfo(f"{one}.npy", _EPOCH)
                    with archive.open(member, "w", force_zip64=True) as target:
                        if one != name:
                            np.lib.format.write_array(target, arrays[one], allow_pickle=False)
                            continue
                        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                        np.lib.format.write_array_header_1_0(target, header)
                        for part, _ in self._parts():
                            target.write(part.numpy().astype("<f4").data.cast("B"))

        whole = self.folder / self.out.name
        write_whole(whole, write)
        whole.replace(self.out)
        remove_parts(self.out)
        return shape

    def _parts(self) -> Iterator[tuple[torch.Tensor, tuple[int, ...]]]:
        """Yield whole parts in order, up to the first that is missing or damaged."""
        done = 0
        with suppress(FileNotFoundError, DamagedBlockError):
            while True:
                part = open_block(self._file(done), self._place(done))
                rows: torch.Tensor = part.x[:]
                yield rows, tuple(parse_json(part.note))
                done += len(rows)

    def _file(self, first: int) -> Path:
        return self.folder / f"{first:012d}.safetensors"

    def _place(self, first: int) -> str:
        return f"{self.key}/{first}"


def remove_parts(out: Path) -> None:
    """Remove all rows kept for the file `out`."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*.unfinished"):
        shutil.rmtree(folder, ignore_errors=True)
