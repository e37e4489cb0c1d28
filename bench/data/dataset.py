"""What a published data set is, apart from where its files lie: classes, splits, sizes, lists."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.label_map import LabelMap
from bench.types import IntArray, Kind

if TYPE_CHECKING:
    from bench.data.tree import Tree


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
    """Return the file name without folder and extension."""
    base = posixpath.basename(name.rstrip("/"))
    return posixpath.splitext(base)[0] or base


def default_keys(name: str) -> Sequence[str]:
    """Return under which names the media of a listed name may lie: its path, then its file name.

    Both without extension, since users convert files.
    """
    path = posixpath.splitext(name.strip("/"))[0]
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
    files fit (replacements of broken ones).
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
