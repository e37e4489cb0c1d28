"""Feature sets on disk, named by the facts behind their numbers, safe to kill at any time.

    <home>/features/<2 letters>/<digest>/facts.json
    <home>/features/<2 letters>/<digest>/000/block-000123.safetensors

A block has the tensor `x` `[rows, draws, ...]` of consecutive rows of the root manifest, as one
JSON text a note on each row, and checksums. Blocks are written atomically: an existing block is
complete. Equal facts give equal bytes.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from bench.errors import BenchError
from bench.features.block_file import Block, DamagedBlockError, open_block, write_block
from bench.features.key import canonical, digest
from bench.files import parse_json, remove_leftovers, write_whole
from bench.types import IntArray

log = logging.getLogger(__name__)

BLOCK_BYTES = 64 * 2**20
STRETCH = 64  # rows; divisible by the rows of every block
DTYPES = {"float16": torch.float16, "float32": torch.float32}
_OPEN_BLOCKS = 256
_BLOCKS_PER_FOLDER = 1000


@dataclass(frozen=True, kw_only=True)
class RowNote:
    """What happened to one row: the reason if it is unreadable, else how it was read.

    `repeated` counts the padding frames of a short video over all draws. A box that `is_outside`
    the view was read at its edge.
    """

    error: str | None = None
    missing: bool = False
    decoder: str = ""
    num_frames: int = 0
    repeated: int = 0
    is_outside: bool = False

    def facts(self) -> dict[str, Any]:
        """JSON-able form; `is_outside` is left out if false."""
        facts = asdict(self)
        return facts if self.is_outside else {k: v for k, v in facts.items() if k != "is_outside"}


class RowFeatures(Protocol):
    """Features of rows of a root manifest, on disk or in memory, with a note on each row."""

    facts: Mapping[str, Any]
    shape: tuple[int, ...]
    row_bytes: int

    def read(self, rows: IntArray, draw: int = 0) -> torch.Tensor:
        """Return one draw of the given rows (root row numbers), `[rows, ...]` as stored."""
        ...

    def notes(self, rows: IntArray) -> Iterable[RowNote]:
        """Return the note of each of the given rows."""
        ...

    def unreadable(self, rows: IntArray) -> dict[int, RowNote]:
        """Return root row -> note of the unreadable ones among `rows`."""
        ...


class FeatureSet:
    """The stored features of a root manifest of `num_rows` rows, or of those needed so far.

    `shape` is that of one row, `[draws, V, S, D]` or `[draws, V, L, D]`.
    """

    def __init__(
        self, home: Path, facts: Mapping[str, Any], *, shape: Sequence[int], num_rows: int
    ) -> None:
        self.facts: Mapping[str, Any] = dict(facts)
        self.digest = digest(facts)
        self.folder = feature_folder(home, self.digest)
        self.shape = tuple(shape)
        self.num_rows = num_rows
        self.dtype = DTYPES[facts["dtype"]]
        self.row_bytes = math.prod(shape) * self.dtype.itemsize
        self.block_rows = block_rows(self.row_bytes)
        self._is_older = False  # has a block without checksums
        self._block = lru_cache(_OPEN_BLOCKS)(self._open_block)

    # --------------------------------------------------------------------------------- reading
    def read(self, rows: IntArray, draw: int = 0) -> torch.Tensor:
        """Return one draw of the given rows (root row numbers), `[rows, ...]` as stored.

        Raises:
            BenchError: a block of one of the rows is missing or damaged.
        """
        x = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        blocks = ordered // self.block_rows
        cuts = np.flatnonzero((np.diff(ordered) != 1) | (np.diff(blocks) != 0)) + 1
        for run in np.split(order, cuts) if len(rows) else ():
            block, first = divmod(int(rows[run[0]]), self.block_rows)
            stored = self._block(block)[0][first : first + len(run), draw : draw + 1]
            x[torch.from_numpy(run)] = stored.squeeze(1)
        return x

    def notes(self, rows: IntArray) -> Iterator[RowNote]:
        """Yield the note of each of the given rows; raises as `read`."""
        for row in rows.tolist():
            block, place = divmod(row, self.block_rows)
            yield self._block(block)[1][place]

    def unreadable(self, rows: IntArray) -> dict[int, RowNote]:
        """Return root row -> note of the unreadable ones among `rows`; raises as `read`."""
        notes = zip(rows.tolist(), self.notes(rows), strict=True)
        return {row: note for row, note in notes if note.error is not None}

    def rows_of(self, block: int) -> IntArray:
        """Return the root row numbers of a block."""
        stop = min((block + 1) * self.block_rows, self.num_rows)
        return np.arange(block * self.block_rows, stop, dtype=np.int64)

    def missing(self, rows: IntArray) -> list[int]:
        """Return the numbers of the missing blocks that `rows` need."""
        needed: list[int] = np.unique(rows // self.block_rows).tolist()
        folders = {self._path(block).parent for block in needed}
        there = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
        return [block for block in needed if self._path(block).name not in there]

    def missing_bytes(self, rows: IntArray) -> int:
        """Return the size on disk of the missing blocks of `rows`."""
        return self.row_bytes * sum(len(self.rows_of(block)) for block in self.missing(rows))

    # --------------------------------------------------------------------------------- writing
    def start(self) -> None:
        """Create the folder, write the facts, and remove leftovers of killed writers.

        Raises:
            BenchError: the folder cannot be written.
        """
        text = (json.dumps(self.facts, indent=1, sort_keys=True) + "\n").encode()
        path = self.folder / "facts.json"
        if not path.exists() or path.read_bytes() != text:  # damaged, or not there yet
            write_whole(path, text)
        remove_leftovers(self.folder)

    def write(self, block: int, x: torch.Tensor, notes: Sequence[RowNote]) -> None:
        """Store a block atomically, `[rows, *shape]` float32 or as stored.

        Raises:
            BenchError: a value is not finite, or too large for the stored type; the disk is full
                or cannot be written.
        """
        assert x.shape == (len(self.rows_of(block)), *self.shape), (x.shape, self.shape)
        assert len(notes) == len(x)
        stored = x.to(self.dtype).contiguous()
        if not torch.isfinite(stored).all():
            self._refuse(block, x)
        rows = canonical([note.facts() for note in notes])
        write_block(self._path(block), stored, rows, block_place(self.digest, block))

    def _refuse(self, block: int, x: torch.Tensor) -> None:
        finite = torch.isfinite(x).flatten(1).all(dim=1)
        rows = self.rows_of(block)
        if finite.all():
            raise BenchError(
                f"features of rows {rows[0]} to {rows[-1]} reach {x.abs().max():.3g}, above the"
                " maximum of float16 (65504); store them with --set dtype=float32."
            )
        row = rows[finite.tolist().index(False)]
        raise BenchError(
            f"the encoder gave non-finite features for row {row} in {self.facts['precision']}: try"
            " --set precision=fp32, and check the weights if that does not help."
        )

    def _path(self, block: int) -> Path:
        folder = self.folder / f"{block // _BLOCKS_PER_FOLDER:03d}"
        return folder / f"block-{block:06d}.safetensors"

    def _open_block(self, block: int) -> tuple[Any, list[RowNote]]:
        """Return the memory-mapped tensor of a block and its notes."""
        path = self._path(block)
        try:
            found = open_block(path, block_place(self.digest, block))
        except FileNotFoundError as error:
            rows = self.rows_of(block)
            raise BenchError(
                f"features {self.digest[:12]} are incomplete: rows {rows[0]} to {rows[-1]} are not"
                f" in {self.folder}; rerun the same command to extract them."
            ) from error
        if not found.is_summed and not self._is_older:
            self._is_older = True
            log.warning(
                "%s has blocks without checksums, of an earlier version: damage to them cannot be"
                " noticed",
                self.folder,
            )
        return found.x, block_notes(path, found)


def block_notes(path: Path, block: Block) -> list[RowNote]:
    """Return the note on each row of a block.

    Raises:
        DamagedBlockError: it has no such notes.
    """
    try:
        notes = [RowNote(**note) for note in parse_json(block.note)]
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedBlockError(f"{path} is damaged ({error}); delete it and run again.") from error
    return notes


def block_place(digest: str, block: int) -> str:
    """Return the text that binds the checksums of a block to its place in the store."""
    return f"{digest}/{block}"


def feature_folder(home: Path, digest: str) -> Path:
    """Return the folder of the features of that digest."""
    return home / "features" / digest[:2] / digest


def block_rows(row_bytes: int) -> int:
    """Return the rows per block: as many as fit into 64 MiB, as a power of two from 1 to 64.

    Powers of two, so that the blocks of all readouts nest in a stretch of 64 rows.
    """
    fitting = max(1, min(STRETCH, BLOCK_BYTES // row_bytes))
    return 1 << (int(fitting).bit_length() - 1)
