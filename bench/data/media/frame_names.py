"""The pictures of a folder that are frames of a video, ordered by their numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise

from bench.data.discover.annotations import EXTENSIONS, extension
from bench.data.media.media import FrameFolder, missing, unreadable

RGB_PREFIX = "img_"
_LAST_NUMBER = re.compile(r"([0-9]+)\.[^.]+\Z")


def pictures(folder: FrameFolder) -> Sequence[str]:
    """Return the names of the pictures that are frames, ordered by their numbers.

    Raises:
        MissingMedia: there is no such folder.
        UnreadableMedia: it has no pictures, an empty one, one without a number, or numbers with
            gaps or repeats.
    """
    try:
        entries = frame_entries(os.fspath(folder.path))
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.path.exists():
            raise unreadable(folder, "it is a file, not a folder of pictures") from error
        raise missing(folder) from error
    except OSError as error:
        raise unreadable(folder, error.strerror or str(error)) from error
    if not entries:
        raise unreadable(folder, "it has no pictures")
    empty = [entry.name for entry in entries if not _num_bytes(folder, entry)]
    if empty:
        raise unreadable(folder, f"the picture {min(empty)} is empty")
    numbered = sorted((_number(folder, entry.name), entry.name) for entry in entries)
    _refuse_gaps(folder, numbered)
    return [name for _, name in numbered]


def frame_entries(folder: str) -> list[os.DirEntry[str]]:
    """Return the pictures of a folder that count as frames, unordered and without hidden ones.

    Raises:
        OSError: there is no such folder, or it cannot be read.
    """
    with os.scandir(folder) as entries:
        found = [
            entry
            for entry in entries
            if EXTENSIONS.get(extension(entry.name)) == "image" and entry.name[0] != "."
        ]
    colour = [entry for entry in found if entry.name.startswith(RGB_PREFIX)]
    return colour or found


def _num_bytes(folder: FrameFolder, entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError as error:
        raise unreadable(folder, f"the picture {entry.name}: {error.strerror}") from error


def _number(folder: FrameFolder, name: str) -> int:
    match = _LAST_NUMBER.search(name)
    if match is None:
        raise unreadable(folder, f"the name of the picture {name} does not end in a number")
    return int(match[1])


def _refuse_gaps(folder: FrameFolder, numbered: Sequence[tuple[int, str]]) -> None:
    for (number, name), (later, other) in pairwise(numbered):
        if number == later:
            raise unreadable(folder, f"the pictures {name} and {other} have the same number")
    first, last = numbered[0][0], numbered[-1][0]
    if last - first + 1 != len(numbered):
        raise unreadable(
            folder,
            f"the numbers run from {first} to {last}, but there are {len(numbered)} pictures",
        )
