"""Pretraining clips, decoded and augmented ahead of time in worker processes.

The view is that of the released pretraining (arXiv 2404.08471): one random resized crop of the
decoded frames, the same for all of them, flipped horizontally with probability 0.5.

Shape letters: B clips, T frames, H and W pixels of a decoded frame, S pixels per side of the view.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.data.decode.decode import Pixels
from bench.data.decode.workers import deaths_explained, one_thread, read_ahead, unchanged
from bench.data.views.augment import Box, crop_resize, sample_crop
from bench.data.views.transforms import normalise
from bench.errors import BenchError, DataError, UnreadableMedia
from bench.pretrain.lists import ClipLists
from bench.pretrain.order import Order
from bench.pretrain.reader import ClipReader
from bench.pretrain.recipe import PretrainRecipe
from bench.types import IMAGENET_MEAN, IMAGENET_STD, IntArray

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

    `batches` may be endless; it is consumed `2 * workers` arrays ahead. Pixels depend on the seed,
    the position and its row in `order`, but not on `workers` (0: decode in this process, in one
    thread), the grouping of positions, or `keep_decoded_bytes`, the memory all workers together may
    fill with decoded files so that a small data set is decoded once. A file that cannot be decoded
    is listed in its batch every time, and the row `order.replacement` is read instead. With a GPU,
    clips are in page-locked memory.

    The workers live until the iterator is closed. They ignore SIGINT and SIGTERM, which a launcher
    sends to all processes, so that the training process can finish its step and save.

    Raises:
        DataError: 20 files in a row are unreadable.
        BenchError: a worker process died, or the decoder is not installed.
    """
    loader: DataLoader[ClipBatch | BenchError] = DataLoader(
        _ClipsByRequest(lists, order, recipe, seed, keep_decoded_bytes // max(workers, 1), decoder),
        batch_size=None,
        # The order is computed in this process only, when the loader asks for it.
        sampler=((positions, order.rows(positions)) for positions in batches),
        num_workers=workers,
        collate_fn=unchanged,
        worker_init_fn=_leave_signals_to_the_parent,
        pin_memory=torch.cuda.is_available(),
        # Else the loader would draw a seed for its workers from training's generator.
        generator=torch.Generator().manual_seed(0),
    )
    start = time.perf_counter()
    for found in read_ahead(loader, explain_worker_death):
        yield replace(found, seconds_waited=time.perf_counter() - start)
        start = time.perf_counter()


def explain_worker_death() -> AbstractContextManager[None]:
    """Turn the death of a decoding worker into an error message."""
    return deaths_explained(
        "pretraining",
        "resume with fewer --workers; everything up to the last checkpoint is saved",
    )


def training_view(clip_THW3: Pixels, box: Box, size: int, flip: bool) -> torch.Tensor:
    """Return a box of frames uint8 `[T, H, W, 3]`, resized and normalised: `[3, T, size, size]`.

    `box` is (top, left, height, width) in pixels. Intermediate values are not rounded.
    """
    view = crop_resize(clip_THW3, box, size)
    return normalise(view.flip(2) if flip else view, IMAGENET_MEAN, IMAGENET_STD)


class _ClipsByRequest(Dataset[ClipBatch | BenchError]):
    """Batches by request: an array of positions and the array of their rows."""

    def __init__(
        self,
        lists: ClipLists,
        order: Order,
        recipe: PretrainRecipe,
        seed: int,
        keep_bytes: int,
        decoder: str,
    ) -> None:
        self.paths, self.order, self.recipe, self.seed = lists.paths, order, recipe, seed
        self.reader = ClipReader(recipe.plan, decoder, keep_bytes)

    def __getitem__(self, request: tuple[IntArray, IntArray]) -> ClipBatch | BenchError:
        positions, rows = request
        unreadable: list[tuple[str, str]] = []
        size, num_frames = self.recipe.encoder.image_size, self.recipe.plan.num_frames
        clips = torch.empty(len(positions), 3, num_frames, size, size)
        try:
            with one_thread():
                for clip, position, row in zip(clips, positions, rows, strict=True):
                    self._fill(clip, int(position), int(row), unreadable)
        except BenchError as error:
            return error  # raised by the reader: a worker would wrap it in its traceback
        return ClipBatch(clips=clips, unreadable=tuple(unreadable), seconds_waited=0.0)

    def _fill(
        self, clip: torch.Tensor, position: int, row: int, unreadable: list[tuple[str, str]]
    ) -> None:
        """Write into `clip` the first row of this position that can be decoded."""
        for attempt in range(MAX_ATTEMPTS):
            row = self.order.replacement(position, attempt) if attempt else row
            path, seed = self.paths[row], (self.seed, position, attempt)
            try:
                frames, index = self.reader.read(row, path, (*seed, FRAMES))
            except UnreadableMedia as error:
                unreadable.append((str(path), str(error).replace(str(path), path.name)))
                continue
            rng, (height, width) = np.random.default_rng((*seed, CROP)), frames.shape[1:3]
            scale, ratio = self.recipe.crop_scale, self.recipe.crop_aspect
            box = sample_crop(height, width, scale=scale, ratio=ratio, rng=rng)
            flip = self.recipe.flip and bool(rng.random() < 0.5)
            view = training_view(frames, box, self.recipe.encoder.image_size, flip)
            torch.index_select(view, 1, torch.from_numpy(index), out=clip)
            return
        path_, reason = unreadable[-1]
        raise DataError(
            f"{MAX_ATTEMPTS} files in a row cannot be decoded, the last of them {path_}: {reason}"
            " Check the disk and the lists; see: bench doctor."
        )


def _leave_signals_to_the_parent(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
