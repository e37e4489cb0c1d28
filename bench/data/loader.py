"""Rows of a manifest as pixels, decoded ahead in worker processes, in the order asked for.

Shape letters: V views, U distinct frames of a row, S clips, T frames of a clip, H and W pixels.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from bench.data.augment import augment
from bench.data.clips import frame_indices, repeated_frames
from bench.data.decode import Frames, read_frames
from bench.data.images import read_image
from bench.data.media import Media, without_folder
from bench.data.recipe import Recipe
from bench.data.transforms import score_views
from bench.errors import BenchError, MissingMedia, UnreadableMedia
from bench.types import IntArray, Manifest

Seed = tuple[int, int, int]

DEADLINE_SECONDS = 600  # for one row; far more than a sound file takes on a slow disk


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The pixels of one draw of one row, or the reason why there are none.

    `frames` holds what is distinct: uint8 `[V, U, H, W, 3]` (score views) or float32
    `[1, S, 3, T or 1, H, W]` (augmented and normalised); `index` `[S, T]` spreads it over the
    clips. `row` is the row number within the manifest that was given to `samples`. `repeated`
    counts the frames that stand in for frames which a short video does not have. `missing` says of
    an error that there is no such file.
    """

    row: int
    draw: int
    frames: torch.Tensor | None = None
    index: IntArray | None = None
    error: str | None = None
    missing: bool = False
    decoder: str = ""
    num_frames: int = 0
    repeated: int = 0

    @property
    def pixels(self) -> torch.Tensor | None:
        """All clips: uint8 `[V, S, T, H, W, 3]`, or float32 `[1, S, 3, T, H, W]` if augmented."""
        if self.frames is None or self.index is None:
            return self.frames
        if self.frames.dtype == torch.uint8:
            return self.frames[:, torch.from_numpy(self.index)]
        return self.frames.expand(-1, -1, -1, self.index.shape[1], -1, -1)

    def copy_clip(self, number: int, out: torch.Tensor) -> None:
        """Copy clip `number` (view-major) of `pixels` into `out`, without making the others.

        An order of magnitude faster than indexing `pixels`, where a GPU waits for it.
        """
        assert self.frames is not None
        if self.frames.dtype == torch.uint8:
            assert self.index is not None
            view, clip = divmod(number, len(self.index))
            torch.index_select(self.frames[view], 0, torch.from_numpy(self.index[clip]), out=out)
        else:
            out.copy_(self.frames[0, number])  # a still spreads over the frames


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

    `draw` numbers the random draw of all entries, or of each: pixels depend on (`recipe.seed`,
    draw, row in the root manifest) and on neither `workers` nor `batch_size`, which only say how
    many processes decode (0: this one) and how many rows they read ahead together. A file that
    cannot be decoded comes as a sample with its `error`.

    Raises:
        BenchError: a worker process died, or the recipe cannot be followed.
    """
    assert manifest.kind == recipe.kind, (manifest.kind, recipe.kind)
    entries = np.stack(np.broadcast_arrays(np.asarray(rows), np.asarray(draw)), axis=-1)
    loader: DataLoader[Sample | BenchError] = DataLoader(
        _Rows(manifest, entries.astype(np.int64), recipe),
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        prefetch_factor=max(1, -(-batch_size // workers)) if workers else None,
    )
    source = iter(loader)
    while True:
        with explained(manifest):
            found = next(source, None)
        if found is None:
            return
        if isinstance(found, BenchError):
            raise found
        yield found


def explained(manifest: Manifest) -> AbstractContextManager[None]:
    """Turn the death of a process that decodes `manifest` into a sentence."""
    return deaths_explained(
        f"{manifest.name} {manifest.split}",
        "run again with fewer --workers or a smaller --batch-size; finished features are kept",
    )


@contextmanager
def deaths_explained(what: str, advice: str) -> Iterator[None]:
    """Turn the death of a decoding process into a sentence that ends in `advice`.

    torch may raise it at any line of the process that reads, whatever that does at the moment: a
    training loop belongs inside.

    Raises:
        BenchError: a worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        # torch does not always tell the signal that ended a process.
        raise BenchError(
            f"{what}: a decoding process died ({str(error).strip()}) Out of memory is the usual"
            " reason (in a container, too small a /dev/shm), or a file on which a decoder hung for"
            f" {DEADLINE_SECONDS} s (`bench check` finds it; replace it): {advice}."
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Work as a worker process does: torch's resizing rounds differently with several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _deadline() -> Iterator[None]:
    """End a worker process that decodes one row for too long.

    A decoder that hangs holds Python's lock, so the signal is left to its default: death.
    """
    if get_worker_info() is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Rows(Dataset[Sample | BenchError]):
    """(row, draw) pairs, int64 `[entries, 2]`, as a data set of samples."""

    def __init__(self, manifest: Manifest, entries: IntArray, recipe: Recipe) -> None:
        self.manifest, self.entries, self.recipe = manifest, entries, recipe
        self.root_rows = manifest.root_rows

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, entry: int) -> Sample | BenchError:
        row, draw = self.entries[entry].tolist()
        media = self.manifest.media[row]
        try:
            return self._sample(row, draw, media)
        except UnreadableMedia as error:
            # Without the folder, so that a stored reason travels with the data set.
            return Sample(
                row=row,
                draw=draw,
                error=without_folder(error, media),
                missing=isinstance(error, MissingMedia),
            )
        except BenchError as error:
            # Raised by the reader: a worker would wrap it into its traceback.
            return error

    def _sample(self, row: int, draw: int, media: Media) -> Sample:
        seed = (self.recipe.seed, draw, int(self.root_rows[row]))
        with one_thread(), _deadline():
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
    """Decode the distinct frames of a row, or raise `UnreadableMedia`."""
    plan = recipe.plan
    if recipe.kind == "image":
        return Frames(
            pixels=read_image(media),
            index=np.zeros((plan.num_clips, plan.num_frames), dtype=np.int64),
            num_frames=1,
            fps=0.0,
            decoder="pillow",
            rotation=0,
        )

    def choose(num_frames: int, fps: float) -> IntArray:
        # A generator of its own: a second decoder that asks again gets the same frames.
        rng = np.random.default_rng((*seed, 0)) if recipe.is_random else None
        return frame_indices(plan, num_frames, rng)

    return read_frames(media, choose, decoder=recipe.decoder)


def _view(frames: Frames, recipe: Recipe, seed: Seed) -> tuple[torch.Tensor, IntArray | None]:
    """Return what is distinct of the clips, and the index that spreads it (None: nothing is)."""
    if not recipe.is_random:
        views = score_views(
            frames.pixels, size=recipe.size, num_views=recipe.num_views, kind=recipe.kind
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


def _unchanged(sample: Any) -> Any:
    return sample
