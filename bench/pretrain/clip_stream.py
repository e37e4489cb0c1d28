"""Pretraining clips, decoded and augmented ahead of time in child processes.

The view is that of the released pretraining (arXiv 2404.08471): one random resized crop of the
decoded frames, the same for all of them, flipped horizontally with probability 0.5.

Shape letters: B clips, T frames, H and W pixels of a decoded frame, S pixels per side of the view.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from bench.data.decode.children import Call, allow_memory
from bench.data.decode.decode import Pixels
from bench.data.decode.read_ahead import read_ahead
from bench.data.media.media import place
from bench.data.views.augment import Box, crop_resize, sample_crop
from bench.data.views.transforms import normalise
from bench.errors import DataError, UnreadableMedia
from bench.features.source import one_ahead
from bench.pretrain.lists import ClipLists
from bench.pretrain.order import Order
from bench.pretrain.reader import ClipReader
from bench.pretrain.recipe import PretrainRecipe
from bench.types import IMAGENET_MEAN, IMAGENET_STD, ClipPlan, FloatArray, IntArray

MAX_ATTEMPTS = 20  # rows tried per position before the whole data set counts as unreadable
# Last number of the seeds of frames and crop; `bench.pretrain.order` uses others.
FRAMES, CROP = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipBatch:
    """Normalised clips, float32 `[B, 3, T, S, S]`, in the order of their positions.

    `unreadable` holds (path, reason) of every file that could not be decoded and was replaced by
    another. `seconds_waited` is how long this process waited for the batch; without workers, how
    long it took to make it.
    """

    clips: torch.Tensor
    unreadable: tuple[tuple[str, str], ...]
    seconds_waited: float

    def pin_memory(self) -> ClipBatch:
        """Return the batch in page-locked memory, for fast copies to the GPU."""
        return replace(self, clips=self.clips.pin_memory())


def clip_batches(
    lists: ClipLists,
    order: Order,
    recipe: PretrainRecipe,
    batches: Iterable[IntArray],
    *,
    seed: int,
    workers: int,
    keep_decoded_bytes: int = 0,
    decoder: str = "auto",
) -> Iterator[ClipBatch]:
    """Yield the clips of each array of positions in `batches`, in that order.

    `batches` may be endless; it is consumed a few arrays ahead. Pixels depend on the seed, the
    position and its row in `order`, but not on `workers` (0: one process, and nothing ahead of
    time), the grouping of positions, or `keep_decoded_bytes`, the memory all workers together may
    fill with decoded files so that a small data set is decoded once. A file that cannot be decoded,
    or that takes a worker with it, is listed in its batch every time, and the row
    `order.replacement` is read instead. With a GPU, clips are in page-locked memory.

    The workers live until the iterator is closed. They ignore SIGINT and SIGTERM, which a launcher
    sends to all processes, so that the training process can finish its step and save.

    Raises:
        DataError: 20 files in a row are unreadable.
        BenchError: the decoder is not installed.
    """
    reader = (next(_streams), recipe.plan, decoder, keep_decoded_bytes // max(workers, 1))
    for_calls, for_batches = itertools.tee(batches)
    unreadable: dict[int, list[tuple[str, str]]] = defaultdict(list)

    def call(position: int, row: int, attempt: int) -> Call:
        arguments = {"row": row, "seed": (seed, position, attempt)}
        return read_clip, lists.paths[row], {**arguments, "recipe": recipe, "reader": reader}

    def calls() -> Iterator[Call]:
        for positions in for_calls:
            for position, row in zip(positions.tolist(), order.rows(positions), strict=True):
                yield call(position, int(row), 0)

    def again(failed: Call, error: UnreadableMedia) -> Call | None:
        _, path, arguments = failed
        _, position, attempt = arguments["seed"]
        name = place(path).name
        unreadable[position].append((str(path), str(error).replace(str(path), name)))
        if attempt + 1 == MAX_ATTEMPTS:
            return None
        return call(position, order.replacement(position, attempt + 1), attempt + 1)

    # One batch is put together during the step before; the workers are a little further on.
    clips = read_ahead(calls(), workers=workers, ahead=2 * workers, again=again)
    size, num_frames = recipe.encoder.image_size, recipe.plan.num_frames

    def put_together(positions: IntArray) -> ClipBatch:
        batch = torch.empty(len(positions), 3, num_frames, size, size)
        lost: list[tuple[str, str]] = []
        for clip, position in zip(batch, positions.tolist(), strict=True):
            found = next(clips)
            lost += unreadable.pop(position, ())
            if isinstance(found, UnreadableMedia):
                path, reason = lost[-1]
                raise DataError(
                    f"{MAX_ATTEMPTS} files in a row cannot be decoded, the last of them {path}:"
                    f" {reason} Check the disk and the lists; see: bench doctor."
                )
            clip.copy_(torch.from_numpy(found))
        made = ClipBatch(clips=batch, unreadable=tuple(lost), seconds_waited=0.0)
        return made.pin_memory() if torch.cuda.is_available() else made

    made = (
        one_ahead(put_together, for_batches)
        if workers
        else (put_together(positions) for positions in for_batches)
    )
    with closing(clips), closing(made):
        start = time.perf_counter()
        for batch in made:
            yield replace(batch, seconds_waited=time.perf_counter() - start)
            start = time.perf_counter()


_streams = itertools.count()


def training_view(clip_THW3: Pixels, box: Box, size: int, flip: bool) -> torch.Tensor:
    """Return a box of frames uint8 `[T, H, W, 3]`, resized and normalised: `[3, T, size, size]`.

    `box` is (top, left, height, width) in pixels. Intermediate values are not rounded.
    """
    view = crop_resize(clip_THW3, box, size)
    return normalise(view.flip(2) if flip else view, IMAGENET_MEAN, IMAGENET_STD)


def read_clip(
    path: Path,
    *,
    row: int,
    seed: tuple[int, int, int],
    recipe: PretrainRecipe,
    reader: tuple[int, ClipPlan, str, int],
) -> FloatArray:
    """Return the clip `[3, T, S, S]` of a file, drawn from `seed` (seed, position, attempt).

    `reader` says which stream's files are kept decoded here, and how many bytes of them.

    Raises:
        UnreadableMedia: the file, or a frame that the clip needs, cannot be decoded.
    """
    frames, index = _reader(*reader).read(row, path, (*seed, FRAMES))
    rng, (height, width) = np.random.default_rng((*seed, CROP)), frames.shape[1:3]
    box = sample_crop(height, width, scale=recipe.crop_scale, ratio=recipe.crop_aspect, rng=rng)
    flip = recipe.flip and bool(rng.random() < 0.5)
    view = training_view(frames, box, recipe.encoder.image_size, flip)
    clip: FloatArray = view[:, torch.from_numpy(index)].numpy()
    return clip


@lru_cache(maxsize=1)
def _reader(stream: int, plan: ClipPlan, decoder: str, keep_bytes: int) -> ClipReader:
    """Return this process's reader of a stream, with what it keeps."""
    allow_memory(keep_bytes)
    return ClipReader(plan, decoder, keep_bytes)
