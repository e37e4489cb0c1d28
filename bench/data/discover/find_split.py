"""Splits of a published data set, in whatever layout the user has them.

Tried in this order: the list that the user names; the official annotation files; lists named after
the split; archives and class folders named after the split, which carry their own labels. Every
layout gives the same ids, order (sorted), labels and classes.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.data.discover.annotations import extension
from bench.data.discover.class_folders import from_archives, from_folders
from bench.data.discover.dataset import DataSet, Listed
from bench.data.discover.folder_scan import Tree, scan
from bench.data.discover.label_files import read_label_map
from bench.data.discover.label_map import LabelMap
from bench.data.discover.matching import match
from bench.data.discover.plain_lists import EXTENSIONS, PlainList, read_plain_rows
from bench.data.discover.search import Reading, Search, find_media
from bench.data.discover.split_words import split_folder, splits_named
from bench.data.discover.unicode_names import composed
from bench.data.manifest import Manifest
from bench.data.media.media import CELL, FILE, FRAMES, MEMBER, MediaColumn
from bench.errors import DataError
from bench.types import IntArray, Progress

FORMS: Mapping[int, str] = {
    FILE: "files",
    FRAMES: "folders of frames",
    MEMBER: "members of tar archives",
    CELL: "cells of parquet files",
}
SHOWN = 5


def read_split(
    dataset: DataSet,
    root: Path,
    split: str,
    *,
    listing: Path | None = None,
    classes: Path | LabelMap | None = None,
    media: Path | None = None,
    tree: Tree | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Return a split of a data set below `root`, rows sorted by id.

    `listing` is a list to read instead of those found, `classes` a label map instead of the
    shipped one, `media` the only folder to search for media (or a pattern below the root, such as
    `*_256`, for several), `tree` an existing scan of `root`. Listed samples without media stay
    rows; their medium is a path that does not exist. No medium is opened.

    Raises:
        DataError: nothing to read; a label outside the classes; lists, label maps or media that
            contradict each other.
    """
    if split not in dataset.words:
        splits = ", ".join(dataset.words)
        raise DataError(f"{dataset.title} has no split {split!r}; it has {splits}.")
    tree = scan(root, dataset.kind, progress) if tree is None else tree
    search = Search(
        dataset=dataset,
        split=split,
        tree=tree,
        media=_media_of(tree, media, progress),
        labels=read_label_map(classes) if isinstance(classes, Path) else classes or dataset.labels,
    )
    if listing is not None:
        reading = _from_listing(search, listing)
        if not reading.num_found:
            raise DataError(_without_media(search, reading))
        return _manifest(search, reading)
    for way in (_from_official, _from_lists, from_archives, from_folders):
        found = way(search)
        if found is not None:
            return _manifest(search, found)
    raise DataError(_nothing(search))


def _media_of(tree: Tree, media: Path | None, progress: Progress | None) -> Tree:
    """Return the media to search: all, those of a folder of the tree, or those elsewhere."""
    if media is None:
        return tree
    below_root = tree.root / media  # an absolute path stays what it is
    if "*" in media.name and not media.is_absolute() and not below_root.exists():
        several = sorted(path for path in tree.root.glob(str(media)) if path.is_dir())
        if not several:
            raise DataError(
                f"no folder in {tree.root} matches --set task.media={media}; check the pattern."
            )
        return tree.below(*several)
    folder = below_root if below_root.exists() else media
    if not folder.is_dir():
        raise DataError(
            f"there is no folder {media}, neither here nor in {tree.root}; check --set"
            f" task.media={media}"
        )
    if folder.resolve().is_relative_to(tree.root.resolve()) and folder.is_relative_to(tree.root):
        return tree.below(folder)
    return scan(folder, tree.kind, progress)


# ------------------------------------------------------------------------------------------ lists
def _from_listing(search: Search, listing: Path) -> Reading:
    path = listing if listing.exists() else search.tree.root / listing
    if not path.is_file():
        raise DataError(f"{search.title}: there is no list {listing}; check the path.")
    listed = search.dataset.read(path, search.split, search.tree, search.labels)
    if listed is None:
        listed = _listed(search, read_plain_rows(path, root=search.tree.root))
    return find_media(search, listed)


def _from_official(search: Search) -> Reading | None:
    """Return the first official annotation file whose samples have media."""
    dataset = search.dataset
    for path in search.tree.find(*dataset.patterns.get(search.split, ())):
        listed = dataset.read(path, search.split, search.tree, search.labels)
        if listed is None:
            continue
        search.understood.append(path)
        reading = find_media(search, listed)
        if reading.num_found:
            return reading
        search.notes.append(_without_media(search, reading).rstrip("."))
    return None


def _from_lists(search: Search) -> Reading | None:
    """Return the list named after the split that has the most media.

    Raises:
        DataError: two equally good lists that contradict each other; labels that are not
            understood, unless another list has more media.
    """
    readings: list[Reading] = []
    refused: list[tuple[int, DataError]] = []
    no_lists = {*search.tree.find(*search.dataset.no_lists), *search.understood}
    named = [search.tree.root / name for name in search.tree.others if _may_list(search, name)]
    for path in [path for path in named if path not in no_lists]:
        try:
            rows = read_plain_rows(path, root=search.tree.root)
        except DataError as error:
            search.notes.append(str(error).rstrip("."))
            continue
        try:
            readings.append(find_media(search, _listed(search, rows)))
        except DataError as error:
            refused.append((_count_media(search, rows.names), error))

    def worth(reading: Reading) -> tuple[int, int]:
        """Return the sort key of a list: most media first, then fewest samples without."""
        return -reading.num_found, len(reading.ids)

    usable = sorted(
        (reading for reading in readings if reading.num_found),
        key=lambda reading: (*worth(reading), len(reading.source.parts)),
    )
    most = usable[0].num_found if usable else 0
    for number, reason in refused:
        if number >= max(most, 1):
            raise reason
        search.notes.append(str(reason).rstrip("."))
    if not usable:
        search.notes.extend(_without_media(search, reading).rstrip(".") for reading in readings)
        return None
    best = usable[0]
    for other in usable[1:]:
        if worth(other) == worth(best) and other.samples != best.samples:
            raise DataError(
                f"{search.title}: {best.source} and {other.source} list different samples or"
                f" labels; name the one to read with --set task.{search.option}=FILE"
            )
    return best


def _count_media(search: Search, names: Sequence[str]) -> int:
    names = list({search.dataset.sample_id(name): name for name in names}.values())
    ids = [search.dataset.sample_id(name) for name in names]
    names = [composed(name) for name in names]
    found = match(search.dataset, search.split, search.media, names, ids)
    return int((found >= 0).sum())


def _may_list(search: Search, name: str) -> bool:
    folder, base = posixpath.split(name)
    stem, tail = posixpath.splitext(base)
    if tail.lower() not in EXTENSIONS:
        return False
    words = search.dataset.words
    if stem.casefold() == "metadata":
        return search.split in split_folder(folder, words)[0]
    return search.split in splits_named(stem, words)


def _listed(search: Search, rows: PlainList) -> Listed:
    is_shipped = search.labels is not None and search.labels is search.dataset.labels
    return rows.listed(search.labels, is_shipped=is_shipped)


# --------------------------------------------------------------------------------------- manifest
def _manifest(search: Search, reading: Reading) -> Manifest:
    """Put the rows in order of their ids, so that every layout gives the same manifest."""
    order = np.array(sorted(range(len(reading.ids)), key=reading.ids.__getitem__), dtype=np.int64)
    media, forms = _column(search, reading, order)
    words = search.dataset.words
    # Archives named after the split from which no medium was read.
    lost = [n for n in search.media.compressed if search.split in split_folder(n, words)[0]]
    unread = f"; {len(lost):,} compressed or nested archives were not read" if lost else ""
    sizes = search.dataset.sizes.get(search.split, {})
    return Manifest(
        name=search.dataset.name,
        split=search.split,
        kind=search.dataset.kind,
        ids=[reading.ids[row] for row in order],
        media=media,
        labels=reading.labels[order],
        classes=reading.classes,
        expected=next(iter(sizes.values()), None),
        copies=dict(sizes),
        excluded=reading.excluded,
        source=str(reading.source),
        layout=f"{reading.layout}; {' and '.join(forms)}{unread}",
        notes=search.media.left_out.notes(
            lambda folder: search.split in (split_folder(folder, words)[0] or {search.split})
        ),
    )


def _column(search: Search, reading: Reading, order: IntArray) -> tuple[MediaColumn, list[str]]:
    """Return the media in order; a sample without medium gets the path that was searched for."""
    rows = reading.media[order]
    column = search.media.media
    there = rows >= 0
    found = column.take(np.where(there, rows, 0))
    forms = [FORMS[form] for form in sorted(set(found.form[there].tolist()))]
    if there.all():
        return found, forms
    names = [
        name if present else reading.names[row]
        for name, present, row in zip(found.names, there, order, strict=True)
    ]
    return (
        replace(
            found,
            names=names,
            form=np.where(there, found.form, FILE).astype(np.int8),
            archive=np.where(there, found.archive, -1).astype(np.int32),
            offset=np.where(there, found.offset, 0),
            size=np.where(there, found.size, 0),
        ),
        forms,
    )


# ---------------------------------------------------------------------------------------- nothing
def _without_media(search: Search, reading: Reading) -> str:
    return (
        f"{search.title}: {reading.source} lists {len(reading.ids):,} samples, such as"
        f" {reading.names[0]!r}, but none of their {search.dataset.kind}s is below"
        f" {search.media.root}{_compressed(search)}; if they are elsewhere, add --set"
        " task.media=FOLDER."
    )


def _nothing(search: Search) -> str:
    """Describe what was searched for and what was found."""
    dataset, tree = search.dataset, search.media
    words = " or ".join(dataset.words[search.split])
    official = ", ".join(dataset.patterns.get(search.split, ())) or "none"
    tails = Counter(extension(name) or "(no extension)" for name in search.tree.others)
    others = ", ".join(f"{number:,} .{tail}" for tail, number in tails.most_common(SHOWN))
    tops = ", ".join(sorted({folder.split("/")[0] for folder in tree.folders if folder})[:SHOWN])
    seen = f"{len(tree.names):,} {tree.kind}s{f' in {tops}' if tops else ''}"
    notes = "".join(f" {note}." for note in [*dict.fromkeys(search.notes)][:SHOWN])
    above = splits_named(tree.root.name, dataset.words) and not notes
    hint = f" (perhaps {tree.root.parent}, the folder above)" if above else ""
    return (
        f"{search.title}: found neither lists nor labelled media below {search.tree.root}. Looked"
        f" for the official files ({official}), lists with {words} in their name, and archives"
        f" with labels or class folders in a folder with {words} in its name; there are {seen} and"
        f" {others or 'no other files'}{_compressed(search)}.{notes} Check the data folder{hint},"
        f" or name a list with --set task.{search.option}=FILE"
    )


def _compressed(search: Search) -> str:
    found = [*dict.fromkeys([*search.tree.compressed, *search.media.compressed])]
    if not found:
        return ""
    return (
        f" ({len(found):,} compressed or nested archives, such as {found[0]}, cannot be read in"
        " place; unpack them)"
    )
