"""Still images as pixels."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from bench.data.media.media import InMemory, Media, missing, opened, unreadable


def read_image(media: Media) -> npt.NDArray[np.uint8]:
    """Return the image as 8-bit RGB, uint8 `[1, H, W, 3]`.

    16-bit images keep the upper 8 bits; transparency is dropped; animations give their first frame.
    EXIF orientation is not applied, because the loaders behind published image numbers
    (torchvision's) do not apply it either.

    Raises:
        MissingMedia: there is no such file.
        UnreadableMedia: it is not a complete image.
    """
    from PIL import Image  # only image tasks need it

    source = opened(media)
    if isinstance(source, InMemory) and not source.size:
        raise unreadable(media, "the file is empty")
    try:
        with Image.open(source) as image:
            image.load()
            if image.mode.startswith("I"):  # 16 bits: Pillow would clip at 255 rather than scale
                levels = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
                pixels = np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1)
            else:
                pixels = np.asarray(image.convert("RGB"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(media) from error
    except (
        OSError,  # not an image, or truncated
        SyntaxError,  # Pillow raises it for a broken PNG
        ValueError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
    ) as error:
        # Pillow's message, without the name and address of what it read.
        reason = str(error).replace(str(source), "it").replace(repr(source), "it")
        raise unreadable(media, reason.rstrip(".") or type(error).__name__) from error
    return pixels[None]
