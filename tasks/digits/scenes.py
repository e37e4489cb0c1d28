"""Scenes of moving_digits: a handwritten digit that moves over a changing background, as pixels.

A scene is a pure function of (split, row): scan, one of eight motions, position, size, angle and
colours. Position, angle and size of the digit are uniform in every single frame for every motion,
so only changes between frames reveal the motion. Every frame has a new background, which hides the
digit from features that do not separate what persists from what does not (a static background is
what joint-embedding prediction learns best, arXiv 2211.10831). Digits are scikit-learn's 8x8 scans
(Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998).

Shape letters: T frames, H and W pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
ScanSplit = Literal["train", "test"]
Size = Literal["full", "small"]

DIGITS = tuple(str(digit) for digit in range(10))
# What a motion changes, and how: up or down through the range, or back and forth.
MOTIONS = {
    "left": ("x", "down"),
    "right": ("x", "up"),
    "sway": ("x", "swing"),
    "bob": ("y", "swing"),
    "clockwise": ("angle", "up"),
    "counterclockwise": ("angle", "down"),
    "grow": ("side", "up"),
    "shrink": ("side", "down"),
}
PAIRS = len(DIGITS) * len(MOTIONS)
SEEDS: dict[ScanSplit, int] = {"train": 1, "test": 2}
SCAN_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything that the pixels depend on besides (split, row); the defaults are the data set.

    Lengths are pixels, angles degrees, brightness grey levels (0-255); pairs are the ends of a
    uniform draw. The centre of the digit stays within `reach` of the middle of the frame, its
    angle within `angle` of upright, the side of its scan within `side`. During the video the digit
    crosses its range `crossings` times, each time restarting at the other end. Every frame draws
    its `background` colour, within `hue` of a grey, and its texture: `num_waves` plane waves with
    `cycles` per frame side, amplitudes that fall with frequency, and standard deviation `texture`.
    `tint` and `flicker` are the fractions by which the digit's contrast varies between colour
    channels and frames.
    """

    num_frames: int = 24
    size: int = 64
    reach: float = 12.0
    angle: float = 30.0
    side: tuple[float, float] = (20.0, 36.0)
    crossings: tuple[float, float] = (1.6, 2.2)
    contrast: tuple[float, float] = (85.0, 95.0)
    tint: float = 0.05
    flicker: float = 0.3
    background: tuple[float, float] = (100.0, 115.0)
    hue: float = 6.0
    texture: float = 20.0
    cycles: tuple[float, float] = (0.5, 6.0)
    num_waves: int = 12


def digest_of(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the fields of a look."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


LOOK = Look()


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """Where the digit is in every frame, all `[T]`.

    `frame` is the frame number in the video; `x`, `y` and `side` are centre and side of the scan's
    square in pixels (pixel centres at integers), `angle` is clockwise in radians, `contrast` a
    factor.
    """

    frame: npt.NDArray[np.int64]
    x: Floats
    y: Floats
    angle: Floats
    side: Floats
    contrast: Floats

    def at(self, frame: int) -> Course:
        """Return the course of one frame."""
        return Course(**{f.name: getattr(self, f.name)[frame : frame + 1] for f in fields(self)})

    def since(self, frame: int) -> Course:
        """Return the course from `frame` to the end."""
        return Course(**{f.name: getattr(self, f.name)[frame:] for f in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One row: class indices, index of the scan, course, and the seed `key` of all colours."""

    digit: int
    motion: int
    scan: int
    course: Course
    key: tuple[int, int]

    def still(self) -> Scene:
        """Return the same scene with its middle frame only."""
        return replace(self, course=self.course.at(len(self.course.x) // 2))


def scene(split: ScanSplit, row: int, look: Look = LOOK) -> Scene:
    """Return the scene of a row; rows 80 n to 80 n + 79 have every (digit, motion) pair once."""
    round_, pair = divmod(row, PAIRS)
    digit, motion = divmod(pair, len(MOTIONS))
    pool = scans_of(split, digit)
    key = (SEEDS[split], row)
    return Scene(
        digit=digit,
        motion=motion,
        scan=pool[(round_ * len(MOTIONS) + motion) % len(pool)],
        course=course(tuple(MOTIONS)[motion], key, look),
        key=key,
    )


def course(motion: str, key: tuple[int, ...], look: Look = LOOK) -> Course:
    """Return the course that `key` draws for a motion.

    The draws do not depend on the motion: with one key, `left` is `right` played backwards, except
    for flicker and backgrounds; likewise for the other pairs.
    """
    draw = generator(*key, 0)
    phase = {name: np.full(look.num_frames, draw.random()) for name in ("x", "y", "angle", "side")}
    crossings = between(look.crossings, draw.random())
    upper_half = draw.random() < 0.5
    middle = (look.num_frames - 1) / 2
    steps = crossings * (np.arange(look.num_frames) - middle) / look.num_frames
    moved, way = MOTIONS[motion]
    if way == "swing":
        # Half of the range, so that it turns twice at the speed of the other motions.
        phase[moved] = (_triangle(phase[moved] + steps) + upper_half) / 2
    else:
        phase[moved] = (phase[moved] + (steps if way == "up" else -steps)) % 1.0
    small, large = look.side
    centre = (look.size - 1) / 2
    return Course(
        frame=np.arange(look.num_frames),
        x=centre + look.reach * (2 * phase["x"] - 1),
        y=centre + look.reach * (2 * phase["y"] - 1),
        angle=np.deg2rad(look.angle) * (2 * phase["angle"] - 1),
        side=small * (large / small) ** phase["side"],
        contrast=1 + look.flicker * (2 * draw.random(look.num_frames) - 1),
    )


def render(scene: Scene, look: Look = LOOK) -> Pixels:
    """Return the frames of a scene, uint8 `[T, H, W, 3]`."""
    draw = generator(*scene.key, 1)
    contrast = between(look.contrast, draw.random()) * (1 + look.tint * (2 * draw.random(3) - 1))
    ink_THW = coverage(scene, look) * scene.course.contrast[:, None, None]
    # Channels first and in place: numpy is slow on a last axis of three and on new memory.
    mixed_T3HW = ink_THW[:, None] * contrast[:, None, None]
    for number, mixed_3HW in zip(scene.course.frame.tolist(), mixed_T3HW, strict=True):
        shape = (look.size, look.size)
        mixed_3HW += background(generator(*scene.key, 2, number), look, shape)
    np.clip(np.rint(mixed_T3HW, out=mixed_T3HW), 0, 255, out=mixed_T3HW)
    return np.ascontiguousarray(mixed_T3HW.astype(np.uint8).transpose(0, 2, 3, 1))


def tight_boxes(ink_THW: Floats) -> Floats:
    """Return tight boxes around all ink, `[T, 4]` as (x1, y1, x2, y2) in pixels.

    Edges lie between pixels: the box of pixel (0, 0) is (0, 0, 1, 1).
    """
    filled_THW = ink_THW > 0
    edges = []
    for axis in (1, 2):
        filled = np.asarray(filled_THW.any(axis=axis))
        edges.append((filled.argmax(axis=1), filled.shape[1] - filled[:, ::-1].argmax(axis=1)))
    (x1, x2), (y1, y2) = edges
    return np.stack([x1, y1, x2, y2], axis=1).astype(np.float64)


def coverage(scene: Scene, look: Look = LOOK) -> Floats:
    """Return the ink coverage of each pixel, 0-1, `[T, H, W]`."""
    return ink(scene.scan, scene.course, (look.size, look.size))


def ink(scan: int, course: Course, shape: tuple[int, int]) -> Floats:
    """Return the ink coverage of frames (height, width), bilinear, sharpened, 0-1, `[T, H, W]`."""
    height, width = shape
    right = np.arange(width, dtype=np.float64)[None, None, :] - course.x[:, None, None]
    below = np.arange(height, dtype=np.float64)[None, :, None] - course.y[:, None, None]
    cos = (np.cos(course.angle) * SCAN_SIDE / course.side)[:, None, None]
    sin = (np.sin(course.angle) * SCAN_SIDE / course.side)[:, None, None]
    # Two cells of padding on every side make everything outside of the scan paper.
    padded = SCAN_SIDE + 4
    cells = np.pad(scans()[0][scan], 2).reshape(-1)
    column = np.clip(cos * right + sin * below + (padded - 1) / 2, 0, padded - 1.001)
    line = np.clip(cos * below - sin * right + (padded - 1) / 2, 0, padded - 1.001)
    left, top = column.astype(np.int64), line.astype(np.int64)
    across, down = column - left, line - top
    at = top * padded + left
    upper = cells[at] * (1 - across) + cells[at + 1] * across
    lower = cells[at + padded] * (1 - across) + cells[at + padded + 1] * across
    sharp = np.clip((upper * (1 - down) + lower * down - 0.2) / 0.5, 0, 1)
    return np.asarray(sharp * sharp * (3 - 2 * sharp))


@cache
def scans() -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return scikit-learn's scans, 0-1 `[1797, 8, 8]`, and their digits `[1797]`."""
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    return digits.images / 16.0, digits.target.astype(np.int64)


@cache
def scans_of(split: ScanSplit, digit: int) -> tuple[int, ...]:
    """Return the indices of a digit's scans in a split; every third scan is a test scan."""
    targets = scans()[1]
    chosen = (np.arange(len(targets)) % 3 == 2) == (split == "test")
    return tuple(np.flatnonzero(chosen & (targets == digit)).tolist())


def background(draw: np.random.Generator, look: Look, shape: tuple[int, int]) -> Floats:
    """Return the background of one frame (height, width), `[3, H, W]`."""
    grey = between(look.background, draw.random())
    colour = grey + look.hue * (2 * draw.random(3) - 1)
    return np.asarray(colour[:, None, None] + _texture(draw, look, shape))


def _texture(draw: np.random.Generator, look: Look, shape: tuple[int, int]) -> Floats:
    """Return a sum of plane waves with random heading, phase and colour, `[3, H, W]`."""
    height, width = shape
    low, high = look.cycles
    frequency = low * (high / low) ** draw.random(look.num_waves)
    heading, phase = 2 * np.pi * draw.random((2, look.num_waves))
    colour = 1 + 1.5 * (draw.random((look.num_waves, 3)) - 0.5)
    amplitude = 1 / frequency
    amplitude *= look.texture / np.sqrt((amplitude**2).sum() / 2)
    # Cycles are per height, so that waves are isotropic in a wide frame.
    x, y = np.arange(width) / height, np.arange(height) / height
    across = np.exp(2j * np.pi * np.outer(frequency * np.cos(heading), x))
    down = np.exp(2j * np.pi * np.outer(frequency * np.sin(heading), y) + 1j * phase[:, None])
    weight = amplitude[:, None] * colour
    return np.asarray([(down * channel[:, None]).T @ across for channel in weight.T]).real


def _triangle(phase: Floats) -> Floats:
    """Return a triangle wave of period 1 in [0, 1], uniform for a uniform phase."""
    return np.asarray(np.abs(2 * (phase % 1.0) - 1))


def between(ends: tuple[float, float], share: float) -> float:
    """Interpolate linearly between two ends; `share` is 0-1."""
    return ends[0] + (ends[1] - ends[0]) * share


def generator(*key: int) -> np.random.Generator:
    """Return the random generator of a key."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
