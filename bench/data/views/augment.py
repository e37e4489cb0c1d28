"""Training augmentations of clips: random resized crop, flip, erasing, and the named recipes.

Parameters are drawn once per clip, only from the generator passed in. Sources: the released V-JEPA
evaluation and the appendix of its paper (arXiv 2404.08471); random erasing is arXiv 1708.04896.
Boxes are (top, left, height, width) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from bench.data.views import autoaugment, randaugment
from bench.data.views.transforms import normalise
from bench.errors import UsageError, known
from bench.types import Kind

Box = tuple[int, int, int, int]
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """A training transform: the distributions of one clip's augmentation.

    `kind` image marks a recipe for stills only; a video recipe takes stills too. `policy` is
    RandAugment on the whole frames of a video, or AutoAugment on the finished crop of a still.
    `scale` is the cropped fraction of the area, `ratio` its width over height. `flip` says whether
    the recipe mirrors if the task allows it, `erasing` is the probability of erasing a box, with at
    most `erasing_tries` tries to place it.
    """

    kind: Kind
    policy: Literal["none", "randaugment", "autoaugment"]
    interpolation: Literal["bilinear", "bicubic"]
    scale: Range = (0.08, 1.0)
    ratio: Range = (3 / 4, 4 / 3)
    flip: bool
    erasing: float = 0.0
    erasing_tries: int = 0


AUGMENTATIONS = {
    # The released video evaluation of V-JEPA and V-JEPA 2.
    "vjepa_released": Augmentation(
        kind="video",
        policy="randaugment",
        interpolation="bilinear",
        flip=False,
        erasing=0.25,
        erasing_tries=100,
    ),
    # The V-JEPA paper's appendix, which differs from its code: no automatic augmentation.
    "vjepa_paper": Augmentation(
        kind="video",
        policy="none",
        interpolation="bilinear",
        ratio=(0.75, 1.33),
        flip=True,
    ),
    # The released image evaluation of V-JEPA and V-JEPA 2.
    "vjepa_image": Augmentation(
        kind="image",
        policy="autoaugment",
        interpolation="bicubic",
        flip=True,
        erasing=0.25,
        erasing_tries=10,
    ),
}


def augment(
    name: str,
    clip: npt.NDArray[np.uint8],
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    flip: bool,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Return one random training view of a clip `[T, H, W, 3]`, normalised: `[3, T, size, size]`.

    `flip` says whether mirroring keeps the label. A recipe for stills takes one picture, optionally
    repeated over the T frames, and returns T equal frames.

    Raises:
        UsageError: there is no such recipe, or a recipe for stills got a moving clip.
    """
    recipe = AUGMENTATIONS[known("augmentation", name, tuple(AUGMENTATIONS))]
    if recipe.kind == "image" and not np.array_equal(clip[:-1], clip[1:]):
        raise UsageError(
            f"augmentation {name!r} is for stills, but the frames of this clip differ; use"
            " 'vjepa_released' or 'vjepa_paper' for videos."
        )
    if recipe.policy == "randaugment":
        clip = randaugment.apply_steps(clip, randaugment.draw_steps(rng))
    box = sample_crop(*clip.shape[1:3], scale=recipe.scale, ratio=recipe.ratio, rng=rng)
    is_mirrored = flip and recipe.flip and rng.random() < 0.5
    if recipe.kind == "image":
        top, left, height, width = box
        crop = Image.fromarray(clip[0, top : top + height, left : left + width])
        still = np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC))[None]
        still = still[:, :, ::-1] if is_mirrored else still
        red, green, blue = (min(255, round(255 * level)) for level in mean)
        steps = autoaugment.draw_steps(rng)
        still = randaugment.apply_steps(still, steps, fill=(red, green, blue))
        levels = torch.from_numpy(np.require(still, requirements=["C", "W"]))
    else:
        # The released code normalises before it crops; both orders give the same numbers up to
        # float32 rounding, and this one does not process pixels that the crop drops.
        levels = crop_resize(clip, box, size)
        levels = levels.flip(2) if is_mirrored else levels
    view = normalise(levels, mean, std)
    if rng.random() < recipe.erasing:
        erase(view, tries=recipe.erasing_tries, rng=rng)
    return view.expand(-1, clip.shape[0], -1, -1).contiguous()


def sample_crop(
    height: int, width: int, *, scale: Range, ratio: Range, rng: np.random.Generator
) -> Box:
    """Draw the box of a random resized crop (arXiv 1409.4842, section 6).

    The fraction of the area is uniform in `scale`, the logarithm of width over height in `ratio`.
    After ten boxes that do not fit, the largest centred box with an allowed shape is used.
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return int(top), int(left), h, w
    w = min(width, round(height * ratio[1]))
    h = min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def crop_resize(clip: npt.NDArray[Any], box: Box, size: int) -> torch.Tensor:
    """Return the box of a clip `[T, H, W, 3]` (uint8 or float) as float32 `[T, size, size, 3]`.

    Bilinear with half-pixel centres and no antialiasing; grey levels keep their range and are not
    rounded.
    """
    top, left, height, width = box
    kept = np.require(clip[:, top : top + height, left : left + width], requirements=["C", "W"])
    crop = torch.from_numpy(kept).to(torch.float32)
    resized = functional.interpolate(
        crop.permute(0, 3, 1, 2), size=(size, size), mode="bilinear", align_corners=False
    )
    return resized.permute(0, 2, 3, 1)


def erase(view: torch.Tensor, *, tries: int, rng: np.random.Generator) -> Box | None:
    """Fill one random box of a normalised view `[3, T, H, W]` with N(0, 1) noise, in place.

    The box is the same in all frames, the noise is not. Its area is uniform from 0.02 to 1/3 of the
    frame, the logarithm of its height over width from 0.3 to 1/0.3. Returns the box, or None if
    none of `tries` boxes was smaller than the frame on both sides.
    """
    channels, frames, height, width = view.shape
    for _ in range(tries):
        area = height * width * rng.uniform(0.02, 1 / 3)
        aspect = math.exp(rng.uniform(math.log(0.3), -math.log(0.3)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            noise = rng.standard_normal((channels, frames, h, w), dtype=np.float32)
            view[:, :, top : top + h, left : left + w] = torch.from_numpy(noise)
            return top, left, h, w
    return None
