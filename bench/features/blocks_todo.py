"""Write missing feature blocks in one pass over their rows: decode, encode, read out, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from bench.errors import BenchError
from bench.features.row_reader import RowRead, RowReader
from bench.features.store import FeatureSet, RowNote
from bench.types import IntArray, Progress, Reads


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockWriter:
    """Writes feature blocks of a root manifest, whose rows `reader` reads."""

    reader: RowReader

    def run(
        self,
        sets: Mapping[Reads, FeatureSet],
        todo: Mapping[Reads, Sequence[int]],
        rows: IntArray,
        *,
        progress: Progress,
    ) -> None:
        """Decode and encode `rows` (ascending), and write every block of `todo` once complete."""
        for reads, store in sets.items():
            if todo[reads]:
                store.start()
        self._fill(sets, todo, self.reader.in_place(rows), progress)

    def _fill(
        self,
        sets: Mapping[Reads, FeatureSet],
        todo: Mapping[Reads, Sequence[int]],
        stream: Iterator[RowRead],
        progress: Progress,
    ) -> None:
        draws = self.reader.extraction.num_draws
        missing = {reads: set(blocks) for reads, blocks in todo.items()}
        open_blocks: dict[tuple[Reads, int], _Block] = {}
        for read in stream:
            for reads, store in sets.items():
                number = read.row // store.block_rows
                if number not in missing[reads]:
                    continue
                block = open_blocks.setdefault((reads, number), _Block())
                block.add(read, self._features(read, reads, store))
                if len(block.notes) == len(store.rows_of(number)) * draws:
                    self._write(store, number, open_blocks.pop((reads, number)))
            if read.draw == draws - 1:
                progress.advance()
        assert not open_blocks

    def _features(self, read: RowRead, reads: Reads, store: FeatureSet) -> torch.Tensor:
        if read.features is None:
            return torch.zeros(store.shape[1:], device=self.reader.extraction.device)
        row = read.features[reads]
        if row.shape != store.shape[1:]:
            spec = self.reader.extraction.encoder.spec
            raise BenchError(
                f"encoder {spec.name} gave features of shape {tuple(row.shape)}, but its spec"
                f" (patch_size {spec.patch_size}, tubelet_size {spec.tubelet_size}, width"
                f" {spec.width}) implies {store.shape[1:]}; correct the spec."
            )
        return row

    def _write(self, store: FeatureSet, number: int, block: _Block) -> None:
        with self.reader.counts.timed("encode"):  # waits for the GPU
            order = sorted(block.features)
            x = torch.stack([block.features[key] for key in order]).float().cpu()
            x = x.reshape(-1, *store.shape)
        read, draws = [block.notes[key] for key in order], store.shape[0]
        notes = [row_note(read[at : at + draws]) for at in range(0, len(read), draws)]
        for row, note in enumerate(notes):
            if note.error is not None:
                x[row] = 0
        with self.reader.counts.timed("write"):
            store.write(number, x, notes)


@dataclass(kw_only=True, eq=False)
class _Block:
    """A block being filled by (row, draw) in any order; features stay on the device."""

    notes: dict[tuple[int, int], RowNote] = field(default_factory=dict)
    features: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def add(self, read: RowRead, features: torch.Tensor) -> None:
        key = read.row, read.draw
        assert key not in self.notes, "a row came twice"
        self.notes[key], self.features[key] = read.note, features


def row_note(draws: Sequence[RowNote]) -> RowNote:
    """Merge the notes of all draws of a row; one failed draw fails the row."""
    for note in draws:
        if note.error is not None:
            return note
    return replace(draws[0], repeated=sum(note.repeated for note in draws))
