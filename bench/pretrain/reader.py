"""The frames of one random clip of a file, from the file or from memory.

Shape letters: U distinct frames of a clip, T its frames, H and W pixels.
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
    """Decodes clips, and keeps whole decoded files while they fit into `room` bytes.

    Keeping changes neither a pixel nor what counts as unreadable: a file of which some frame is
    damaged, or which as a whole is read by another decoder, is not kept.
    """

    def __init__(self, plan: ClipPlan, decoder: str, room: int) -> None:
        self._plan, self._decoder, self._room = plan, decoder, room
        self._kept: dict[int, Pixels | None] = {}

    def read(self, row: int, path: Path, seed: Seed) -> tuple[Pixels, IntArray]:
        """Return the distinct frames of a clip `[U, H, W, 3]` and which of them it shows, `[T]`.

        `row` is what a file is kept under. An image is a clip of one frame.

        Raises:
            UnreadableMedia: the file, or a frame that the clip needs, cannot be decoded.
        """

        def choose(length: int, fps: float = 0.0) -> IntArray:
            return frame_indices(self._plan, length, np.random.default_rng(seed))

        whole = self._kept.get(row)
        if EXTENSIONS.get(extension(path.name)) == "image":
            picture = read_image(path) if whole is None else whole
            self._keep(row, picture)
            return picture, np.zeros(self._plan.num_frames, dtype=np.int64)
        if whole is not None:
            wanted, index = np.unique(choose(len(whole)), return_inverse=True)
            return whole[wanted], index.reshape(-1).astype(np.int64)
        frames = read_frames(path, choose, decoder=self._decoder)
        if row not in self._kept and frames.pixels[0].nbytes * frames.num_frames <= self._room:
            self._keep(row, self._whole(path, frames.decoder))
        return frames.pixels, frames.index[0]

    def _whole(self, path: Path, decoder: str) -> Pixels | None:
        """All frames `[frames, H, W, 3]`; None where they would not be those of single clips."""
        try:
            frames = read_frames(
                path, lambda length, fps: np.arange(length)[None], decoder=self._decoder
            )
        except UnreadableMedia:
            return None
        return frames.pixels if frames.decoder == decoder else None

    def _keep(self, row: int, pixels: Pixels | None) -> None:
        size = 0 if pixels is None else pixels.nbytes
        if row not in self._kept and 0 < self._room >= size:
            self._kept[row] = pixels
            self._room -= size
