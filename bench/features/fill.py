"""One pass over rows whose features are missing: decode, encode, read out, write blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from bench.counters import Counts
from bench.data.loader import Sample, explained, samples
from bench.data.recipe import Recipe
from bench.encoders.encoder import Encoder
from bench.errors import BenchError
from bench.features.encode import encode_rows
from bench.features.readout import read_out
from bench.features.store import STRETCH, FeatureSet, RowNote
from bench.types import IntArray, Manifest, Progress, Reads


@dataclass(frozen=True, kw_only=True, eq=False)
class Filling:
    """One pass over the missing rows of a root manifest."""

    encoder: Encoder
    manifest: Manifest
    recipe: Recipe
    draws: int
    device: torch.device
    precision: str
    layers: Sequence[int] | None
    counts: Counts

    def run(
        self,
        sets: Mapping[Reads, FeatureSet],
        todo: Mapping[Reads, Sequence[int]],
        rows: IntArray,
        *,
        workers: int,
        batch_size: int,
        progress: Progress,
    ) -> None:
        """Decode and encode `rows` (ascending) and write every block of `todo` once it is whole."""
        for reads, store in sets.items():
            if todo[reads]:
                store.start()
        progress.start(f"features {self.manifest.name} {self.manifest.split}", len(rows))
        try:
            with explained(self.manifest):
                stream = self._stream(rows, workers, batch_size)
                self._fill(sets, todo, stream, progress)
        finally:
            progress.stop()

    def _fill(
        self,
        sets: Mapping[Reads, FeatureSet],
        todo: Mapping[Reads, Sequence[int]],
        stream: Iterator[tuple[Sample, torch.Tensor | None]],
        progress: Progress,
    ) -> None:
        wanted = {reads: set(blocks) for reads, blocks in todo.items()}
        open_blocks: dict[tuple[Reads, int], _Block] = {}
        for sample, tokens in stream:
            for reads, store in sets.items():
                number = sample.row // store.block_rows
                if number not in wanted[reads]:
                    continue
                block = open_blocks.setdefault((reads, number), _Block())
                block.add(sample, self._read_out(tokens, reads, store))
                if len(block.samples) == len(store.rows_of(number)) * self.draws:
                    self._write(store, number, open_blocks.pop((reads, number)))
            if sample.draw == self.draws - 1:
                progress.advance()
        assert not open_blocks

    def _stream(
        self, rows: IntArray, workers: int, batch_size: int
    ) -> Iterator[tuple[Sample, torch.Tensor | None]]:
        every, draw = np.repeat(rows, self.draws), np.tile(np.arange(self.draws), len(rows))
        source = samples(
            self.manifest, every, self.recipe, draw=draw, workers=workers, batch_size=batch_size
        )
        per_row, per_call = self.recipe.clips_per_row, self.encoder.spec.clips_per_call
        # Calls never cross a stretch, so a row's place follows from the row and its draw.
        per_stretch = -(-STRETCH * self.draws * per_row // per_call) * per_call
        stretch, within = np.divmod(every, STRETCH)
        places = stretch * per_stretch + (within * self.draws + draw) * per_row
        return encode_rows(
            self.encoder,
            zip(places.tolist(), self.counts.decoding(source), strict=True),
            self.recipe,
            device=self.device,
            precision=self.precision,
            layers=self.layers,
            counts=self.counts,
        )

    def _read_out(
        self, tokens: torch.Tensor | None, reads: Reads, store: FeatureSet
    ) -> torch.Tensor:
        if tokens is None:
            return torch.zeros(store.shape[1:], device=self.device)
        row = read_out(tokens, reads, self.recipe.num_views, self.recipe.plan.num_clips)
        if row.shape != store.shape[1:]:
            spec = self.encoder.spec
            raise BenchError(
                f"encoder {spec.name} gave features of shape {tuple(row.shape)} where its spec"
                f" (patch_size {spec.patch_size}, tubelet_size {spec.tubelet_size}, width"
                f" {spec.width}) says {store.shape[1:]}; correct the spec."
            )
        return row

    def _write(self, store: FeatureSet, number: int, block: _Block) -> None:
        with self.counts.timed("encode"):  # a GPU is waited for here
            x = torch.stack(block.features).float().cpu()
            x = x.reshape(-1, *store.shape)
        notes = block.notes(self.draws)
        for row, note in enumerate(notes):
            if note.error is not None:
                x[row] = 0
        with self.counts.timed("write"):
            store.write(number, x, notes)


@dataclass(kw_only=True, eq=False)
class _Block:
    """A block being filled, draw by draw and row by row; features stay on the device."""

    samples: list[Sample] = field(default_factory=list)
    features: list[torch.Tensor] = field(default_factory=list)

    def add(self, sample: Sample, features: torch.Tensor) -> None:
        # Without its pixels, of which a block would hold gigabytes.
        self.samples.append(_without_pixels(sample))
        self.features.append(features)

    def notes(self, draws: int) -> list[RowNote]:
        return [
            row_note(self.samples[start : start + draws])
            for start in range(0, len(self.samples), draws)
        ]


def row_note(draws: Sequence[Sample]) -> RowNote:
    """Return what happened to one row over all of its draws; one failed draw fails the row."""
    for sample in draws:
        if sample.error is not None:
            return RowNote(error=sample.error, missing=sample.missing)
    return RowNote(
        decoder=draws[0].decoder,
        num_frames=draws[0].num_frames,
        repeated=sum(sample.repeated for sample in draws),
    )


def _without_pixels(sample: Sample) -> Sample:
    return replace(sample, frames=None, index=None)
