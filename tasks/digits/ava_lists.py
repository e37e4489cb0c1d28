"""The annotations of moving_digits_ava: labels of true boxes, and a detector's boxes and scores.

The detector is simulated: it jitters and scores the true boxes, misses some and invents others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.digits.ava_scenes import FILM_LOOK, NUM_KEYS, Film, Shot, film, gaps
from tasks.digits.scenes import MOTIONS, ScanSplit, between, generator

ListSplit = Literal["train", "val"]
Corners = tuple[float, float, float, float]

SPLITS: dict[ListSplit, ScanSplit] = {"train": "train", "val": "test"}
EXCLUDED_EVERY = 13  # one key frame in 13 is on the exclusion list


@dataclass(frozen=True, kw_only=True)
class Action:
    """A class as AVA lists it; rare ones are not evaluated."""

    id: int
    name: str
    kind: str
    evaluated: bool = True


ACTIONS = (
    Action(id=1, name="move left", kind="PERSON_MOVEMENT"),
    Action(id=2, name="move right", kind="PERSON_MOVEMENT"),
    Action(id=3, name="sway", kind="PERSON_MOVEMENT"),
    Action(id=4, name="tower over all", kind="PERSON_MOVEMENT", evaluated=False),
    Action(id=5, name="bob", kind="PERSON_MOVEMENT"),
    Action(id=6, name="turn clockwise", kind="PERSON_MOVEMENT"),
    Action(id=7, name="turn counterclockwise", kind="PERSON_MOVEMENT"),
    Action(id=8, name="grow", kind="PERSON_MOVEMENT"),
    Action(id=9, name="shrink", kind="PERSON_MOVEMENT"),
    Action(id=10, name="hurry (fast)", kind="OBJECT_MANIPULATION"),
    Action(id=11, name="touch (e.g., the edge)", kind="OBJECT_MANIPULATION", evaluated=False),
    Action(id=12, name="take time (slow)", kind="OBJECT_MANIPULATION"),
    Action(id=13, name="be near (another)", kind="PERSON_INTERACTION"),
    Action(id=14, name="be alone", kind="PERSON_INTERACTION"),
)
MOTION_IDS = dict(zip(MOTIONS, (1, 2, 3, 5, 6, 7, 8, 9), strict=True))
SPEED_IDS = {"fast": 10, "slow": 12}
TOWERING, TOUCHING, NEAR, ALONE = 4, 11, 13, 14
TOWER = 1.5  # times the height of the next highest box


@dataclass(frozen=True, kw_only=True)
class Detector:
    """How the boxes of the simulated detector differ from the true ones; probabilities are 0-1.

    A true box is missed with probability `missing`. Its corners get normal noise, as a fraction of
    its sides, of standard deviation `jitter`, or `slip` with probability `sloppy`. Scores are
    uniform within `sure`, or within `unsure` with probability `doubted`. A key frame has a false
    box with probability `false`.
    """

    missing: float = 0.04
    jitter: float = 0.05
    sloppy: float = 0.08
    slip: float = 0.2
    doubted: float = 0.08
    sure: tuple[float, float] = (0.82, 1.0)
    unsure: tuple[float, float] = (0.3, 0.8)
    false: float = 0.2
    false_scores: tuple[float, float] = (0.3, 0.95)
    false_sides: tuple[float, float] = (14.0, 30.0)


DETECTOR = Detector()


@dataclass(frozen=True, kw_only=True)
class TrueBox:
    """One digit on a key frame, with its labels; corners are fractions of the frame."""

    corners: Corners
    actions: tuple[int, ...]
    person: int


@dataclass(frozen=True, kw_only=True)
class FoundBox:
    """One detected box; `truth` is the index of its digit on the key frame, None if false."""

    corners: Corners
    score: float
    truth: int | None


@dataclass(frozen=True, kw_only=True)
class KeyFrame:
    """The annotations of one second of a film."""

    video: str
    second: int
    is_excluded: bool
    truth: tuple[TrueBox, ...]
    found: tuple[FoundBox, ...]


def video_name(split: ListSplit, number: int) -> str:
    """Return the name of a film in the lists."""
    return f"{split}_{number:04d}"


def key_frames(split: ListSplit, num_films: int) -> list[KeyFrame]:
    """Return the key frames of the first films of a split, ordered by (film, second)."""
    return [
        _key_frame(split, number, second, content)
        for number in range(num_films)
        for content in [film(SPLITS[split], number)]
        for second in range(1, NUM_KEYS + 1)
    ]


def actions_of(shot: Shot, actor: int) -> tuple[int, ...]:
    """Return the sorted labels of an actor at the key frame of a shot."""
    x1, y1, x2, y2 = shot.boxes[actor]
    heights = shot.boxes[:, 3] - shot.boxes[:, 1]
    height, width = FILM_LOOK.shape
    is_near = gaps(shot.boxes)[actor].min() <= FILM_LOOK.near
    labels = [
        MOTION_IDS[shot.motions[actor]],
        SPEED_IDS[shot.speeds[actor]],
        NEAR if is_near else ALONE,
    ]
    if heights[actor] >= TOWER * np.delete(heights, actor).max():
        labels.append(TOWERING)
    if x1 <= 0 or y1 <= 0 or x2 >= width or y2 >= height:
        labels.append(TOUCHING)
    return tuple(sorted(labels))


def _key_frame(split: ListSplit, number: int, second: int, content: Film) -> KeyFrame:
    shot = content.shots[second]
    return KeyFrame(
        video=video_name(split, number),
        second=second,
        is_excluded=(number * NUM_KEYS + second) % EXCLUDED_EVERY == EXCLUDED_EVERY // 2,
        truth=tuple(
            TrueBox(corners=_fractions(box), actions=actions_of(shot, actor), person=actor)
            for actor, box in enumerate(shot.boxes.tolist())
        ),
        found=_found(shot, (*content.key, 3, second)),
    )


def _found(shot: Shot, key: Sequence[int]) -> tuple[FoundBox, ...]:
    """Return the detector's boxes on the key frame of a shot, by descending score."""
    draw, detector = generator(*key), DETECTOR
    height, width = FILM_LOOK.shape
    found = []
    for actor, box in enumerate(shot.boxes):
        is_missing, is_sloppy, is_doubted = draw.random(3) < (
            detector.missing,
            detector.sloppy,
            detector.doubted,
        )
        off = draw.standard_normal(4) * (detector.slip if is_sloppy else detector.jitter)
        score = between(detector.unsure if is_doubted else detector.sure, draw.random())
        sides = np.tile(box[2:] - box[:2], 2)
        if not is_missing:
            corners = _fractions((box + off * sides).tolist())
            found.append(FoundBox(corners=corners, score=round(score, 6), truth=actor))
    if draw.random() < detector.false:
        w, h = (between(detector.false_sides, share) for share in draw.random(2))
        x, y = draw.random(2) * (width - w, height - h)
        score = between(detector.false_scores, draw.random())
        corners = _fractions((x, y, x + w, y + h))
        found.append(FoundBox(corners=corners, score=round(score, 6), truth=None))
    return tuple(sorted(found, key=lambda box: -box.score))


def _fractions(pixels: Sequence[float]) -> Corners:
    """Return a box in pixels as fractions of the frame, clipped, with three decimals."""
    height, width = FILM_LOOK.shape
    x1, y1, x2, y2 = (
        round(min(max(pixel / side, 0.0), 1.0), 3)
        for pixel, side in zip(pixels, (width, height, width, height), strict=True)
    )
    assert x1 < x2 and y1 < y2, pixels
    return x1, y1, x2, y2
