"""Feature sources of probes: from disk, or from the encoder in every epoch.

Shape letters: B rows, V views, S clips, L tokens of a view, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from bench.config import Machine
from bench.data.manifest import Manifest
from bench.errors import UnreadableMedia
from bench.features.counts import Counts
from bench.features.extraction import Extraction
from bench.features.row_reader import RowReader
from bench.features.store import RowFeatures
from bench.types import Batch, IntArray, Reads

T = TypeVar("T")

CACHED_BYTES = 2**30  # smaller feature sets stay in memory, as stored


class SourceRows:
    """The part of a `FeatureSource` that its manifest gives; `groups` are the videos of boxes."""

    def __init__(self, manifest: Manifest, reads: Reads, rows: IntArray | None) -> None:
        self.manifest, self.reads = manifest, reads
        self._rows = np.arange(len(manifest), dtype=np.int64) if rows is None else rows
        self.labels = manifest.labels[self._rows]
        regions = manifest.regions
        self.groups = None if regions is None else regions.video[self._rows]
        self._clips = None if regions is None else regions.clip[self._rows]
        self.num_classes = len(manifest.classes)

    def __len__(self) -> int:
        return len(self._rows)

    def _order(self, number: int, seed: int | None) -> IntArray:
        return epoch_order(len(self), number, seed, self._clips)


class StoredSource(SourceRows):
    """A `FeatureSource` of `manifest`, or of its `rows`, from a complete `FeatureSet`.

    Rows must be readable: callers leave out those in `features.unreadable(...)`. With K stored
    draws, epoch `number` reads draw `number % K`. Large sets are read batch by batch.

    Raises:
        BenchError: a block of one of the rows is missing.
    """

    def __init__(
        self,
        features: RowFeatures,
        manifest: Manifest,
        reads: Reads,
        *,
        rows: IntArray | None = None,
    ) -> None:
        assert reads == features.facts["reads"], features.facts
        super().__init__(manifest, reads, rows)
        self.features = features
        self.width = features.shape[-1]
        self._root_rows = manifest.root_rows[self._rows]
        self._cached: dict[int, torch.Tensor] = {}

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield every row exactly once; in row order without a seed, else by (seed, number)."""
        draw = number % self.features.shape[0]
        cached = len(self) * self.features.row_bytes < CACHED_BYTES
        read = self._from_memory if cached else self._from_disk
        parts = split_batches(self._order(number, seed), batch_size)

        def batch(rows: IntArray) -> Batch:
            return make_batch(read(rows, draw), self.labels, rows)

        # Reading ahead from memory would only take CPU time from the training.
        return (batch(part) for part in parts) if cached else one_ahead(batch, parts)

    def subset(self, rows: IntArray) -> StoredSource:
        """The same features restricted to `rows` (row numbers within this source)."""
        return StoredSource(self.features, self.manifest, self.reads, rows=self._rows[rows])

    def _from_memory(self, rows: IntArray, draw: int) -> torch.Tensor:
        if draw not in self._cached:
            self._cached[draw] = self.features.read(self._root_rows, draw)
        return self._readable(self._cached[draw][torch.from_numpy(rows)])

    def _from_disk(self, rows: IntArray, draw: int) -> torch.Tensor:
        return self._readable(self.features.read(self._root_rows[rows], draw))

    def _readable(self, stored: torch.Tensor) -> torch.Tensor:
        """Convert stored rows to what a probe reads: float32, vectors averaged over clips."""
        return stored.float().mean(dim=2) if self.reads == "vector" else stored.float()


class LiveSource(SourceRows):
    """A `FeatureSource` of a manifest, or of its `rows`, that encodes again in every epoch.

    The extraction has one readout. Epoch `number` of an augmentation is draw `number`. Features are
    float32 on the device of the encoder. A key frame is decoded once per epoch for all of its
    boxes. `counts` is updated.
    """

    def __init__(
        self,
        extraction: Extraction,
        machine: Machine,
        *,
        rows: IntArray | None = None,
        counts: Counts | None = None,
    ) -> None:
        [reads] = extraction.reads
        super().__init__(extraction.manifest, reads, rows)
        assert (extraction.region is None) == (self.manifest.regions is None), (
            "boxes need a readout"
        )
        self.extraction, self.machine = extraction, machine
        self.width = extraction.shape(reads)[-1]
        self.counts = Counts() if counts is None else counts

    def epoch(self, number: int, *, batch_size: int, seed: int | None = None) -> Iterator[Batch]:
        """Yield every row exactly once; in row order without a seed, else by (seed, number).

        Raises:
            UnreadableMedia: a row cannot be decoded.
        """
        order = self._order(number, seed)
        features = self._encode(order, draw=number if self.extraction.recipe.is_random else 0)
        for rows in split_batches(order, batch_size):
            x = torch.stack([next(features) for _ in rows])
            yield make_batch(x, self.labels, rows)

    def subset(self, rows: IntArray) -> LiveSource:
        """The same features restricted to `rows` (row numbers within this source)."""
        rows = self._rows[rows]
        return LiveSource(self.extraction, self.machine, rows=rows, counts=self.counts)

    def _encode(self, order: IntArray, draw: int) -> Iterator[torch.Tensor]:
        """Yield the features of rows one by one, `[V, D]` or `[V, L, D]`."""
        reader = RowReader(extraction=self.extraction, machine=self.machine, counts=self.counts)
        rows = self._rows[order]
        for row, read in zip(rows.tolist(), reader.in_turn(rows, draw), strict=True):
            assert read.row == row, (read.row, row)
            if read.features is None:
                raise UnreadableMedia(
                    f"{self.manifest.name} {self.manifest.split}: {self.manifest.ids[row]} cannot"
                    f" be read ({read.note.error}); repair it, or skip it with"
                    " --on-unreadable skip."
                )
            # A copy, since autograd rejects tensors from inference mode.
            x = read.features[self.reads].float().clone()
            yield x.mean(dim=1) if self.reads == "vector" else x


def epoch_order(
    num_rows: int, number: int, seed: int | None, clips: IntArray | None = None
) -> IntArray:
    """Return the rows of an epoch: in order without a seed, else shuffled by (seed, number).

    Boxes of one key frame, whose number is `clips` `[rows]`, stay together and in order.
    """
    if seed is None:
        return np.arange(num_rows, dtype=np.int64)
    rng = np.random.default_rng((seed, number))
    if clips is None:
        return rng.permutation(num_rows).astype(np.int64)
    numbers, clip = np.unique(clips, return_inverse=True)
    return np.argsort(rng.permutation(len(numbers))[clip], kind="stable").astype(np.int64)


def split_batches(order: IntArray, batch_size: int) -> Iterator[IntArray]:
    """Yield consecutive parts of `order`; the last one may be shorter."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def make_batch(x: torch.Tensor, labels: IntArray, rows: IntArray) -> Batch:
    """Combine features of `rows` with their labels and numbers."""
    return Batch(x=x, y=torch.from_numpy(labels[rows]), row=torch.from_numpy(rows.copy()))


def one_ahead(read: Callable[[IntArray], T], parts: Iterable[IntArray]) -> Generator[T, None, None]:
    """Yield what `read` gives for each part, and read the next one while the caller works on it."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = None
        for part in parts:
            coming = pool.submit(read, part)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
