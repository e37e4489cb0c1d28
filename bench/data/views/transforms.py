"""From decoded pixels to the deterministic views used for scoring.

The geometry is that of V-JEPA's released evaluation code (arXiv 2404.08471). Videos are resized in
uint8, which costs a fraction of resizing in float32 and stays within one grey level of it. Shape
letters: U unique frames, V views, T frames of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from bench.errors import UsageError, known
from bench.types import Kind

Pixels = npt.NDArray[np.uint8]
STILL_CROP = 0.875  # 224 of 256 pixels
STILL_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def score_views(
    pixels: Pixels,
    *,
    size: int,
    num_views: int,
    kind: Kind,
    crop_fraction: float = STILL_CROP,
    interpolation: str = "bilinear",
) -> Pixels:
    """Return the deterministic square views of frames `[U, H, W, 3]` as `[V, U, size, size, 3]`.

    A video with several views has its short side resized to `size` and is cropped at V equal steps
    along its long side; with one view its short side becomes `size * 256 / 224` and the centre is
    kept. Videos are resized without antialiasing, as in the released code; smaller ones are
    enlarged. A still gets an antialiased resize to `size / crop_fraction` by `interpolation` (one
    of `STILL_FILTERS`) and a centre crop; both are set by the encoder and do not affect videos.

    Raises:
        UsageError: fewer than one view, several views of a still, an unknown interpolation, or a
            still smaller than its crop.
    """
    assert pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[3] == 3, pixels.shape
    if num_views < 1 or (kind == "image" and num_views > 1):
        raise UsageError(
            f"{num_views} views of {'a still' if kind == 'image' else 'a video'} are impossible:"
            " a still has exactly one view and a video at least one; change the third number of"
            " the plan, as in 16x1x1@0 for stills or 16x8x3@4 for videos."
        )
    sides = pixels.shape[1], pixels.shape[2]
    if kind == "image":
        if not 0 < crop_fraction <= 1:
            raise UsageError(
                f"crop_fraction {crop_fraction}: a still is resized to its size divided by this"
                " fraction and cropped; it should be above 0 and at most 1."
            )
        height, width = scaled_sides(*sides, math.floor(size / crop_fraction))
        # Antialiased, like Pillow and therefore torchvision's Resize on pictures.
        by = STILL_FILTERS[known("interpolation", interpolation, tuple(STILL_FILTERS))]
        pictures = [Image.fromarray(frame) for frame in pixels]
        frames = np.stack([np.asarray(p.resize((width, height), by)) for p in pictures])
    else:
        short = size if num_views > 1 else size * 256 // 224
        height, width = scaled_sides(*sides, short)
        frames = resize_video(pixels, height, width)
    return np.stack(
        [
            frames[:, top : top + size, left : left + size]
            for top, left in _corners(height, width, size, num_views)
        ]
    )


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return `(x / 255 - mean) / std` in float32, channels first: `[..., T, H, W, 3]` to
    `[..., 3, T, H, W]`.

    Values are grey levels 0 to 255, usually uint8. Runs on the device of the pixels.
    """
    planes = pixels.movedim(-1, -4).contiguous()
    scaled = planes.to(torch.float32, copy=True).div_(255)
    both = torch.tensor([[*mean], [*std]], dtype=torch.float32, device=pixels.device)
    centre, spread = both.view(2, 3, 1, 1, 1)
    return scaled.sub_(centre).div_(spread)


def scaled_sides(height: int, width: int, short: int) -> tuple[int, int]:
    """Return height and width for a short side of `short`; the long side is rounded down."""
    if height <= width:
        return short, short * width // height
    return short * height // width, short


def _corners(height: int, width: int, size: int, num_views: int) -> list[tuple[int, int]]:
    if num_views == 1:
        # Python rounds halves to even, as do the released code and torchvision's CenterCrop.
        return [(round((height - size) / 2), round((width - size) / 2))]
    step = (max(height, width) - size) // (num_views - 1)
    starts = [view * step for view in range(num_views)]
    return [(0, start) if width >= height else (start, 0) for start in starts]


def resize_video(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize bilinearly, half-pixel centres, no antialiasing; within one grey level of OpenCV."""
    # The permuted view is "channels last", for which torch has a kernel several times faster.
    frames = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(0, 3, 1, 2)
    resized = functional.interpolate(
        frames, size=(height, width), mode="bilinear", align_corners=False
    )
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())
