"""Rows of a manifest as pixels, decoded ahead of time by child processes, in the requested order.

Shape letters: V views, U distinct frames of a row, S clips, T frames of a clip, H and W pixels.
Rows that are boxes come in takes (`bench.data.views.key_frames`): a sample has the clips around S
key frames of one video, and the boxes on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bench.data.decode.decode import Frames, read_frames
from bench.data.decode.images import read_image
from bench.data.decode.read_ahead import read_ahead
from bench.data.key_frame_loader import take_samples
from bench.data.manifest import Manifest
from bench.data.media.media import Media
from bench.data.views.augment import augment
from bench.data.views.clip_frames import frame_indices, repeated_frames
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.sample import Sample as Sample
from bench.data.views.sample import failed_sample
from bench.data.views.transforms import score_views
from bench.errors import UnreadableMedia
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
    decode (0: one, and nothing ahead of time) and how many rows they prefetch in total. A file that
    cannot be decoded, on which a decoder hangs or crashes, or that takes too much memory becomes a
    sample with its `error`.

    Rows that are boxes come in takes: consecutive rows of one video and draw, on at most `TAKE` key
    frames without a gap, are one sample. Their order is kept. If a take cannot be read, each key
    frame is tried alone and becomes a sample of its own. The draw decides which key frames are
    mirrored.

    Raises:
        BenchError: the recipe cannot be followed.
    """
    assert manifest.kind == recipe.kind, (manifest.kind, recipe.kind)
    entries = np.stack(np.broadcast_arrays(np.asarray(rows), np.asarray(draw)), axis=-1)
    entries = entries.astype(np.int64)
    if manifest.regions is not None:
        yield from take_samples(
            manifest.regions, entries, recipe, workers=workers, ahead=batch_size
        )
        return
    root_rows = manifest.root_rows
    calls = (
        (
            read_view,
            manifest.media[row],
            {"recipe": recipe, "seed": (recipe.seed, at, int(root_rows[row]))},
        )
        for row, at in entries.tolist()
    )
    answers = read_ahead(calls, workers=workers, ahead=batch_size)
    for (row, at), found in zip(entries.tolist(), answers, strict=True):
        if isinstance(found, UnreadableMedia):
            yield failed_sample(row, at, manifest.media[row], found)
            continue
        yield Sample(
            row=row,
            draw=at,
            frames=torch.from_numpy(found.pixels),
            index=found.index,
            decoder=found.decoder,
            num_frames=found.num_frames,
            repeated=found.repeated,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewRead:
    """The distinct pixels of a row's clips, and the index into them (None: all are distinct)."""

    pixels: npt.NDArray[Any]
    index: IntArray | None
    decoder: str
    num_frames: int
    repeated: int


def read_view(media: Media, *, recipe: Recipe, seed: Seed) -> ViewRead:
    """Decode the frames of a row and make its views of them.

    Raises:
        UnreadableMedia: the medium cannot be decoded.
    """
    frames = _read(media, recipe, seed)
    pixels, index = _view(frames, recipe, seed)
    return ViewRead(
        pixels=pixels,
        index=index,
        decoder=frames.decoder,
        num_frames=frames.num_frames,
        repeated=repeated_frames(frames.index) if recipe.kind == "video" else 0,
    )


def _read(media: Media, recipe: Recipe, seed: Seed) -> Frames:
    """Decode the distinct frames of a row; raises `UnreadableMedia`."""
    plan = recipe.plan
    if recipe.kind == "image":
        index = np.zeros((plan.num_clips, plan.num_frames), dtype=np.int64)
        return Frames(pixels=read_image(media), index=index, num_frames=1, decoder="pillow")

    def choose(num_frames: int, fps: float) -> IntArray:
        # A fresh generator, so that a fallback decoder gets the same frames.
        rng = np.random.default_rng((*seed, 0)) if recipe.has_drawn_clips else None
        return frame_indices(plan, num_frames, rng)

    return read_frames(media, choose, decoder=recipe.decoder)


def _view(frames: Frames, recipe: Recipe, seed: Seed) -> tuple[npt.NDArray[Any], IntArray | None]:
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
        return views, frames.index
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
    return torch.stack(clips).unsqueeze(0).numpy(), frames.index if is_still else None
