"""What the last few files said of themselves: a film is not probed again for every key frame.

An answer holds while size, times and inode of the file or folder stay as they are. A change of a
picture inside a folder goes unseen until it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from bench.data.decode import container
from bench.data.media import frame_names
from bench.data.media.content_digest import State, facts
from bench.data.media.media import FrameFolder, Source
from bench.errors import MissingMedia, UnreadableMedia

T = TypeVar("T")
KEPT = 4  # files; their tables of frames are some hundred kilobytes each


def inspected(source: Source) -> container.Container:
    """Return what a video says of itself; raises as `container.inspect`."""
    state = _state(source) if isinstance(source, Path) else None
    if not isinstance(source, Path) or state is None:
        return container.inspect(source)
    return _raised(_container(source, state))


def listed_pictures(folder: FrameFolder) -> Sequence[str]:
    """Return the names of the frames of a folder; raises as `frames.pictures`."""
    state = _state(folder.path)
    return frame_names.pictures(folder) if state is None else _raised(_pictures(folder, state))


@lru_cache(maxsize=KEPT)
def _container(path: Path, state: State) -> container.Container | UnreadableMedia:
    return _outcome(lambda: container.inspect(path))


@lru_cache(maxsize=KEPT)
def _pictures(folder: FrameFolder, state: State) -> Sequence[str] | UnreadableMedia:
    return _outcome(lambda: frame_names.pictures(folder))


def _state(path: Path) -> State | None:
    try:
        return facts(path.stat())
    except OSError:  # who reads it will say what is wrong
        return None


def _outcome(look: Callable[[], T]) -> T | UnreadableMedia:
    """Return the answer or the error: that a film is damaged is found out once, too."""
    try:
        return look()
    except MissingMedia:
        raise
    except UnreadableMedia as error:
        return UnreadableMedia(str(error))


def _raised(outcome: T | UnreadableMedia) -> T:
    if isinstance(outcome, UnreadableMedia):
        # Afresh, for an error that is raised again keeps the memory of where it was.
        raise UnreadableMedia(str(outcome))
    return outcome
