"""The media of AVA's videos below a folder, in the layouts that users hold.

    videos/<id>.mp4  videos_15min/<id>.mkv  trainval/<id>.webm     a file, at any depth
    frames/<id>/<id>_000001.jpg  rawframes/<id>/img_00001.jpg      a folder of pictures

A folder of frames holds 27,000 pictures: none is looked through to the end.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.discover.annotations import EXTENSIONS, extension
from bench.data.media.media import FrameFolder, Media
from bench.errors import DataError

MANY_PICTURES = 32  # so many of one numbered series, and nothing else: a folder of frames
DEPTH_OF_LISTS = 4
SHOWN = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class AvaTree:
    """What lies below `root`, by names relative to it.

    `lists` are files that are no media, at most four folders down; `videos` the video files and
    `frames` the folders of pictures, at any depth, by what they are called without extension.
    """

    root: Path
    lists: Sequence[str]
    videos: Mapping[str, Sequence[str]]
    frames: Mapping[str, Sequence[str]]

    def media_of(self, names: Sequence[str], *, option: str = "task.media") -> Sequence[Media]:
        """Return the medium of every video named; one that is missing is a path without a file.

        A file goes before a folder of frames.

        Raises:
            DataError: several files (or several folders of frames, and no file) of one video; no
                medium of any video.
        """
        found = [self._find(name, option) for name in names]
        if names and not any(found):
            raise DataError(
                f"{self.root} holds no medium of the {len(names):,} videos listed, such as"
                f" {names[0]}.mp4 (or mkv, webm, avi) or a folder {names[0]} of pictures; name"
                f" another folder with --set {option}=DIR"
            )
        return [
            medium or self.root / f"{name}.mp4" for name, medium in zip(names, found, strict=True)
        ]

    def _find(self, name: str, option: str) -> Media | None:
        for by_name, is_file in ((self.videos, True), (self.frames, False)):
            paths = [self.root / place for place in by_name.get(name, ())]
            if len(paths) > 1:  # those that links lead to the same one are counted once
                paths = list({path.resolve(): path for path in reversed(paths)}.values())[::-1]
            if len(paths) > 1:
                shown = ", ".join(str(path.relative_to(self.root)) for path in paths[:SHOWN])
                raise DataError(
                    f"{self.root} holds the video {name} {len(paths)} times: {shown}; name the"
                    f" folder to read from with --set {option}=DIR"
                )
            if paths:
                return paths[0] if is_file else FrameFolder(paths[0])
        return None


def media_facts(media: Sequence[Media]) -> dict[str, int]:
    """Count videos by the form of their medium, those that are missing among the files."""
    forms = Counter("folders of frames" if isinstance(m, FrameFolder) else "files" for m in media)
    return dict(sorted(forms.items()))


def look_through(root: Path) -> AvaTree:
    """Find lists and media below a folder; hidden ones are ignored, links are followed.

    Raises:
        DataError: no such folder, or one that cannot be looked at.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; check the path.")
    lists: list[str] = []
    videos: dict[str, list[str]] = {}
    frames: dict[str, list[str]] = {}

    def look_into(below: str, depth: int, above: tuple[str, ...]) -> None:
        """Note what lies in a folder and go into those within; `above` are the ones around it."""
        here = os.path.realpath(root / below)
        if here in above:
            return  # a link to a folder that holds it: everything there was found already
        prefix = f"{below}/" if below else ""
        folders: list[str] = []
        num_pictures = num_videos = 0
        series: set[str] = set()
        try:
            with os.scandir(root / below) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    kind = EXTENSIONS.get(extension(name))
                    if kind == "image":
                        num_pictures += 1
                        series.add(name.rpartition(".")[0].rstrip("0123456789"))
                        is_alone = len(series) == 1 and not (folders or num_videos)
                        if is_alone and num_pictures >= MANY_PICTURES:
                            break
                    elif entry.is_dir():
                        folders.append(name)
                    elif kind == "video":
                        num_videos += 1
                        stem = name[: -len(extension(name)) - 1]
                        videos.setdefault(stem, []).append(prefix + name)
                    elif depth <= DEPTH_OF_LISTS:
                        lists.append(prefix + name)
        except OSError as error:
            where = error.filename or root / below
            raise DataError(
                f"cannot look at {where}: {error.strerror}; check or remove it."
            ) from error
        if num_pictures and not (folders or num_videos):
            frames.setdefault(Path(below).name, []).append(below)
            return
        for name in folders:
            look_into(prefix + name, depth + 1, (*above, here))

    look_into("", 0, ())
    return AvaTree(
        root=root,
        lists=sorted(lists, key=lambda name: (name.count("/"), name)),
        videos={name: sorted(places) for name, places in videos.items()},
        frames={name: sorted(places) for name, places in frames.items()},
    )
