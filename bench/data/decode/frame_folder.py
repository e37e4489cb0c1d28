"""A video as a folder of pictures, one per frame, ordered by the numbers that end their names.

    00001.jpg ...                                  Jester
    img_00001.jpg, flow_x_00001.jpg, ...           mmaction2: flow is not a frame of the video
    <video>_000001.jpg ...                         SlowFast

Numbers may start anywhere but must be consecutive: a gap is a lost frame, which a plan must not
step over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.data.decode.images import read_image
from bench.data.decode.limits import refuse_too_large
from bench.data.media.media import FrameFolder, unreadable
from bench.errors import MissingMedia


def read_pictures(folder: FrameFolder, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return the pictures of a folder as RGB, uint8 `[len(names), H, W, 3]`.

    Raises:
        UnreadableMedia: one of them cannot be decoded, their sizes differ, or they are too large.
    """
    made: npt.NDArray[np.uint8] | None = None
    for place, name in enumerate(names):
        try:
            picture = read_image(folder.path / name)[0]
        except MissingMedia as error:
            raise unreadable(folder, f"the picture {name} is missing") from error
        if made is None:
            refuse_too_large(folder, *picture.shape[:2], num_frames=len(names))
            made = np.empty((len(names), *picture.shape), dtype=np.uint8)
        if picture.shape != made.shape[1:]:
            raise unreadable(
                folder,
                f"the picture {name} has {picture.shape[1]} x {picture.shape[0]} pixels, but"
                f" {names[0]} has {made.shape[2]} x {made.shape[1]}",
            )
        made[place] = picture
    assert made is not None
    return made
