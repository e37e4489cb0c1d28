"""The media of AVA's videos below a folder, in the layouts that users have.

    videos/<id>.mp4  videos_15min/<id>.mkv  trainval/<id>.webm     a file, at any depth
    frames/<id>/<id>_000001.jpg  rawframes/<id>/img_00001.jpg      a folder of frames

A folder of frames has 27,000 images, so it is recognised by its first ones.
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

MIN_SERIES = 32  # a folder that starts with so many images of one numbered series has frames
DEPTH_OF_LISTS = 4
SHOWN = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class AvaTree:
    """The files below `root`, as relative names.

    `lists` are non-media files at most four folders deep; `videos` and `frames` map names without
    extension to video files and folders of frames at any depth.
    """

    root: Path
    lists: Sequence[str]
    videos: Mapping[str, Sequence[str]]
    frames: Mapping[str, Sequence[str]]

    def media_of(self, names: Sequence[str], *, option: str = "task.media") -> Sequence[Media]:
        """Return the medium of every video; of a missing one, a path that does not exist.

        Files take precedence over folders of frames.

        Raises:
            DataError: several files of a video (or folders of frames, without a file); no medium of
                any video.
        """
        found = [self._find(name, option) for name in names]
        if names and not any(found):
            raise DataError(
                f"{self.root} has no medium of the {len(names):,} videos listed, such as"
                f" {names[0]}.mp4 (or mkv, webm, avi) or a folder {names[0]} of frames; pass"
                f" another folder with --set {option}=DIR"
            )
        return [
            medium or self.root / f"{name}.mp4" for name, medium in zip(names, found, strict=True)
        ]

    def _find(self, name: str, option: str) -> Media | None:
        for by_name, is_file in ((self.videos, True), (self.frames, False)):
            paths = [self.root / place for place in by_name.get(name, ())]
            if len(paths) > 1:  # symlinks to the same file count once
                paths = list({path.resolve(): path for path in reversed(paths)}.values())[::-1]
            if len(paths) > 1:
                shown = ", ".join(str(path.relative_to(self.root)) for path in paths[:SHOWN])
                raise DataError(
                    f"{self.root} has the video {name} {len(paths)} times: {shown}; choose a"
                    f" folder with --set {option}=DIR"
                )
            if paths:
                return paths[0] if is_file else FrameFolder(paths[0])
        return None


def count_media(media: Sequence[Media]) -> dict[str, int]:
    """Count videos by kind of medium; missing ones count as files."""
    forms = Counter("folders of frames" if isinstance(m, FrameFolder) else "files" for m in media)
    return dict(sorted(forms.items()))


def scan_ava(root: Path) -> AvaTree:
    """Find lists and media below a folder; hidden ones are ignored, symlinks are followed.

    Raises:
        DataError: no such folder, or one that cannot be listed.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; check the path.")
    lists: list[str] = []
    videos: dict[str, list[str]] = {}
    frames: dict[str, list[str]] = {}

    def visit(below: str, depth: int, parents: tuple[str, ...]) -> None:
        """Record the files of a folder, then visit its subfolders."""
        here = os.path.realpath(root / below)
        if here in parents:
            return  # a symlink to one of its own parent folders
        prefix = f"{below}/" if below else ""
        folders: list[str] = []
        num_images = num_videos = 0
        series: set[str] = set()
        try:
            with os.scandir(root / below) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    kind = EXTENSIONS.get(extension(name))
                    if kind == "image":
                        num_images += 1
                        series.add(name.rpartition(".")[0].rstrip("0123456789"))
                        is_alone = len(series) == 1 and not (folders or num_videos)
                        if is_alone and num_images >= MIN_SERIES:
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
                f"cannot list {where}: {error.strerror}; check or remove it."
            ) from error
        if num_images and not (folders or num_videos):
            frames.setdefault(Path(below).name, []).append(below)
            return
        for name in folders:
            visit(prefix + name, depth + 1, (*parents, here))

    visit("", 0, ())
    return AvaTree(
        root=root,
        lists=sorted(lists, key=lambda name: (name.count("/"), name)),
        videos={name: sorted(places) for name, places in videos.items()},
        frames={name: sorted(places) for name, places in frames.items()},
    )
