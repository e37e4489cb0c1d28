"""Reads the frames of one random clip of a file, from disk or from memory.

Shape letters: U distinct frames of a clip, T frames, H and W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.decode.decode import Pixels, read_frames
from bench.data.decode.images import read_image
from bench.data.discover.annotations import EXTENSIONS, extension
from bench.data.views.clip_frames import frame_indices
from bench.errors import UnreadableMedia
from bench.types import ClipPlan, IntArray

Seed = tuple[int, ...]


class ClipReader:
    """Decodes clips, and caches whole decoded files while they fit into `free_bytes`.

    Caching changes neither pixels nor what counts as unreadable: a file with any damaged frame, or
    that needs another decoder when read as a whole, is not cached.
    """

    def __init__(self, plan: ClipPlan, decoder: str, free_bytes: int) -> None:
        self._plan, self._decoder, self._free_bytes = plan, decoder, free_bytes
        self._cache: dict[int, Pixels | None] = {}

    def read(self, row: int, path: Path, seed: Seed) -> tuple[Pixels, IntArray]:
        """Return the distinct frames of a clip `[U, H, W, 3]` and its indices into them, `[T]`.

        `row` is the cache key of the file. An image is a clip of one frame.

        Raises:
            UnreadableMedia: the file, or a frame that the clip needs, cannot be decoded.
        """

        def choose(length: int, fps: float = 0.0) -> IntArray:
            return frame_indices(self._plan, length, np.random.default_rng(seed))

        whole = self._cache.get(row)
        if EXTENSIONS.get(extension(path.name)) == "image":
            picture = read_image(path) if whole is None else whole
            self._store(row, picture)
            return picture, np.zeros(self._plan.num_frames, dtype=np.int64)
        if whole is not None:
            distinct, index = np.unique(choose(len(whole)), return_inverse=True)
            return whole[distinct], index.reshape(-1).astype(np.int64)
        frames = read_frames(path, choose, decoder=self._decoder)
        num_bytes = frames.pixels[0].nbytes * frames.num_frames
        if row not in self._cache and num_bytes <= self._free_bytes:
            self._store(row, self._decode_all(path, frames.decoder))
        return frames.pixels, frames.index[0]

    def _decode_all(self, path: Path, decoder: str) -> Pixels | None:
        """Return all frames `[frames, H, W, 3]`, or None if they may differ from single clips."""
        try:
            frames = read_frames(
                path, lambda length, fps: np.arange(length)[None], decoder=self._decoder
            )
        except UnreadableMedia:
            return None
        return frames.pixels if frames.decoder == decoder else None

    def _store(self, row: int, pixels: Pixels | None) -> None:
        size = 0 if pixels is None else pixels.nbytes
        if row not in self._cache and 0 < self._free_bytes >= size:
            self._cache[row] = pixels
            self._free_bytes -= size
