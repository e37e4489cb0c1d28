"""Placement of names in a figure: next to their points, touching neither points nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

Align = Literal["left", "center", "right"]
LETTER = 0.58  # width of a letter and height of a line, in units of the font size
LINE = 1.15
GAP = 6.0  # points between a point and its name


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in points of the figure."""

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, half_width: float, half_height: float) -> Self:
        """Return the box with this centre."""
        return cls(left=x - half_width, right=x + half_width,
                   bottom=y - half_height, top=y + half_height)  # fmt: skip

    def touches(self, other: Box) -> bool:
        """Whether the two boxes overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def holds(self, other: Box) -> bool:
        """Whether the other box lies within this one."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name that begins, ends or is centred at `x`, vertically centred at `y`."""

    name: str
    x: float
    y: float
    align: Align
    box: Box


def placed(
    names: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    taken: Sequence[Box],
    frame: Box,
    *,
    letters: float,
) -> list[Label]:
    """Return the names that find a free place within `frame`, in the given order.

    `names` come with the points (x, y) next to which they may go; `letters` is the font size in
    points of 1/72 inch.
    """
    used, found = list(taken), []
    for name, points in names:
        width, height = LETTER * letters * len(name), LINE * letters
        places = (place for point in points for place in _places(*point, width, height))
        for align, x, y in places:
            left = {"left": x, "center": x - width / 2, "right": x - width}[align]
            box = Box(left=left, right=left + width, bottom=y - height / 2, top=y + height / 2)
            if frame.holds(box) and not any(box.touches(other) for other in used):
                used.append(box)
                found.append(Label(name=name, x=x, y=y, align=align, box=box))
                break
    return found


def _places(
    x: float, y: float, width: float, height: float
) -> Iterator[tuple[Align, float, float]]:
    """Yield places around a point: right and left, then above and below."""
    for dy in (0.0, 0.8 * height, -0.8 * height):
        yield "left", x + GAP, y + dy
        yield "right", x - GAP, y + dy
    for dy in (height, -height, 1.9 * height, -1.9 * height):
        yield "center", x, y + dy
        yield "left", x - 0.2 * width, y + dy
        yield "right", x + 0.2 * width, y + dy
    for dy in (2.0 * height, -2.0 * height, 3.0 * height, -3.0 * height):
        yield "left", x + GAP, y + dy
        yield "right", x - GAP, y + dy
