"""A cache of the last few probes, so that a film is not probed again for every key frame.

A result is valid while size, times and inode of the file or folder are unchanged. A change of a
picture inside a folder goes unnoticed until it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from bench.data.decode import container
from bench.data.media import frame_names
from bench.data.media.content_digest import State, stat_state
from bench.data.media.media import FrameFolder, Source
from bench.errors import MissingMedia, UnreadableMedia

M = TypeVar("M", Path, FrameFolder)
T = TypeVar("T")
KEPT = 4  # files; their tables of frames are some hundred kilobytes each


def inspected(source: Source) -> container.Container:
    """Return the cached probe of a video; raises like `container.inspect`."""
    if isinstance(source, Path):
        return _recently(container.inspect, source, source)
    return container.inspect(source)


def listed_pictures(folder: FrameFolder) -> Sequence[str]:
    """Return the names of the frames of a folder; raises like `frame_names.pictures`."""
    return _recently(frame_names.pictures, folder, folder.path)


def _recently(look: Callable[[M], T], media: M, path: Path) -> T:
    try:
        state = stat_state(path.stat())
    except OSError:  # reading it will report what is wrong
        return look(media)
    found: T | UnreadableMedia = _kept(look, media, state)
    if isinstance(found, UnreadableMedia):
        # A new one, because an error that is raised again keeps its old traceback alive.
        raise UnreadableMedia(str(found))
    return found


@lru_cache(maxsize=KEPT)
def _kept(look: Callable[[Any], Any], media: Path | FrameFolder, state: State) -> Any:
    """Return the result or the error: damage to a film is also detected only once."""
    try:
        return look(media)
    except MissingMedia:
        raise
    except UnreadableMedia as error:
        return UnreadableMedia(str(error))
