"""One scan of a folder: its media, in any form, and the files that may be annotations.

Media are files, folders of frames (two or more pictures, no video, no folder below), members of
uncompressed tar archives and cells of parquet files. Hidden files are ignored, links are followed.
No medium is opened, unless its name has no extension; of an archive only the index is read. Names
are in Unicode's composed form, those of the media as on disk. What is not read is counted.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from bench.data.discover.not_read import CIRCLE, OTHER_KIND, NotRead, first_bytes_of, judged
from bench.data.discover.unicode_names import composed
from bench.data.media.archives import ArchivePart, read_parquet, read_tar
from bench.data.media.media import CELL, FILE, FRAMES, MEMBER, MediaColumn
from bench.errors import DataError
from bench.types import IntArray, Kind, Progress, Silent

log = logging.getLogger(__name__)

COMPRESSED = (
    *(".tgz", ".tbz2", ".txz", ".zip", ".rar", ".7z"),
    *(f".tar.{tail}" for tail in ("gz", "bz2", "xz", "zst")),
)
PICTURES_OF_A_VIDEO = 2
_TAILS = {"tars": (".tar",), "parquets": (".parquet",), "compressed": COMPRESSED}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """The contents of `root`, by names relative to it with `/` between the parts.

    `others` are sorted names of files that are neither media nor archives. `media` are all media
    of the kind: files and folders of frames sorted by name, then the parts of each archive in
    their order there. Per row of `media`, `names` is what lists may call it: a part of an archive
    has the archive's name without extension as its folder (a cell without a path is named by its
    number), and `labels` is the archive's label for it: a class name or an index, or None.
    `class_names` are the names of the indices, for archives that have them. `compressed` are
    archives that cannot be read in place, including archives of archives. `left_out` counts files
    that are neither media nor annotations.
    """

    root: Path
    kind: Kind
    others: Sequence[str]
    media: MediaColumn
    names: Sequence[str]
    labels: Sequence[str | None]
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    compressed: Sequence[str] = ()
    left_out: NotRead = field(default_factory=NotRead)

    @cached_property
    def folders(self) -> Mapping[str, int]:
        """The number of media directly in each folder that has some."""
        return Counter(name.rpartition("/")[0] for name in self.names)

    def find(self, *patterns: str) -> list[Path]:
        """Return the other files whose name ends in a match of a pattern, the best pattern first.

        Patterns are those of `fnmatch`, part by part (`annotations/*.csv`), case-insensitive.
        Within one pattern the file nearest to the root comes first.
        """
        found: dict[str, None] = {}
        for pattern in patterns:
            parts = pattern.casefold().split("/")
            fits = [name for name in self.others if _ends_in(name.casefold().split("/"), parts)]
            found.update(dict.fromkeys(sorted(fits, key=lambda name: (name.count("/"), name))))
        return [self.root / name for name in found]

    def beside(self, path: Path, name: str) -> Path | None:
        """Return the file of that name in the folder of `path`, else the first below the root."""
        near = path.parent / name
        if near.is_file():
            return near
        return next(iter(self.find(name)), None)

    def below(self, *folders: Path) -> Tree:
        """Return the tree with only the media below `folders` (within the root).

        Raises:
            DataError: folders without media.
        """
        inside = [Path(os.path.normpath(f)).relative_to(self.root) for f in folders]
        names = [composed(folder.as_posix()) for folder in inside]
        starts = tuple(f"{name}/".removeprefix("./") for name in names)
        rows = [row for row, name in enumerate(self.names) if f"{name}/".startswith(starts)]
        if not rows:
            raise DataError(f"{folders[0]} has no {self.kind}s; pass a folder that has some.")
        return self.take(np.array(rows, dtype=np.int64))

    def take(self, rows: IntArray) -> Tree:
        """Return the tree with only these media, in the given order."""
        return replace(
            self,
            media=self.media.take(rows),
            names=[self.names[row] for row in rows],
            labels=[self.labels[row] for row in rows],
        )


def scan(root: Path, kind: Kind, progress: Progress | None = None) -> Tree:
    """Scan `root` for media of a kind; `progress` counts the archives that are indexed.

    Raises:
        DataError: no such folder, a name that is not UTF-8, names that differ only in their Unicode
            form, an archive that cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; check the path of the data.")
    found: dict[str, list[str]] = {what: [] for what in (*_TAILS, "media", "frames", "others")}
    left_out = NotRead()
    for below, folders, files in walk(root, left_out):
        prefix = f"{below}/" if below else ""
        archives = {name: what for name in files if (what := _other(name)) != "others"}
        for name, what in archives.items():
            found[what].append(prefix + name)
        here = media_among([name for name in files if name not in archives], root, below, left_out)
        pictures = [name for name, medium in here.items() if medium == "image" and "." in name]
        are_frames = len(pictures) >= PICTURES_OF_A_VIDEO and not folders
        if kind == "video" and are_frames and "video" not in here.values():
            found["frames"].append(below or ".")
            here = {name: medium for name, medium in here.items() if name not in pictures}
        for name, medium in here.items():
            if medium in (None, kind):
                found["media" if medium else "others"].append(prefix + name)
            else:
                left_out.add(OTHER_KIND[kind], prefix + name)
    plain, frames = sorted([*found["media"], *found["frames"]]), set(found["frames"])
    parts, class_names = _index(root, kind, found, left_out, progress or Silent())
    inside = [(posixpath.splitext(archive)[0], part) for archive, part in parts]
    return Tree(
        root=root,
        kind=kind,
        others=sorted(found["others"]),
        media=_column(root, plain, frames, parts),
        names=[
            *map(composed, plain),
            *(composed(f"{archive}/{name}") for archive, part in inside for name in part.paths),
        ],
        labels=[
            *[None] * len(plain),
            *(label and composed(label) for _, part in parts for label in part.labels),
        ],
        class_names=class_names,
        compressed=sorted(found["compressed"]),
        left_out=left_out,
    )


# ---------------------------------------------------------------------------------------- folders
def walk(root: Path, left_out: NotRead) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder's path below `root`, and the folders and files in it, from the root down.

    Hidden ones are ignored, symlinks are followed; one that leads to a folder above it is left out,
    one that leads nowhere is a file.

    Raises:
        DataError: a folder that cannot be read, a name that is not UTF-8, two names in a folder
            that differ only in their Unicode form.
    """
    yield from _walk(root, "", os.path.realpath(root), (), left_out)


def media_below(root: Path) -> list[str]:
    """Return the sorted names of all videos and images below a folder; what is not read is logged.

    Raises:
        DataError: as `walk`.
    """
    left_out, names = NotRead(), []
    for below, _, files in walk(root, left_out):
        kinds = media_among(files, root, below, left_out)
        names += [f"{below}/{name}" if below else name for name in files if kinds[name]]
    for sentence in left_out.notes():
        log.warning("%s: %s", root, sentence)
    return sorted(names)


def media_among(
    files: Sequence[str], root: Path, below: str, left_out: NotRead
) -> dict[str, Kind | None]:
    """Return the kind of every file of a folder, None if it is not one; count what is lost."""
    found = {}
    for name in files:
        place = f"{below}/{name}" if below else name
        found[name], reason = judged(name, partial(first_bytes_of, f"{root}/{place}"))
        left_out.add(reason, place)
    return found


def _walk(
    root: Path, below: str, place: str, above: tuple[str, ...], left_out: NotRead
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Do the same below a folder; `place` is its real path, `above` those of its parents."""
    if any(f"{one}/".startswith(f"{place.rstrip('/')}/") for one in above):
        left_out.add(CIRCLE, below)
        return
    folders: dict[str, str] = {}
    files = []
    try:
        with os.scandir(root / below) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    files.append(entry.name)
                    continue
                real = f"{place}/{entry.name}"
                folders[entry.name] = os.path.realpath(real) if entry.is_symlink() else real
    except OSError as error:
        where = error.filename or root / below
        raise DataError(f"cannot read {where}: {error.strerror}; check or remove it.") from error
    _refuse_names(root / below, [*folders, *files])
    yield below, list(folders), files
    for name, real in folders.items():
        inner = f"{below}/{name}" if below else name
        yield from _walk(root, inner, real, (*above, place), left_out)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle; if it has the name of a medium, decoding will name it
        return False


def _refuse_names(folder: Path, names: Collection[str]) -> None:
    """Refuse names that are not UTF-8, and those that are one name in Unicode's composed form."""
    known: dict[str, str] = {}
    for name in names:
        if name.isascii():
            continue
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{folder}: the name {name!r} is not UTF-8; rename it.") from error
        twin = known.setdefault(composed(name), name)
        if twin != name:
            raise DataError(
                f"{folder} has {min(twin, name)!a} and {max(twin, name)!a}, which are one name,"
                f" {composed(name)!r}, in two Unicode forms (NFC and NFD); rename one of them, or"
                " merge them if they are the same."
            )


def _other(name: str) -> str:
    return next((w for w, tails in _TAILS.items() if name.lower().endswith(tails)), "others")


# --------------------------------------------------------------------------------------- archives
def _index(
    root: Path,
    kind: Kind,
    found: Mapping[str, list[str]],
    left_out: NotRead,
    progress: Progress,
) -> tuple[list[tuple[str, ArchivePart]], dict[str, Sequence[str]]]:
    """Read the index of every archive; a parquet file without media counts as an other file."""
    parts, class_names = [], {}
    archives = sorted([*found["tars"], *found["parquets"]])
    if archives:
        progress.start(f"index of archives in {root.name}", len(archives))
    try:
        for archive in archives:
            reads = read_tar if archive.lower().endswith(".tar") else read_parquet
            part = reads(root / archive, kind)
            for name, reason in () if part is None else part.left_out:
                left_out.add(reason, f"{archive}/{name}")
            if part is None:
                found["others"].append(archive)
            elif part.paths:
                parts.append((archive, part))
                if part.class_names is not None:
                    class_names[archive] = part.class_names
            elif part.holds_archives:
                found["compressed"].append(archive)
            progress.advance()
    finally:
        progress.stop()
    return parts, class_names


def _column(
    root: Path, plain: Sequence[str], frames: set[str], parts: Sequence[tuple[str, ArchivePart]]
) -> MediaColumn:
    if not frames and not parts:
        return MediaColumn.of_files(root, plain)
    forms = [FRAMES if name in frames else FILE for name in plain]
    sizes = [len(part.paths) for _, part in parts]
    count = len(plain)
    ends = [MEMBER if archive.lower().endswith(".tar") else CELL for archive, _ in parts]
    return MediaColumn(
        root=root,
        names=[*plain, *(name for _, part in parts for name in part.names)],
        form=np.concatenate([np.array(forms, np.int8), np.repeat(np.array(ends, np.int8), sizes)]),
        archives=[archive for archive, _ in parts],
        archive=np.concatenate(
            [np.full(count, -1, np.int32), np.repeat(np.arange(len(parts), dtype=np.int32), sizes)]
        ),
        offset=np.concatenate([np.zeros(count, np.int64), *(part.offset for _, part in parts)]),
        size=np.concatenate([np.zeros(count, np.int64), *(part.size for _, part in parts)]),
    )


def _ends_in(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    return len(parts) >= len(pattern) and all(
        fnmatch.fnmatchcase(part, wanted)
        for part, wanted in zip(parts[-len(pattern) :], pattern, strict=True)
    )
