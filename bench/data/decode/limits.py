"""What one file may take, refused before the memory is taken.

The pixels of a picture have the limit at which Pillow suspects a bomb, for films too. The pixels
that are held at once while a file is decoded have one of their own, half of what a child may take.
"""

from __future__ import annotations

from bench.data.media.media import Media, Source, unreadable

LARGEST_PICTURE = 178_956_970  # pixels
MOST_BYTES = 4 << 30  # of RGB pixels held at once


def refuse_too_large(
    media: Media | Source, height: int, width: int, *, num_frames: int = 1
) -> None:
    """Refuse pictures of a size, or too many of them at once.

    Raises:
        UnreadableMedia: the text names the size, the limit and what to do.
    """
    if height * width > LARGEST_PICTURE:
        reason = f"it has {width:,} x {height:,} pixels, and at most {LARGEST_PICTURE:,} are read"
        raise unreadable(media, reason, "scale it down")
    if not fits(height, width, num_frames):
        reason = (
            f"{num_frames:,} frames of {width:,} x {height:,} pixels are needed at once, and at"
            f" most {MOST_BYTES / 2**30:g} GiB are held"
        )
        raise unreadable(media, reason, "scale it down, or take fewer frames")


def fits(height: int, width: int, num_frames: int) -> bool:
    """Whether so many RGB frames may be held at once."""
    return height * width * num_frames * 3 <= MOST_BYTES
