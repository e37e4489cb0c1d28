"""Match listed names to media, however users have moved, converted and copied the files.

A medium matches a key if its path without extension is the key or ends in `/` and the key. The keys
of a listed name are those of its data set, the best first, and last the id of the sample, which
matches a file with that id. A medium belongs to the name with its best matching key (within a rank
the longest); a key shared by several names matches none. In a tree with a folder for the split,
media in the folder of another split need a key that includes this folder.

If a name has several media, a folder with a word of `DataSet.prefer` wins, then the better key, a
folder named after the split, files over folders of frames over parts of archives, and the folder
nearest to the root.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from bench.data.discover.dataset import DataSet, without_extension
from bench.data.discover.folder_scan import Tree
from bench.data.discover.split_words import split_folder
from bench.data.media.media import CELL, FILE, FRAMES, MEMBER
from bench.errors import DataError
from bench.types import IntArray

UNMATCHED = -1
FORM_ORDER = {FILE: 0, FRAMES: 1, MEMBER: 2, CELL: 2}  # originals before what is made from them


def match(
    dataset: DataSet, split: str, tree: Tree, names: Sequence[str], ids: Sequence[str]
) -> IntArray:
    """Return the row of `tree.media` for every listed name, int64 `[names]`, -1 for none.

    `ids` are the unique ids of the samples. Time is linear in names and media.

    Raises:
        DataError: two media for one sample with no rule to choose between them.
    """
    owner, rank = _owners(dataset, split, tree, names, ids)
    media = np.flatnonzero(owner != UNMATCHED)
    media = media[np.argsort(owner[media], kind="stable")]
    owners = owner[media]
    chosen = np.full(len(names), UNMATCHED, dtype=np.int64)
    firsts = np.flatnonzero(np.diff(owners, prepend=UNMATCHED))
    chosen[owners[firsts]] = media[firsts]
    ends = np.append(firsts[1:], len(media))
    for first, end in zip(firsts[ends - firsts > 1], ends[ends - firsts > 1], strict=True):
        row = int(owners[first])
        rivals = [(int(rank[medium]), int(medium)) for medium in media[first:end]]
        chosen[row] = best_of(dataset, split, tree, ids[row], rivals)
    return chosen


def best_of(
    dataset: DataSet, split: str, tree: Tree, sample: str, rivals: Sequence[tuple[int, int]]
) -> int:
    """Return the medium to take for a sample; `rivals` are (rank of the key, row of the medium).

    Raises:
        DataError: two media with no rule to choose between them, and not one file under two names.
    """

    def order(rival: tuple[int, int]) -> tuple[object, ...]:
        rank, medium = rival
        name = tree.names[medium]
        folder = name.rpartition("/")[0]
        return (
            not is_preferred(dataset, folder),
            rank,
            split not in split_folder(folder, dataset.words)[0],
            FORM_ORDER[int(tree.media.form[medium])],
            name.count("/"),
        )

    ranked = sorted(rivals, key=lambda rival: (order(rival), rival[1]))
    first, second = ranked[0], ranked[1]
    if order(first) == order(second) and not _same_file(tree, first[1], second[1]):
        raise DataError(
            f"{dataset.title} {split}: two files match the sample {sample!r}:"
            f" {tree.media[first[1]]} and {tree.media[second[1]]}; choose the folder to use with"
            " --set task.media=FOLDER (a pattern such as '*_256' matches several), or move one of"
            " them away."
        )
    return first[1]


def is_preferred(dataset: DataSet, folder: str) -> bool:
    """Whether a folder holds replacements, which win over the files that they replace."""
    if not dataset.prefer:
        return False
    text = folder.casefold()
    return any(word.casefold() in text for word in dataset.prefer)


# ----------------------------------------------------------------------------------------- owners
def _owners(
    dataset: DataSet, split: str, tree: Tree, names: Sequence[str], ids: Sequence[str]
) -> tuple[IntArray, npt.NDArray[np.int8]]:
    """Return the row of each medium's name (-1: none) and the rank of the key that matched.

    Only one dictionary of keys exists at a time, to keep memory at that of the names.
    """
    owner = np.full(len(tree.names), UNMATCHED, dtype=np.int64)
    rank_of = np.zeros(len(tree.names), dtype=np.int8)
    least = _least_key(dataset, split, tree)
    rank = 0
    for rank, rows in enumerate(_keys(dataset, names)):
        lengths = sorted({key.count("/") for key in rows}, reverse=True)
        for medium in np.flatnonzero(owner == UNMATCHED).tolist() if rows else ():
            path = without_extension(tree.names[medium])
            for length, key in _ends(path, lengths):
                row = rows.get(key, UNMATCHED)
                if row != UNMATCHED and length >= least(path.rpartition("/")[0]):
                    owner[medium], rank_of[medium] = row, rank
                    break
    rows = {sample: row for row, sample in enumerate(ids)}
    for medium in np.flatnonzero(owner == UNMATCHED).tolist():
        name = tree.names[medium]
        row = rows.get(dataset.sample_id(name), UNMATCHED)
        if row != UNMATCHED and not least(name.rpartition("/")[0]):
            owner[medium], rank_of[medium] = row, rank + 1
    return owner, rank_of


def _keys(dataset: DataSet, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Yield rows by key, rank by rank; -1 for a key that several names share."""
    rank, longest = 0, 1
    while rank < longest:
        rows: dict[str, int] = {}
        for row, name in enumerate(names):
            keys = dataset.keys(name)
            longest = max(longest, len(keys))
            if rank < len(keys) and keys[rank] not in keys[:rank]:
                key = keys[rank]
                rows[key] = UNMATCHED if key in rows else row
        yield rows
        rank += 1


def _ends(path: str, lengths: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield the suffixes of a path with these numbers of slashes, as (number, suffix)."""
    if lengths == [0]:
        yield 0, path[path.rfind("/") + 1 :]
        return
    parts = path.split("/")
    for length in lengths:
        if length < len(parts):
            yield length, "/".join(parts[len(parts) - 1 - length :])


def _least_key(dataset: DataSet, split: str, tree: Tree) -> Callable[[str], int]:
    """Return a function giving the slashes that a key needs to match a medium of a folder."""

    @cache
    def place(folder: str) -> tuple[bool, bool, int]:
        splits, part = split_folder(folder, dataset.words)
        return split in splits, bool(splits) and split not in splits, part

    if not any(place(folder)[0] for folder in tree.folders):
        return lambda folder: 0

    def least(folder: str) -> int:
        _, foreign, part = place(folder)
        return len(folder.split("/")) - part if foreign else 0

    return least


def _same_file(tree: Tree, first: int, second: int) -> bool:
    """Whether two media are one file or folder under two names."""
    if {int(tree.media.form[row]) for row in (first, second)} & {MEMBER, CELL}:
        return False
    paths = {os.path.realpath(tree.root / tree.media.names[row]) for row in (first, second)}
    return len(paths) == 1
