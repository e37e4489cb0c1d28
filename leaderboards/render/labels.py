"""Where names go in a picture: beside their points, touching neither points nor one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

Align = Literal["left", "center", "right"]
LETTER = 0.58  # widths of a letter and heights of a line, in units of the letters' size
LINE = 1.15
GAP = 6.0  # points between a point and its name


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in points of the picture."""

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, half_width: float, half_height: float) -> Self:
        """Return the box with this middle."""
        return cls(left=x - half_width, right=x + half_width,
                   bottom=y - half_height, top=y + half_height)  # fmt: skip

    def touches(self, other: Box) -> bool:
        """Whether the two have a point in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies within."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.bottom <= other.bottom
            and other.top <= self.top
        )


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name that ends, begins or is centred at `x`, its middle at the height `y`."""

    name: str
    x: float
    y: float
    align: Align

    def box(self, letters: float) -> Box:
        """Return what the name covers, for letters of that size."""
        return _box(self.align, self.x, self.y, *_size(self.name, letters))


def placed(
    names: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    taken: Sequence[Box],
    frame: Box,
    *,
    letters: float,
) -> list[Label]:
    """Return the names that find a place within `frame`, in the order given.

    `names` stand with the points (x, y) beside one of which they may go; `letters` is their size
    in points of 1/72 inch.
    """
    used, found = list(taken), []
    for name, points in names:
        size = _size(name, letters)
        for align, x, y in (place for point in points for place in _places(*point, *size)):
            box = _box(align, x, y, *size)
            if frame.holds(box) and not any(box.touches(other) for other in used):
                used.append(box)
                found.append(Label(name=name, x=x, y=y, align=align))
                break
    return found


def _places(
    x: float, y: float, width: float, height: float
) -> Iterator[tuple[Align, float, float]]:
    """Yield places around a point: to its right and left, then above and below."""
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


def _size(name: str, letters: float) -> tuple[float, float]:
    return LETTER * letters * len(name), LINE * letters


def _box(align: Align, x: float, y: float, width: float, height: float) -> Box:
    left = {"left": x, "center": x - width / 2, "right": x - width}[align]
    return Box(left=left, right=left + width, bottom=y - height / 2, top=y + height / 2)
