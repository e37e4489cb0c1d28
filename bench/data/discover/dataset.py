"""What a published data set is, apart from where its files lie: classes, splits, sizes, lists."""

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
    """What annotation files say of a split, before its media were looked for.

    `names` are media names as listed, with or without folder and extension; `labels` int64
    `[rows]`. `excluded` names rows that a rule takes out (id -> rule), which are in neither.
    `layout` says in a few words which format it was, `classes` is the tree's own label map where
    the data set ships none.
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
    """Return under which names the media of a listed name may lie: its path, then its file name.

    Both without extension, since users convert files.
    """
    path = without_extension(name.strip("/"))
    return (path, posixpath.basename(path))


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """A published data set: how it is called, counted and listed.

    `labels` is the label map that ships with the project, None where the data bring it. `words`
    are what files and folders of a split are called, by split. `sizes` are the known numbers of
    rows of a split by the name of the copy, the published one first. `patterns` are the names of
    official annotation files by split, the best first (`fnmatch`, matched without case against the
    end of the relative path), and `read(path, split, tree, labels)` reads one of them, None if it
    is something else.
    `keys` gives the names under which media of a listed name may lie, best first; `sample_id` the
    id of a sample, the same in every layout; `prefer` are words in folders that win where two
    files fit (replacements of broken ones); `folders` are further names of the data set's folder;
    `told` gives the class that a file name tells by itself (`n02119789_777`), None without one;
    `no_lists` are patterns of files that are called after a split and list no labels. With
    `class_in_id`, file names repeat from class to class, so that ids are made of both.
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
    told: Callable[[str], str | None] | None = None
    no_lists: tuple[str, ...] = ()
    class_in_id: bool = False

    def identify(self, name: str, class_name: str) -> str:
        """Return the id of a sample whose class is known, be it in its path or not."""
        path = f"{class_name}/{posixpath.basename(name)}" if self.class_in_id else name
        return self.sample_id(path)
