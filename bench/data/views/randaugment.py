"""RandAugment on video clips (arXiv 1909.13719), in the "increasing" form of the V-JEPA evaluation.

Released setting `rand-m7-n4-mstd0.5-inc1`: four of fifteen operations drawn with replacement, each
applied with probability one half at a magnitude drawn from N(7, 0.5) within 0 to 10. Everything is
drawn once per clip, so all of its frames get the same operations and arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

Colour = tuple[int, int, int]
GREY: Colour = (128, 128, 128)
BICUBIC = Image.Resampling.BICUBIC
LARGEST = {"Rotate": 30.0, "ShearX": 0.3, "ShearY": 0.3, "TranslateX": 0.45, "TranslateY": 0.45}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One drawn operation and its argument in the operation's own unit.

    Degrees (Rotate), bits kept (Posterize), grey levels (Solarize, SolarizeAdd), blending factor
    with 1 for no change (Color to Sharpness), slope (Shear), fraction of the size (Translate);
    ignored by AutoContrast, Equalize and Invert.
    """

    operation: str
    argument: float


def draw_steps(
    rng: np.random.Generator,
    *,
    num_operations: int = 4,
    probability: float = 0.5,
    magnitude: float = 7.0,
    spread: float = 0.5,
) -> tuple[Step, ...]:
    """Draw the operations of one clip; each is applied with `probability`."""
    steps = []
    for index in rng.integers(len(OPERATIONS), size=num_operations):
        apply, sign = rng.random() < probability, 1 if rng.random() < 0.5 else -1
        level = min(10.0, max(0.0, rng.normal(magnitude, spread)))
        if apply:
            name = OPERATIONS[index]
            steps.append(Step(operation=name, argument=argument(name, level, sign)))
    return tuple(steps)


def argument(operation: str, magnitude: float, sign: int) -> float:
    """Convert a magnitude (0 to 10, 10 the strongest) to the operation's argument."""
    fraction = magnitude / 10
    match operation:
        case "Posterize":
            return 4 - int(4 * fraction)
        case "Solarize":
            return 256 - int(256 * fraction)
        case "SolarizeAdd":
            return int(110 * fraction)
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return 1 + sign * 0.9 * fraction
    return geometric_argument(operation, magnitude, sign)


def geometric_argument(operation: str, magnitude: float, sign: int) -> float:
    """Return the argument of Rotate, Shear and Translate; 0 for operations that take none."""
    return sign * LARGEST.get(operation, 0.0) * magnitude / 10


def apply_steps(
    clip: npt.NDArray[np.uint8], steps: Sequence[Step], *, fill: Colour = GREY
) -> npt.NDArray[np.uint8]:
    """Apply the same steps to every frame of a clip, uint8 `[T, H, W, 3]` in and out.

    `fill` is the colour of regions uncovered by geometric operations (bicubic).
    """
    if not steps:
        return clip
    frames = []
    for frame in clip:
        picture = Image.fromarray(frame)
        for step in steps:
            picture = _FUNCTIONS[step.operation](picture, step.argument, fill)
        frames.append(np.asarray(picture))
    return np.stack(frames)


def _affine(picture: Image.Image, row: tuple[float, ...], fill: Colour) -> Image.Image:
    return picture.transform(
        picture.size, Image.Transform.AFFINE, row, resample=BICUBIC, fillcolor=fill
    )


def _posterize(picture: Image.Image, bits: float, fill: Colour) -> Image.Image:
    """Keep the highest bits; unlike Pillow's own, also zero bits (magnitude 10)."""
    return picture.point([level & ~(255 >> int(bits)) for level in range(256)] * 3)


def _solarize_add(picture: Image.Image, added: float, fill: Colour) -> Image.Image:
    """Brighten the levels below 128, never beyond 255."""
    levels = [min(255, level + int(added)) if level < 128 else level for level in range(256)]
    return picture.point(levels * 3)


_FUNCTIONS: dict[str, Callable[[Image.Image, float, Colour], Image.Image]] = {
    "AutoContrast": lambda picture, _, fill: ImageOps.autocontrast(picture),
    "Equalize": lambda picture, _, fill: ImageOps.equalize(picture),
    "Invert": lambda picture, _, fill: ImageOps.invert(picture),
    "Rotate": lambda picture, degrees, fill: picture.rotate(degrees, BICUBIC, fillcolor=fill),
    "Posterize": _posterize,
    "Solarize": lambda picture, level, fill: ImageOps.solarize(picture, int(level)),
    "SolarizeAdd": _solarize_add,
    "Color": lambda picture, factor, fill: ImageEnhance.Color(picture).enhance(factor),
    "Contrast": lambda picture, factor, fill: ImageEnhance.Contrast(picture).enhance(factor),
    "Brightness": lambda picture, factor, fill: ImageEnhance.Brightness(picture).enhance(factor),
    "Sharpness": lambda picture, factor, fill: ImageEnhance.Sharpness(picture).enhance(factor),
    "ShearX": lambda picture, slope, fill: _affine(picture, (1, slope, 0, 0, 1, 0), fill),
    "ShearY": lambda picture, slope, fill: _affine(picture, (1, 0, 0, slope, 1, 0), fill),
    "TranslateX": lambda picture, part, fill: _affine(
        picture, (1, 0, part * picture.width, 0, 1, 0), fill
    ),
    "TranslateY": lambda picture, part, fill: _affine(
        picture, (1, 0, 0, 0, 1, part * picture.height), fill
    ),
}
OPERATIONS = tuple(_FUNCTIONS)
