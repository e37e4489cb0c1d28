"""A published data set, independent of where its files are: classes, splits, sizes, lists."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.discover.annotations import EXTENSIONS, extension
from bench.data.discover.label_map import LabelMap
from bench.types import IntArray, Kind

if TYPE_CHECKING:
    from bench.data.discover.folder_scan import Tree


@dataclass(frozen=True, kw_only=True, eq=False)
class Listed:
    """The annotations of a split, before its media are located.

    `names` are media names as listed, with or without folder and extension; `labels` int64
    `[rows]`. `excluded` are samples that a rule removes (id -> rule), which are in neither.
    `layout` describes the format in a few words; `classes` is the label map found with the data,
    if the data set ships none.
    """

    names: Sequence[str]
    labels: IntArray
    source: Path
    layout: str
    excluded: Mapping[str, str] = field(default_factory=dict)
    classes: Sequence[str] | None = None


Reader = Callable[[Path, str, "Tree", LabelMap | None], Listed | None]


def stem(name: str) -> str:
    """Return the file name without folder and without the extension of a medium."""
    return without_extension(posixpath.basename(name.rstrip("/")))


def without_extension(name: str) -> str:
    """Return a name without the extension of a medium; other dots belong to the name."""
    tail = extension(name)
    return name[: -len(tail) - 1] if tail in EXTENSIONS and len(tail) + 1 < len(name) else name


def default_keys(name: str) -> Sequence[str]:
    """Return a listed name's lookup keys: its path, then its file name.

    Both without extension, since users convert files.
    """
    path = without_extension(name.strip("/"))
    return (path, posixpath.basename(path))


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """A published data set: its names, sizes and annotation files.

    `labels` is the label map that ships with the project, None if the data bring their own. `words`
    are the names that files and folders of each split go by. `sizes` are the known row counts of a
    split by the name of the copy, the published one first. `patterns` are the names of official
    annotation files by split, the best first (`fnmatch`, case-insensitive, matched against the end
    of the relative path); `read(path, split, tree, labels)` reads one of them, or returns None if
    it is something else.
    `keys` gives the lookup keys of a listed name, best first; `sample_id` the id of a sample, the
    same in every layout; `prefer` are words in folder names that win if two files match
    (replacements of broken ones); `folders` are further names of the data set's folder;
    `class_of_file` gives the class that a file name contains (`n02119789_777`), or None;
    `no_lists` are patterns of files that are named after a split but list no labels. With
    `class_in_id`, file names repeat across classes, so ids contain the class too.
    """

    name: str
    title: str
    kind: Kind
    labels: LabelMap | None
    words: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Mapping[str, int]]
    patterns: Mapping[str, tuple[str, ...]]
    read: Reader
    keys: Callable[[str], Sequence[str]] = default_keys
    sample_id: Callable[[str], str] = stem
    prefer: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    class_of_file: Callable[[str], str | None] | None = None
    no_lists: tuple[str, ...] = ()
    class_in_id: bool = False

    def identify(self, name: str, class_name: str) -> str:
        """Return the id of a sample whose class is known, whether or not its path contains it."""
        path = f"{class_name}/{posixpath.basename(name)}" if self.class_in_id else name
        return self.sample_id(path)
