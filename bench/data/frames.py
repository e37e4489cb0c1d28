"""A video as a folder of pictures, one a frame, in the order of the numbers that end their names.

    00001.jpg ...                                  Jester
    img_00001.jpg, flow_x_00001.jpg, ...           mmaction2: flow is no picture of the video
    <video>_000001.jpg ...                         SlowFast

Numbers run on from any first one: a gap is a lost frame, which a plan must not step over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bench.data.annotations import EXTENSIONS, extension
from bench.data.images import read_image
from bench.data.media import FrameFolder, missing, unreadable
from bench.errors import MissingMedia

RGB_PREFIX = "img_"
_LAST_NUMBER = re.compile(r"([0-9]+)\.[^.]+\Z")


def pictures(folder: FrameFolder) -> Sequence[str]:
    """Return the names of the pictures that are frames, in the order of their numbers.

    Raises:
        MissingMedia: there is no such folder.
        UnreadableMedia: it holds no picture, one without bytes or without a number, or numbers
            with gaps or repeats.
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
        raise unreadable(folder, "there are no pictures in it")
    empty = [entry.name for entry in entries if not _num_bytes(folder, entry)]
    if empty:
        raise unreadable(folder, f"the picture {min(empty)} is empty")
    numbered = sorted((_number(folder, entry.name), entry.name) for entry in entries)
    _refuse_gaps(folder, numbered)
    return [name for _, name in numbered]


def read_pictures(folder: FrameFolder, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return the pictures of a folder as RGB, uint8 `[len(names), H, W, 3]`.

    Raises:
        UnreadableMedia: one of them cannot be decoded, or they are not all of one size.
    """
    made: npt.NDArray[np.uint8] | None = None
    for place, name in enumerate(names):
        try:
            picture = read_image(folder.path / name)[0]
        except MissingMedia as error:
            raise unreadable(folder, f"the picture {name} is not there") from error
        if made is None:
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


def frame_entries(folder: str) -> list[os.DirEntry[str]]:
    """Return the pictures of a folder that count as frames, in no order; hidden ones do not.

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
