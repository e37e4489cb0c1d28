"""Rows of a manifest as pixels, prefetched by worker processes, in the requested order.

Shape letters: V views, U distinct frames of a row, S clips, T frames of a clip, H and W pixels.
Rows that are boxes come in takes (`bench.data.views.key_frames`): a sample has the clips around S
key frames of one video, and the boxes on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.data.decode.decode import Frames, read_frames
from bench.data.decode.images import read_image
from bench.data.decode.workers import deadline, read_ahead, unchanged
from bench.data.decode.workers import explained as explained
from bench.data.decode.workers import one_thread as one_thread
from bench.data.key_frame_loader import Takes
from bench.data.manifest import Manifest
from bench.data.media.media import Media
from bench.data.views.augment import augment
from bench.data.views.clip_frames import frame_indices, repeated_frames
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.sample import Sample as Sample
from bench.data.views.sample import failed_sample
from bench.data.views.transforms import score_views
from bench.errors import BenchError, UnreadableMedia
from bench.types import IntArray

Seed = tuple[int, int, int]


def samples(
    manifest: Manifest,
    rows: IntArray,
    recipe: Recipe,
    *,
    draw: IntArray | int = 0,
    workers: int = 0,
    batch_size: int = 8,
) -> Iterator[Sample]:
    """Yield one `Sample` per entry of `rows` (row numbers within `manifest`), in that order.

    `draw` is the random draw of all entries, or of each: pixels depend on (`recipe.seed`, draw, row
    in the root manifest) and not on `workers` or `batch_size`, which only set how many processes
    decode (0: this one) and how many rows they prefetch in total. A file that cannot be decoded
    becomes a sample with its `error`.

    Rows that are boxes come in takes: consecutive rows of one video and draw, on at most `TAKE` key
    frames without a gap, are one sample. Their order is kept. If a take cannot be read, each key
    frame is tried alone and becomes a sample of its own. The draw decides which key frames are
    mirrored.

    Raises:
        BenchError: a worker process died, or the recipe cannot be followed.
    """
    assert manifest.kind == recipe.kind, (manifest.kind, recipe.kind)
    entries = np.stack(np.broadcast_arrays(np.asarray(rows), np.asarray(draw)), axis=-1)
    rows_of = _RowSamples if manifest.regions is None else Takes
    loader: DataLoader[list[Sample] | BenchError] = DataLoader(
        rows_of(manifest, entries.astype(np.int64), recipe),
        batch_size=None,
        num_workers=workers,
        collate_fn=unchanged,
        prefetch_factor=max(1, -(-batch_size // workers)) if workers else None,
    )
    for found in read_ahead(loader, partial(explained, manifest)):
        yield from found


class _RowSamples(Dataset[list[Sample] | BenchError]):
    """A data set of samples, one per (row, draw) pair, int64 `[entries, 2]`."""

    def __init__(self, manifest: Manifest, entries: IntArray, recipe: Recipe) -> None:
        self.manifest, self.entries, self.recipe = manifest, entries, recipe
        self.root_rows = manifest.root_rows

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, entry: int) -> list[Sample] | BenchError:
        row, draw = self.entries[entry].tolist()
        media = self.manifest.media[row]
        try:
            return [self._sample(row, draw, media)]
        except UnreadableMedia as error:
            return [failed_sample(row, draw, media, error)]
        except BenchError as error:
            return error  # raised by the reader: a worker would wrap it in its traceback

    def _sample(self, row: int, draw: int, media: Media) -> Sample:
        seed = (self.recipe.seed, draw, int(self.root_rows[row]))
        with one_thread(), deadline():
            frames = _read(media, self.recipe, seed)
            made, index = _view(frames, self.recipe, seed)
        return Sample(
            row=row,
            draw=draw,
            frames=made,
            index=index,
            decoder=frames.decoder,
            num_frames=frames.num_frames,
            repeated=repeated_frames(frames.index) if self.recipe.kind == "video" else 0,
        )


def _read(media: Media, recipe: Recipe, seed: Seed) -> Frames:
    """Decode the distinct frames of a row; raises `UnreadableMedia`."""
    plan = recipe.plan
    if recipe.kind == "image":
        index = np.zeros((plan.num_clips, plan.num_frames), dtype=np.int64)
        return Frames(pixels=read_image(media), index=index, num_frames=1, decoder="pillow")

    def choose(num_frames: int, fps: float) -> IntArray:
        # A fresh generator, so that a fallback decoder gets the same frames.
        rng = np.random.default_rng((*seed, 0)) if recipe.is_random else None
        return frame_indices(plan, num_frames, rng)

    return read_frames(media, choose, decoder=recipe.decoder)


def _view(frames: Frames, recipe: Recipe, seed: Seed) -> tuple[torch.Tensor, IntArray | None]:
    """Return the distinct pixels of the clips, and the index into them (None: all are distinct)."""
    if not recipe.is_random:
        views = score_views(
            frames.pixels,
            size=recipe.size,
            num_views=recipe.num_views,
            kind=recipe.kind,
            crop_fraction=recipe.crop_fraction,
            interpolation=recipe.interpolation,
        )
        return torch.from_numpy(views), frames.index
    rng = np.random.default_rng((*seed, 1))
    is_still = recipe.kind == "image"
    clips = [
        augment(
            recipe.view,
            frames.pixels if is_still else frames.pixels[index_T],
            size=recipe.size,
            mean=recipe.mean,
            std=recipe.std,
            flip=recipe.flip,
            rng=rng,
        )
        for index_T in frames.index
    ]
    return torch.stack(clips).unsqueeze(0), frames.index if is_still else None
