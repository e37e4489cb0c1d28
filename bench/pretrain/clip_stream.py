"""Clips to pretrain on, decoded and augmented ahead in worker processes.

The view of a clip is that of the released pretraining (arXiv 2404.08471): a random resized crop of
the frames as they are decoded, the same in all of them, mirrored half of the time.

Shape letters: B clips of a batch, T frames of a clip, H and W pixels of a decoded
frame, S pixels of a side of the view.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.data.decode.decode import Pixels
from bench.data.loader import deaths_explained, one_thread
from bench.data.views.augment import Box, crop_resize, sample_crop
from bench.data.views.transforms import normalise
from bench.errors import BenchError, DataError, UnreadableMedia
from bench.pretrain.lists import ClipLists
from bench.pretrain.order import Order
from bench.pretrain.reader import ClipReader
from bench.pretrain.recipe import PretrainRecipe
from bench.types import IMAGENET_MEAN, IMAGENET_STD, IntArray

# So many rows are tried at a position before the data set is taken to be unreadable as a whole.
MAX_ATTEMPTS = 20
# Last number of the seeds of frames and crop; those of `bench.pretrain.order` are others.
FRAMES, CROP = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipBatch:
    """Normalised clips, float32 `[B, 3, T, S, S]`, in the order of their positions.

    `unreadable` holds (path, reason) of every file that was met and could not be decoded; another
    was read in its place. `seconds_waited` is how long this process waited for the batch; without
    workers that is how long it took to make it.
    """

    clips: torch.Tensor
    unreadable: tuple[tuple[str, str], ...]
    seconds_waited: float

    def pin_memory(self) -> ClipBatch:
        """Return the batch in page-locked memory, from where a GPU fetches it at full speed."""
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
    the position and the row that `order` has there, and not on `workers` (0: this process decodes,
    in one thread), nor on how positions are grouped. Up to `keep_decoded_bytes` of decoded files
    are kept in memory, all workers together, so that a small data set is decoded once; that changes
    no pixel either. A file that cannot be decoded is named in its batch, and `order.another` row
    read instead; it is named again whenever it is met. Where there is a GPU, clips lie in
    page-locked memory.

    The workers live until the iterator is closed. They ignore SIGINT and SIGTERM, which a launcher
    sends to all processes, so that the training process can finish its step and save.

    Raises:
        DataError: so many files in a row are unreadable that the data set must be.
        BenchError: a worker process died, or the decoder is not installed.
    """
    loader: DataLoader[ClipBatch | BenchError] = DataLoader(
        _Clips(lists, order, recipe, seed, keep_decoded_bytes // max(workers, 1), decoder),
        batch_size=None,
        sampler=_Requests(order, batches),
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_leave_signals_to_the_parent,
        pin_memory=torch.cuda.is_available(),
        # The loader draws a seed for workers, here not from the generator that training uses.
        generator=torch.Generator().manual_seed(0),
    )
    source = iter(loader)
    try:
        while True:
            start = time.perf_counter()
            with explained():
                found = next(source, None)
            if found is None:
                return
            if isinstance(found, BenchError):
                raise found
            yield replace(found, seconds_waited=time.perf_counter() - start)
    finally:
        del source  # ends the workers, even where the traceback of an error holds this frame


def explained() -> AbstractContextManager[None]:
    """Turn the death of a process that decodes for a training into a sentence."""
    return deaths_explained(
        "pretraining",
        "resume with fewer --workers; everything up to the last checkpoint is kept",
    )


def training_view(clip_THW3: Pixels, box: Box, size: int, flip: bool) -> torch.Tensor:
    """Return a box of frames uint8 `[T, H, W, 3]`, resized and normalised: `[3, T, size, size]`.

    `box` is (top, left, height, width) in pixels. Grey levels are not rounded in between.
    """
    top, left, height, width = box
    kept = np.require(
        clip_THW3[:, top : top + height, left : left + width], requirements=["C", "W"]
    )
    view = crop_resize(torch.from_numpy(kept), (0, 0, height, width), size)
    return normalise(view.flip(2) if flip else view, IMAGENET_MEAN, IMAGENET_STD)


# ---------------------------------------------------------------------- what the workers work on
@dataclass(frozen=True, eq=False)
class _Request:
    """Positions and the rows that stand there: the order is worked out in one process only."""

    positions: IntArray
    rows: IntArray


class _Requests:
    """One request per batch of positions, made as late as the loader asks for it."""

    def __init__(self, order: Order, batches: Iterable[IntArray]) -> None:
        self.order, self.batches = order, batches

    def __iter__(self) -> Iterator[_Request]:
        for positions in self.batches:
            yield _Request(positions, self.order.rows(positions))


class _Clips(Dataset[ClipBatch | BenchError]):
    """Batches by request."""

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

    def __getitem__(self, request: Any) -> ClipBatch | BenchError:
        recipe, unreadable = self.recipe, list[tuple[str, str]]()
        size, num_frames = recipe.encoder.image_size, recipe.plan.num_frames
        clips = torch.empty(len(request.positions), 3, num_frames, size, size)
        entries = zip(request.positions.tolist(), request.rows.tolist(), clips, strict=True)
        try:
            with one_thread():
                for position, row, clip in entries:
                    self._fill(clip, position, row, unreadable)
        except BenchError as error:
            # Raised by the process that reads: a worker would wrap it into its traceback.
            return error
        return ClipBatch(clips=clips, unreadable=tuple(unreadable), seconds_waited=0.0)

    def _fill(
        self, clip: torch.Tensor, position: int, row: int, unreadable: list[tuple[str, str]]
    ) -> None:
        """Write the clip of a position into `clip`, of the first of its rows that decodes."""
        for attempt in range(MAX_ATTEMPTS):
            row = self.order.another(position, attempt) if attempt else row
            path = self.paths[row]
            seed = (self.seed, position, attempt)
            try:
                frames, index = self.reader.read(row, path, (*seed, FRAMES))
            except UnreadableMedia as error:
                unreadable.append((str(path), str(error).replace(str(path), path.name)))
                continue
            view = self._view(frames, np.random.default_rng((*seed, CROP)))
            torch.index_select(view, 1, torch.from_numpy(index), out=clip)
            return
        path_, reason = unreadable[-1]
        raise DataError(
            f"{MAX_ATTEMPTS} files drawn one after the other cannot be decoded, the last of them"
            f" {path_}: {reason} Are the disk and the lists in order? See: bench doctor."
        )

    def _view(self, frames: Pixels, rng: np.random.Generator) -> torch.Tensor:
        recipe = self.recipe
        height, width = frames.shape[1:3]
        box = sample_crop(height, width, scale=recipe.crop_scale, ratio=recipe.crop_aspect, rng=rng)
        flip = recipe.flip and bool(rng.random() < 0.5)
        return training_view(frames, box, recipe.encoder.image_size, flip)


def _leave_signals_to_the_parent(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _unchanged(batch: Any) -> Any:
    return batch
