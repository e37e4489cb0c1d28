"""Films of two to four moving digits, each with its own motion, as boxes and pixels.

A film is a pure function of (split, number). Its cast, two to four of scikit-learn's scans, plays
one shot per key frame, as long as a clip: new positions, motions, speeds and colours, and a new
background in every frame (as in `tasks/digits/scenes.py`). Digits do not overlap at a key frame.
Positions are accepted by the key frame alone, which is distributed the same for all motions, so it
reveals neither motion nor speed.

    frames   0 ... 11 | 12 ... 35 | 36 ... 59 | 60 ... 83 | 84 ... 107
    key               |     24    |     48    |     72    |     96

Shape letters: T frames, A actors, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tasks.digits.scenes import (
    DIGITS,
    LOOK,
    MOTIONS,
    Course,
    Floats,
    Look,
    Pixels,
    ScanSplit,
    background,
    between,
    course,
    generator,
    ink,
    scans_of,
    tight_boxes,
)

SEEDS: dict[ScanSplit, int] = {"train": 3, "test": 4}
NUM_KEYS = 4
FPS = 24  # the frames of a shot: one key frame per second
SPEEDS = ("slow", "fast")
TRIES = 256  # sets of positions tried for one set of courses
ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True)
class FilmLook:
    """Everything that the pixels depend on besides (split, number); the defaults are the data set.

    `look` describes digits and background; its `size` is the height of the frame, `width` the
    width. A cast has `actors` digits, which cross their range `crossings` times per shot, by speed.
    At a key frame boxes are at least `gap` pixels apart, and near if within `near` pixels. Digits
    are placed up to `lift` pixels above or below the middle.
    """

    look: Look = LOOK
    width: int = 128
    actors: tuple[int, int] = (2, 4)
    crossings: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {"slow": (0.7, 1.0), "fast": (1.8, 2.4)}
    )
    gap: float = 1.0
    near: float = 4.0
    lift: int = 6

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.look.size, self.width

    @property
    def num_frames(self) -> int:
        """Frames of a film; only the second half of the first shot is shown."""
        return NUM_KEYS * self.look.num_frames + self.lead

    @property
    def lead(self) -> int:
        """Frames before the first whole shot, and before the key frame of a shot."""
        return self.look.num_frames // 2


FILM_LOOK = FilmLook()


@dataclass(frozen=True, kw_only=True, eq=False)
class Shot:
    """Motion, speed, course of every actor; key-frame `boxes` `[A, 4]` as of `tight_boxes`."""

    motions: tuple[str, ...]
    speeds: tuple[str, ...]
    courses: tuple[Course, ...]
    boxes: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """One film: the scans of its cast, its shots and the seed `key`.

    Shot k has the key frame of second k; shot 0 is shown from its middle and has no labels.
    """

    cast: tuple[int, ...]
    shots: tuple[Shot, ...]
    key: tuple[int, int]


def film(split: ScanSplit, number: int, look: FilmLook = FILM_LOOK) -> Film:
    """Return a film; splits share no scans."""
    key = (SEEDS[split], number)
    draw = generator(*key, 0)
    fewest, most = look.actors
    digits = draw.integers(len(DIGITS), size=draw.integers(fewest, most + 1)).tolist()
    pools = [scans_of(split, digit) for digit in digits]
    cast = tuple(pool[draw.integers(len(pool))] for pool in pools)
    shots = tuple(_shot(cast, (*key, 1, number), look) for number in range(NUM_KEYS + 1))
    return Film(cast=cast, shots=shots, key=key)


def render_film(film: Film, look: FilmLook = FILM_LOOK) -> Pixels:
    """Return the frames of a film, uint8 `[T, H, W, 3]`."""
    firsts = [look.lead] + [0] * NUM_KEYS
    return np.concatenate([_render(film, k, first, look) for k, first in enumerate(firsts)])


def gaps(boxes: Floats) -> Floats:
    """Return the distances of boxes `[..., A, 4]` in pixels, `[..., A, A]`; inf to themselves.

    The larger of the horizontal and vertical distance; negative if they overlap.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    apart = low[..., :, None, :] - high[..., None, :, :]
    apart = np.maximum(apart, apart.swapaxes(-2, -3)).max(axis=-1)
    return np.where(np.eye(boxes.shape[-2], dtype=np.bool_), np.inf, apart)


def _shot(cast: tuple[int, ...], key: tuple[int, ...], look: FilmLook) -> Shot:
    draw = generator(*key, 0)
    motions = tuple(tuple(MOTIONS)[m] for m in draw.integers(len(MOTIONS), size=len(cast)))
    speeds = tuple(SPEEDS[s] for s in draw.integers(len(SPEEDS), size=len(cast)))
    looks = {name: replace(look.look, crossings=ends) for name, ends in look.crossings.items()}
    for attempt in range(1, ATTEMPTS):
        courses = tuple(
            course(motion, (*key, attempt, actor), looks[speed])
            for actor, (motion, speed) in enumerate(zip(motions, speeds, strict=True))
        )
        square = look.look.size, look.look.size
        shown = [one.at(look.lead) for one in courses]
        inks = [ink(scan, one, square) for scan, one in zip(cast, shown, strict=True)]
        boxes = tight_boxes(np.concatenate(inks))
        homes = _homes(boxes, generator(*key, attempt, len(cast)), look)
        if homes is not None:
            return Shot(
                motions=motions,
                speeds=speeds,
                courses=tuple(
                    replace(one, x=one.x + dx, y=one.y + dy)
                    for one, (dx, dy) in zip(courses, homes.tolist(), strict=True)
                ),
                boxes=boxes + np.tile(homes, 2),
            )
    raise AssertionError(f"{len(cast)} digits do not fit in a frame of {look.shape}")


def _homes(
    boxes: Floats, draw: np.random.Generator, look: FilmLook
) -> npt.NDArray[np.int64] | None:
    """Return offsets in whole pixels by which no box overlaps another, None if none was found."""
    spare = look.width - look.look.size
    across = draw.integers(spare + 1, size=(TRIES, len(boxes)))
    down = draw.integers(-look.lift, look.lift + 1, size=(TRIES, len(boxes)))
    homes = np.stack([across, down], axis=2)
    moved = boxes + np.tile(homes, 2)
    height, width = look.shape
    inside = ((moved >= 0) & (moved <= (width, height, width, height))).all(axis=(1, 2))
    fits = inside & (gaps(moved).min(axis=(1, 2)) >= look.gap)
    return np.asarray(homes[fits.argmax()]) if fits.any() else None


def _render(film: Film, number: int, first: int, look: FilmLook) -> Pixels:
    """Return the frames of one shot, starting at frame `first`."""
    shot, base = film.shots[number], look.look
    key = (*film.key, 2, number)
    draw = generator(*key)
    strength = [between(base.contrast, draw.random()) for _ in film.cast]
    tint_A3 = 1 + base.tint * (2 * draw.random((len(film.cast), 3)) - 1)
    contrast_3A = tint_A3.T * strength
    shown = [one.since(first) for one in shot.courses]
    inks = [_ink(scan, one, look.shape) for scan, one in zip(film.cast, shown, strict=True)]
    flicker_TA = np.stack([one.contrast for one in shown], axis=1)
    frames = np.empty((len(flicker_TA), *look.shape, 3), dtype=np.uint8)
    # Frame by frame: adding within the CPU cache is several times as fast.
    for place, flicker_A in enumerate(flicker_TA):
        ink_AP = np.stack([one_THW[place].reshape(-1) for one_THW in inks])
        mixed_3HW = background(generator(*key, first + place), base, look.shape)
        mixed_3HW += ((contrast_3A * flicker_A) @ ink_AP).reshape(mixed_3HW.shape)
        np.clip(np.rint(mixed_3HW, out=mixed_3HW), 0, 255, out=mixed_3HW)
        frames[place] = mixed_3HW.transpose(1, 2, 0)
    return frames


def _ink(scan: int, course: Course, shape: tuple[int, int]) -> Floats:
    """Compute `ink` only where the digit passes."""
    far = 0.85 * course.side.max() + 1  # the corner of a scan and its blur
    ends = []
    for centre, size in ((course.y, shape[0]), (course.x, shape[1])):
        low, high = int(np.floor(centre.min() - far)), int(np.ceil(centre.max() + far)) + 1
        ends.append((max(low, 0), min(high, size)))
    (top, bottom), (left, right) = ends
    moved = replace(course, x=course.x - left, y=course.y - top)
    ink_THW = np.zeros((len(course.x), *shape))
    ink_THW[:, top:bottom, left:right] = ink(scan, moved, (bottom - top, right - left))
    return ink_THW
