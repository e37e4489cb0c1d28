"""Still images as pixels."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.decode.limits import LARGEST_PICTURE, refuse_too_large
from bench.data.media.media import InMemory, Media, missing, opened, unreadable

# Part of every feature key of pictures: increment it when what is read changes. 2: TIFFs with more
# than 8 bits.
PICTURE_RULE = "2"
BITS_PER_SAMPLE = 258  # a TIFF tag
SAVE = "save it with 8 bits, or with values from 0 to 1"


def picture_versions() -> dict[str, str]:
    """Return what decides how pictures are read: the rule and the library."""
    import PIL  # only its version is asked for

    return {"rule": PICTURE_RULE, "pillow": PIL.__version__}


def read_image(media: Media) -> npt.NDArray[np.uint8]:
    """Return the image as 8-bit RGB, uint8 `[1, H, W, 3]`.

    Grey levels of more bits keep the upper 8 of the bits that the file declares; whole numbers of
    32 bits are levels of 8 bits if none is above 255, else of 16; floats from 0 to 1 are scaled.
    Transparency is dropped; animations give their first frame. EXIF orientation is not applied,
    because the loaders behind published image numbers (torchvision's) do not apply it either.

    Raises:
        MissingMedia: there is no such file.
        UnreadableMedia: not an image, or damaged, too large, or with values of no such range.
    """
    from PIL import Image  # only image tasks need it

    source = opened(media)
    if isinstance(source, InMemory) and not source.size:
        raise unreadable(media, "the file is empty")
    try:
        with Image.open(source) as image:
            refuse_too_large(media, image.height, image.width)
            image.load()
            pixels = _rgb(media, image)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(media) from error
    except Image.DecompressionBombError as error:
        reason = f"it has more than the {LARGEST_PICTURE:,} pixels that are read"
        raise unreadable(media, reason, "scale it down") from error
    except (
        OSError,  # not an image, or truncated
        SyntaxError,  # Pillow raises it for a broken PNG
        ValueError,
        EOFError,
        struct.error,
    ) as error:
        # Pillow's message, without the name and address of what it read.
        reason = str(error).replace(str(source), "it").replace(repr(source), "it")
        raise unreadable(media, reason.rstrip(".") or type(error).__name__) from error
    return pixels[None]


def _rgb(media: Media, image: Any) -> npt.NDArray[np.uint8]:
    """Return uint8 `[H, W, 3]`; Pillow clips more than 8 bits at 255 rather than scale them."""
    levels: npt.NDArray[Any]
    if image.mode == "F":
        levels = _unit_floats(media, np.asarray(image))
    elif image.mode.startswith("I"):
        levels = _grey(media, image)
    else:
        return np.asarray(image.convert("RGB"))
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1)


def _grey(media: Media, image: Any) -> npt.NDArray[np.int64]:
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    bits = 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]
        if image.mode == "I":  # whole numbers, as programs save arrays
            bits = 8 if high < 256 else 16
    if low < 0 or high >> bits:
        reason = f"its whole numbers reach from {low:,} to {high:,}, and 0 to 65,535 are read"
        raise unreadable(media, reason, SAVE)
    return values >> (bits - 8)


def _unit_floats(media: Media, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:  # nor if one is not a number
        reason = f"its floats reach from {low:g} to {high:g}, and 0 to 1 are read"
        raise unreadable(media, reason, SAVE)
    return np.rint(values * 255)
