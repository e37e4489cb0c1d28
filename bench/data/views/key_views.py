"""From decoded pixels around key frames to the encoder's input, and the boxes in that view.

keyframe, keyframe_flip                 the whole frame: short side 8/7 of the encoder's, and both
                                        sides the nearest multiples of its patch
keyframe_centre, keyframe_centre_flip   the geometry of a score with one view: the centre square
                                        of a frame with that short side; boxes are clipped to it

In the `flip` views every key frame is mirrored with probability 1/2. Frames stay uint8.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.data.views.transforms import Pixels, resize_video, scaled_sides, score_views

WHOLE, WHOLE_FLIP = "keyframe", "keyframe_flip"
CENTRE, CENTRE_FLIP = "keyframe_centre", "keyframe_centre_flip"
KEY_VIEWS = (WHOLE, WHOLE_FLIP, CENTRE, CENTRE_FLIP)
FLIPS = (WHOLE_FLIP, CENTRE_FLIP)

FloatArray = npt.NDArray[np.float64]


def view_size(view: str, image_size: int, patch: int) -> int:
    """Return the short side of a view in pixels, for an encoder with that size and patch."""
    return _nearest(image_size * 256, 224, patch) if view in (WHOLE, WHOLE_FLIP) else image_size


def key_view(pixels: Pixels, view: str, *, size: int, patch: int) -> Pixels:
    """Return frames `[U, H, W, 3]` as the encoder sees them, uint8 `[1, U, h, w, 3]`.

    Resized like the score views of videos. `size` comes from `view_size`.
    """
    if view not in (WHOLE, WHOLE_FLIP):
        return score_views(pixels, size=size, num_views=1, kind="video")
    height, width = pixels.shape[1:3]
    short = min(height, width)
    return resize_video(
        pixels, _nearest(size * height, short, patch), _nearest(size * width, short, patch)
    )[None]


def view_boxes(
    corners: FloatArray, view: str, *, size: int, height: int, width: int
) -> tuple[FloatArray, int]:
    """Return boxes as fractions of the view, `[n, 4]`, and how many are outside its crop.

    `corners` are fractions of frames of `height` and `width` pixels. Those outside are clipped to
    the edge of the crop, where they have no area.
    """
    if view in (WHOLE, WHOLE_FLIP):
        return corners.copy(), 0
    tall, wide = scaled_sides(height, width, size * 256 // 224)
    # The corner of the crop, as `score_views` has it.
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    found = (corners * [wide, tall, wide, tall] - [left, top, left, top]) / size
    outside = (found[:, 2:] <= 0).any(axis=1) | (found[:, :2] >= 1).any(axis=1)
    return found.clip(0, 1), int(outside.sum())


def mirror_boxes(corners: FloatArray) -> FloatArray:
    """Return boxes `[n, 4]` of the mirrored view."""
    x1, y1, x2, y2 = corners.T
    return np.stack([1 - x2, y1, 1 - x1, y2], axis=1)


def is_mirrored(view: str, seed: int, draw: int, clip: int) -> bool:
    """Whether a draw mirrors key frame `clip`, independent of what else is drawn with it."""
    return view in FLIPS and bool(np.random.default_rng((seed, draw, clip)).random() < 0.5)


def _nearest(numerator: int, denominator: int, step: int) -> int:
    """Round a fraction to the nearest multiple of `step`, at least one; halves go up."""
    return max((2 * numerator + denominator * step) // (2 * denominator * step), 1) * step
