"""Size and orientation of the picture that a film stores, which must not change within it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from bench.data.media.media import Source, unreadable


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Size in pixels of a stored picture, and its orientation: mirrored, then turned clockwise.

    `mirrored` swaps left and right. `rotation` is 0, 90, 180 or 270 degrees: of the display matrix
    of the container, else of the display orientation that H.264 or HEVC frames carry, rounded to
    quarter turns.
    """

    height: int
    width: int
    mirrored: bool
    rotation: int

    @classmethod
    def of(cls, frame: Any) -> Picture:
        """Return the picture of a decoded frame, on which FFmpeg puts the matrix that holds."""
        found = frame.side_data.get("DISPLAYMATRIX")
        # A pixel at (x, y) is shown at (a x + c y, b x + d y), with y downwards.
        a, b, _, c, d = struct.unpack("=9i", bytes(found))[:5] if found else (1, 0, 0, 0, 1)
        quarter_turns = round(math.atan2(-c, d) / (math.pi / 2))
        return cls(
            height=frame.height,
            width=frame.width,
            mirrored=a * d - b * c < 0,
            rotation=quarter_turns % 4 * 90,
        )

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width of the upright picture."""
        return (self.width, self.height) if self.rotation % 180 else (self.height, self.width)

    def __str__(self) -> str:
        mirrored = ", mirrored" if self.mirrored else ""
        turned = f", turned by {self.rotation} degrees" if self.rotation else ""
        return f"{self.width} x {self.height}{mirrored}{turned}"


def refuse_other_size(source: Source, picture: Picture, frame: Any) -> None:
    """Refuse a decoded frame whose size is not that of the first; raises `UnreadableMedia`."""
    if (frame.height, frame.width) != (picture.height, picture.width):
        refuse_change(source, picture, Picture.of(frame))


def refuse_change(source: Source, before: Picture, after: Picture) -> None:
    """Refuse a film whose picture changes; raises `UnreadableMedia`."""
    if before != after:
        reason = f"its picture changes from {before} to {after} in mid-film"
        raise unreadable(source, reason, "cut it there, or convert it to one size")
