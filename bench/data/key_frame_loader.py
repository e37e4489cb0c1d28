"""Boxes of a manifest as samples, one per take, for a loader to distribute over processes."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from bench.data.decode.decode import Pixels, read_frames
from bench.data.decode.workers import deadline, one_thread
from bench.data.manifest import Manifest
from bench.data.media.media import Media, unreadable
from bench.data.views.key_frames import Take, key_clips_at, take_of, take_starts
from bench.data.views.key_views import key_view
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.sample import Sample, failed_sample
from bench.errors import BenchError, UnreadableMedia
from bench.types import IntArray


class Takes(Dataset[list[Sample] | BenchError]):
    """Takes of a manifest of boxes, made of (row, draw) pairs, int64 `[entries, 2]`."""

    def __init__(self, manifest: Manifest, entries: IntArray, recipe: Recipe) -> None:
        assert manifest.regions is not None
        self.regions, self.entries, self.recipe = manifest.regions, entries, recipe
        self.starts = take_starts(self.regions, *entries.T)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> list[Sample] | BenchError:
        rows, draws = self.entries[self.starts[number] : self.starts[number + 1]].T
        take, draw = take_of(self.regions, rows), int(draws[0])
        media = self.regions.media[int(self.regions.video[rows[0]])]
        try:
            found = self._sample(take, draw, media)
            if found.error is None or found.missing or len(take.micros) == 1:
                return [found]
            # Damage should cost only the key frames that it affects.
            return [self._sample(single, draw, media) for single in take.alone()]
        except BenchError as error:
            return error  # raised by the reader: a worker would wrap it in its traceback

    def _sample(self, take: Take, draw: int, media: Media) -> Sample:
        """Return a take as a sample, or why it cannot be read."""
        recipe, regions, row = self.recipe, self.regions, int(take.rows[0])
        choose = key_clips_at(
            recipe.plan, media, take.micros, start=regions.start, frame_rate=regions.frame_rate
        )
        sizes: set[tuple[int, int]] = set()

        def shrink(pixels: Pixels) -> Pixels:
            sizes.add((pixels.shape[1], pixels.shape[2]))
            view = key_view(pixels, recipe.view, size=recipe.size, patch=recipe.patch)
            kept: Pixels = view[0]
            return kept

        try:
            with one_thread(), deadline():
                frames = read_frames(media, choose, decoder=recipe.decoder, shrink=shrink)
            if len(sizes) > 1:
                raise unreadable(media, "its frames are not all of the same size")
        except UnreadableMedia as error:
            return failed_sample(row, draw, media, error, take.unread_boxes(regions))
        [(height, width)] = sizes
        boxes = take.boxes(regions, recipe, draw, frames.index, height, width)
        return Sample(
            row=row,
            draw=draw,
            frames=torch.from_numpy(frames.pixels).unsqueeze(0),
            index=frames.index,
            decoder=frames.decoder,
            num_frames=frames.num_frames,
            repeated=int(boxes.repeated.sum()),
            boxes=boxes,
        )
