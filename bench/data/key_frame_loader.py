"""Boxes of a manifest as samples, one per take, decoded ahead of time by child processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bench.data.boxes.regions import Regions
from bench.data.decode.decode import Frames, Pixels, read_frames
from bench.data.decode.read_ahead import read_ahead
from bench.data.media.media import Media, unreadable
from bench.data.views.key_frames import Take, key_clips_at, take_of, take_starts
from bench.data.views.key_views import key_view
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.sample import Sample, failed_sample
from bench.errors import MissingMedia, UnreadableMedia
from bench.types import IntArray


def take_samples(
    regions: Regions, entries: IntArray, recipe: Recipe, *, workers: int, ahead: int
) -> Iterator[Sample]:
    """Yield the takes of (row, draw) pairs, int64 `[entries, 2]`; see `bench.data.loader`."""
    starts = take_starts(regions, *entries.T).tolist()
    takes = [slice(first, end) for first, end in itertools.pairwise(starts)]

    def take_at(place: slice) -> tuple[Take, int, Media]:
        rows, draws = entries[place].T
        return take_of(regions, rows), int(draws[0]), regions.media[int(regions.video[rows[0]])]

    def calls() -> Iterator[Any]:
        for place in takes:
            take, _, media = take_at(place)
            position = {"start": regions.start, "frame_rate": regions.frame_rate}
            yield read_take, media, {"take": take, "recipe": recipe, **position}

    answers = read_ahead(calls(), workers=workers, ahead=ahead)
    for place, found in zip(takes, answers, strict=True):
        take, draw, media = take_at(place)
        parts = [(take, found)] if isinstance(found, UnreadableMedia) else found
        for part, read in parts:
            yield _sample(regions, recipe, part, draw, media, read)


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyFramesRead:
    """Views of the distinct frames around key frames, of pictures of `height` and `width`."""

    frames: Frames
    height: int
    width: int


def read_take(
    media: Media, *, take: Take, recipe: Recipe, start: float | None, frame_rate: float
) -> list[tuple[Take, KeyFramesRead | UnreadableMedia]]:
    """Decode a take, or if that fails each of its key frames alone.

    `start` and `frame_rate` are those of `Regions`.
    """

    def read(part: Take) -> KeyFramesRead | UnreadableMedia:
        sizes: set[tuple[int, int]] = set()

        def shrink(pixels: Pixels) -> Pixels:
            sizes.add((pixels.shape[1], pixels.shape[2]))
            view = key_view(pixels, recipe.view, size=recipe.size, patch=recipe.patch)
            kept: Pixels = view[0]
            return kept

        choose = key_clips_at(recipe.plan, media, part.micros, start=start, frame_rate=frame_rate)
        try:
            frames = read_frames(media, choose, decoder=recipe.decoder, shrink=shrink)
            if len(sizes) > 1:
                raise unreadable(media, "its frames are not all of the same size")
        except UnreadableMedia as error:
            return error.with_traceback(None)
        [(height, width)] = sizes
        return KeyFramesRead(frames=frames, height=height, width=width)

    whole = read(take)
    if isinstance(whole, MissingMedia) or len(take.micros) == 1:
        return [(take, whole)]
    if isinstance(whole, UnreadableMedia):
        # Damage should cost only the key frames that it affects.
        return [(part, read(part)) for part in take.alone()]
    return [(take, whole)]


def _sample(
    regions: Regions,
    recipe: Recipe,
    take: Take,
    draw: int,
    media: Media,
    read: KeyFramesRead | UnreadableMedia,
) -> Sample:
    """Return a take as a sample, or why it cannot be read."""
    row = int(take.rows[0])
    if isinstance(read, UnreadableMedia):
        return failed_sample(row, draw, media, read, take.unread_boxes(regions))
    frames = read.frames
    boxes = take.boxes(regions, recipe, draw, frames.index, read.height, read.width)
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
