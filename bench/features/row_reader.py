"""Read rows of a manifest as features, in one pass of decoder and encoder.

A row is a whole clip or a box; the boxes of one key frame share its pass through the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from bench.config import Machine
from bench.data.loader import Sample, samples
from bench.data.views.key_frames import TAKE
from bench.features.counts import Counts
from bench.features.encode import encode_rows
from bench.features.extraction import Extraction
from bench.features.store import STRETCH, RowNote
from bench.types import IntArray, Reads


@dataclass(frozen=True, kw_only=True)
class RowRead:
    """One draw of one row: its note and, if readable, `[V, S or L, D]` features by readout.

    `row` is the row number within the manifest.
    """

    row: int
    draw: int
    note: RowNote
    features: Mapping[Reads, torch.Tensor] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RowReader:
    """Reads features of a manifest; they are on the device of the encoder.

    `machine` sets how many processes decode, and how many rows (boxes: takes) ahead. `counts` is
    updated.
    """

    extraction: Extraction
    machine: Machine
    counts: Counts

    def in_turn(self, rows: IntArray, draw: int = 0) -> Iterator[RowRead]:
        """Yield one draw of `rows` (numbers within the manifest) in that order, in full calls.

        The rounding of a row depends on its neighbours.
        """
        source = self._samples(rows, draw)

        def placed() -> Iterator[tuple[int, Sample]]:
            place = 0
            for sample in source:
                yield place, sample
                # An unreadable clip keeps its place.
                is_clip = sample.boxes is None
                place += self.extraction.recipe.clips_per_row if is_clip else sample.num_clips

        return self._read(placed())

    def in_place(self, rows: IntArray) -> Iterator[RowRead]:
        """Yield all draws of `rows` (ascending) of a root manifest, in any order.

        A clip's place in its call depends on its row (or key frame) and draw alone, so that its
        features are bit-identical whatever else is requested.
        """
        draws, regions = self.extraction.num_draws, self.extraction.manifest.regions
        every, draw = np.repeat(rows, draws), np.tile(np.arange(draws), len(rows))
        if regions is None:
            places = _clip_places(every, draw, self.extraction)
            return self._read(zip(places.tolist(), self._samples(every, draw), strict=True))
        # Neighbouring key frames of one draw are decoded together.
        take = regions.clip[every] // TAKE
        order = np.lexsort((every, draw, take))
        source = self._samples(every[order], draw[order])
        return self._read((_take_place(sample, draws), sample) for sample in source)

    def _samples(self, rows: IntArray, draw: IntArray | int) -> Iterator[Sample]:
        return self.counts.decoding(
            samples(
                self.extraction.manifest,
                rows,
                self.extraction.recipe,
                draw=draw,
                workers=self.machine.workers,
                batch_size=self.machine.batch_size,
            )
        )

    def _read(self, placed: Iterator[tuple[int, Sample]]) -> Iterator[RowRead]:
        for sample, parts in encode_rows(self.extraction, placed, self.counts):
            if parts is None:
                rows = [sample.row] if sample.boxes is None else sample.boxes.rows.tolist()
                note = RowNote(error=sample.error, missing=sample.missing)
                for row in rows:
                    yield RowRead(row=row, draw=sample.draw, note=note, features=None)
                continue
            with self.counts.timed("encode"), torch.inference_mode():
                rows, found = self.extraction.readout.rows(sample, parts)
            for number, row in enumerate(rows.tolist()):
                features = {reads: x[number] for reads, x in found.items()}
                note = _note(sample, number)
                yield RowRead(row=row, draw=sample.draw, note=note, features=features)


def _clip_places(rows: IntArray, draw: IntArray, extraction: Extraction) -> IntArray:
    draws, per_row = extraction.num_draws, extraction.recipe.clips_per_row
    per_call = extraction.encoder.spec.clips_per_call
    # Calls never cross a stretch, so a row's place follows from the row and its draw.
    per_stretch = -(-STRETCH * draws * per_row // per_call) * per_call
    stretch, within = np.divmod(rows, STRETCH)
    places: IntArray = stretch * per_stretch + (within * draws + draw) * per_row
    return places


def _take_place(sample: Sample, draws: int) -> int:
    """Return the place of a sample's first key frame; those of a take are consecutive."""
    assert sample.boxes is not None
    take, within = divmod(sample.boxes.clip, TAKE)
    return (take * draws + sample.draw) * TAKE + within


def _note(sample: Sample, number: int) -> RowNote:
    """Return the note on the row at `number` of a sample."""
    boxes = sample.boxes
    if boxes is None:
        repeated, is_outside = sample.repeated, False
    else:
        x1, y1, x2, y2 = boxes.corners[number].tolist()
        repeated = int(boxes.repeated[boxes.moment[number]])
        is_outside = x1 >= x2 or y1 >= y2
    return RowNote(
        decoder=sample.decoder,
        num_frames=sample.num_frames,
        repeated=repeated,
        is_outside=is_outside,
    )
