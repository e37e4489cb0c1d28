"""Deterministic live features, encoded once and kept in memory for many fits.

Shape letters: V views, S clips, L tokens of a view, D width.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.config import Machine
from bench.data.manifest import Manifest
from bench.errors import UsageError
from bench.features.counts import Counts
from bench.features.extraction import Extraction
from bench.features.row_reader import RowReader
from bench.features.store import RowNote
from bench.types import IntArray, Progress, Reads

MEMORY_SHARE = 0.5  # largest share of the free memory


class InMemoryFeatures:
    """Float32 features of some rows of a root manifest, with the interface of a `FeatureSet`.

    `shape` is that of one row, `[1, V, 1, D]` (vectors, averaged over clips) or `[1, V, L, D]`.
    """

    def __init__(self, reads: Reads, shape: Sequence[int], rows: IntArray) -> None:
        self.facts: Mapping[str, Any] = {"reads": reads}
        self.shape = tuple(shape)
        self.row_bytes = 4 * math.prod(shape)
        self._rows = np.sort(rows)
        self._x = torch.zeros((len(rows), *self.shape[1:]))
        self._notes: list[RowNote] = [RowNote()] * len(rows)

    def put(self, place: int, x: torch.Tensor | None, note: RowNote) -> None:
        """Store the features (None if unreadable) of the row at `place` in ascending order."""
        if x is not None:
            self._x[place] = x.to("cpu", torch.float32).reshape(self._x.shape[1:])
        self._notes[place] = note

    def correct(self, row: int, note: RowNote) -> None:
        """Replace the note of a root row."""
        [place] = self._places(np.array([row], dtype=np.int64))
        self._notes[place] = note

    def read(self, rows: IntArray, draw: int = 0) -> torch.Tensor:
        """Return the features of the given root rows, `[rows, V, 1 or L, D]`."""
        assert draw == 0
        return self._x[torch.from_numpy(self._places(rows))]

    def notes(self, rows: IntArray) -> list[RowNote]:
        """Return the note of each of the given root rows."""
        return [self._notes[place] for place in self._places(rows)]

    def unreadable(self, rows: IntArray) -> dict[int, RowNote]:
        """Return root row -> note of the unreadable ones among `rows`."""
        notes = zip(rows.tolist(), self.notes(rows), strict=True)
        return {row: note for row, note in notes if note.error is not None}

    def _places(self, rows: IntArray) -> IntArray:
        places = np.searchsorted(self._rows, rows)
        assert (self._rows[places] == rows).all(), "rows that were not encoded"
        return places


def hold(
    extraction: Extraction, machine: Machine, *, progress: Progress, counts: Counts
) -> dict[Reads, InMemoryFeatures]:
    """Decode and encode every row of the manifest once, in order, for all readouts.

    Raises:
        UsageError: the features would take more than half of the free memory.
    """
    assert not extraction.recipe.is_random, "augmented views differ in every epoch"
    manifest = extraction.manifest
    shapes = {reads: extraction.shape(reads) for reads in extraction.reads}
    if "vector" in shapes:  # averaged over clips
        draws, views, _, width = shapes["vector"]
        shapes["vector"] = (draws, views, 1, width)
    _check_memory(manifest, sum(4 * math.prod(shape) for shape in shapes.values()))
    order = np.argsort(manifest.root_rows, kind="stable")
    features_of = {
        reads: InMemoryFeatures(reads, shape, manifest.root_rows) for reads, shape in shapes.items()
    }
    reader = RowReader(extraction=extraction, machine=machine, counts=counts)
    progress.start(f"live features {manifest.name} {manifest.split}", len(order))
    try:
        for place, read in enumerate(reader.in_turn(order)):
            assert read.row == order[place], (read.row, order[place])
            for reads, kept in features_of.items():
                x = None if read.features is None else read.features[reads].float()
                if x is not None and reads == "vector":
                    x = x.mean(dim=1)
                kept.put(place, x, read.note)
            progress.advance()
    finally:
        progress.stop()
    return features_of


def free_memory() -> int:
    """Return the bytes of available memory."""
    facts = Path("/proc/meminfo")
    if facts.exists():  # free pages and reclaimable file cache
        for line in facts.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_memory(manifest: Manifest, row_bytes: int) -> None:
    needed, free = len(manifest) * row_bytes, free_memory()
    if needed > MEMORY_SHARE * free:
        raise UsageError(
            f"live features of {manifest.name} {manifest.split} would take {needed / 2**30:.3g} GiB"
            f" of memory, more than half of the free {free / 2**30:.3g} GiB: store them with --set"
            " features=stored, or use fewer clips with --plan."
        )
