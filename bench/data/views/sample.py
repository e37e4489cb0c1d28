"""The encoder's input: the pixels of a row, or of clips around key frames with their boxes.

Shape letters: V views, U distinct frames of a row, S clips, T frames of a clip, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.data.media.media import Media, without_folder
from bench.data.views.key_frames import SampleBoxes
from bench.errors import MissingMedia, UnreadableMedia
from bench.types import IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """The pixels of one draw of one row, or the reason why there are none.

    `frames` holds the distinct frames: uint8 `[V, U, H, W, 3]` (score views) or float32
    `[1, S, 3, T or 1, H, W]` (augmented and normalised); `index` `[S, T]` maps them to the clips.
    `row` is the row number within the manifest given to `samples`. `repeated` counts the frames
    repeated because the video is too short. `missing` marks an error of a file that does not exist.

    If rows are boxes, `boxes` assigns them to the S clips, `row` is the first of them, and an error
    applies to all. Clips of mirrored key frames are mirrored when they are read from the sample.
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
    boxes: SampleBoxes | None = None

    @property
    def num_clips(self) -> int:
        """The number of clips, views times temporal clips; 0 for an error."""
        if self.frames is None:
            return 0
        if self.frames.dtype != torch.uint8 or self.index is None:
            return self.frames.shape[0] * self.frames.shape[1]
        return self.frames.shape[0] * len(self.index)

    @property
    def pixels(self) -> torch.Tensor | None:
        """All clips: uint8 `[V, S, T, H, W, 3]`, or float32 `[1, S, 3, T, H, W]` if augmented."""
        if self.frames is None or self.index is None:
            return self.frames
        if self.frames.dtype != torch.uint8:
            return self.frames.expand(-1, -1, -1, self.index.shape[1], -1, -1)
        pixels = self.frames[:, torch.from_numpy(self.index)]
        if self.boxes is not None:
            turned = torch.from_numpy(self.boxes.mirrored)
            pixels[:, turned] = pixels[:, turned].flip(-2)
        return pixels

    def copy_clip(self, number: int, out: torch.Tensor) -> None:
        """Copy clip `number` (view-major) of `pixels` into `out`, without building the others.

        An order of magnitude faster than indexing `pixels`, and a GPU is waiting for it.
        """
        assert self.frames is not None
        if self.frames.dtype != torch.uint8 or self.index is None:
            out.copy_(self.frames[0, number])  # a still spreads over the frames
            return
        view, clip = divmod(number, len(self.index))
        torch.index_select(self.frames[view], 0, torch.from_numpy(self.index[clip]), out=out)
        if self.boxes is not None and self.boxes.mirrored[clip]:
            out.copy_(out.flip(-2))


def failed_sample(
    row: int, draw: int, media: Media, error: UnreadableMedia, boxes: SampleBoxes | None = None
) -> Sample:
    """Return the sample of a medium that cannot be decoded."""
    return Sample(
        row=row,
        draw=draw,
        # Without the folder, so that a stored reason is portable.
        error=without_folder(error, media),
        missing=isinstance(error, MissingMedia),
        boxes=boxes,
    )
