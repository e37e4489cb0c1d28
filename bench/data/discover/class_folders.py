"""Splits that carry their own labels: labelled archives, and class folders (in archives too).

train/abseiling/*.mp4       videos_train/air_drumming/*       rawframes_val/zumba/<video>/*.jpg
train-00000.tar             data/validation-00000-of-00014.parquet
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

import numpy as np

from bench.data.discover.annotations import LABEL_COLUMNS, is_integer
from bench.data.discover.label_map import LabelMap
from bench.data.discover.matching import is_preferred, match
from bench.data.discover.search import Reading, Search, label_index, nearest, one_medium_each
from bench.data.discover.split_words import split_folder
from bench.data.media.archives import LABEL_FILES
from bench.data.media.media import CELL
from bench.errors import DataError
from bench.types import IntArray

NO_LABEL = "no label in the archive (-1)"


# --------------------------------------------------------------------------------------- archives
def from_archives(search: Search) -> Reading | None:
    """Return the media of archives that name the split and carry labels, None if there are none.

    Raises:
        DataError: a label outside the classes, a medium without label, two media for one sample.
    """
    tree, words = search.media, search.dataset.words
    ours = {f for f in tree.folders if search.split in split_folder(f, words)[0]}
    rows = [
        row
        for row, name in enumerate(tree.names)
        if tree.media.archive[row] >= 0 and name.rpartition("/")[0] in ours
    ]
    if not any(tree.labels[row] is not None for row in rows):
        if rows:
            search.notes.append(
                f"{_archive(search, rows[0])} carries no labels (a column"
                f" {' or '.join(LABEL_COLUMNS)}; {' or '.join(LABEL_FILES)} next to the media)"
            )
        return None
    media = np.array(rows, dtype=np.int64)
    labels, classes = _archive_labels(search, rows)
    ids = _shard_ids(search, rows, [classes[label] if label >= 0 else "" for label in labels])
    excluded = {ids[place]: NO_LABEL for place in np.flatnonzero(labels == -1)}
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        search.notes.append(f"{_archive(search, rows[0])} carries no labels (-1)")
        return None
    kept = kept[one_medium_each(search, [ids[place] for place in kept], media[kept])]
    cells = bool(tree.media.form[rows[0]] == CELL)
    return Reading(
        ids=[ids[place] for place in kept],
        names=[tree.names[media[place]] for place in kept],
        labels=labels[kept],
        media=media[kept],
        classes=classes,
        excluded=excluded,
        source=(tree.root / _archive(search, rows[0])).parent,
        layout="parquet with labels" if cells else "tar shards with labels",
    )


def _archive(search: Search, row: int) -> str:
    column = search.media.media
    return column.archives[int(column.archive[row])]


def _archive_labels(search: Search, rows: Sequence[int]) -> tuple[IntArray, Sequence[str]]:
    """Return the class of each row (-1: none) and the names of the classes."""
    tree, column = search.media, search.media.media
    labels = search.labels or _archive_label_map(search, rows)
    orders: dict[str, Mapping[int, int]] = {}
    known: dict[tuple[str, str], int] = {}
    found = []
    for row in rows:
        archive, label = column.archives[column.archive[row]], tree.labels[row]
        if label is None:
            raise DataError(
                f"{search.title}: {tree.media[row]} has no label, but others like it do; add the"
                f" label to the archive, or give a list with --set task.{search.option}=FILE"
            )
        if (archive, label) not in known:
            if archive not in orders:
                names = tree.class_names.get(archive)
                orders[archive] = {} if names is None else _order(archive, names, labels)
            index = _index(label, labels, orders[archive])
            if index is None:
                raise DataError(
                    f"{search.title}: {tree.root / archive} gives {tree.names[row]!r} the label"
                    f" {label!r}, which is not one of the {len(labels)} classes."
                    f"{nearest(label, labels)} Pass another label map with --set task.classes=FILE"
                )
            known[archive, label] = index
        found.append(known[archive, label])
    return np.array(found, dtype=np.int64), labels.names


def _index(label: str, labels: LabelMap, order: Mapping[int, int]) -> int | None:
    if is_integer(label) and int(label) < 0:
        return -1
    if is_integer(label) and order:
        return order.get(int(label))
    return label_index(label, labels)


def _order(archive: str, names: Sequence[str], labels: LabelMap) -> Mapping[int, int]:
    """Return the class of each index of an archive that names its indices.

    Unknown names keep their index if the archive names as many classes as there are and the other
    names agree: some copies describe a class where others give its code.
    """
    found = [labels.index(name) for name in names]
    agree = all(index is None or index == number for number, index in enumerate(found))
    if None in found and not (agree and len(names) == len(labels)):
        name = names[found.index(None)]
        raise DataError(
            f"{archive} names its class {found.index(None)} {name!r}, which is not one of the"
            f" {len(labels)} classes.{nearest(name, labels)} Pass another label map with --set"
            " task.classes=FILE"
        )
    return {number: number if index is None else index for number, index in enumerate(found)}


def _archive_label_map(search: Search, rows: Sequence[int]) -> LabelMap:
    tree = search.media
    named = tree.class_names.get(_archive(search, rows[0]))
    texts = {label for row in rows if (label := tree.labels[row]) is not None}
    if named is None and all(map(is_integer, texts)):
        named = [str(number) for number in range(max(map(int, texts)) + 1)]
    return LabelMap(names=named or sorted(texts), source=str(tree.root))


def _shard_ids(search: Search, rows: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """Return ids made of paths and class names, prefixed by the shard if shards repeat them."""
    identify = search.dataset.identify
    archives = [_archive(search, row) for row in rows]
    stems = [posixpath.splitext(archive)[0] for archive in archives]
    ids = [
        identify(search.media.names[row][len(stem) + 1 :], class_name)
        for row, stem, class_name in zip(rows, stems, class_names, strict=True)
    ]
    column = search.media.media
    if len(set(ids)) == 1 < len(ids) and (column.form[rows] == CELL).all():
        # `image.png` in every row identifies nothing.
        ids = [f"{number:08d}" for number in column.offset[rows].tolist()]
    # Several folders mean copies of one set, and a rule chooses among them.
    if len(set(ids)) == len(ids) or len({posixpath.dirname(stem) for stem in stems}) > 1:
        return ids
    return [f"{posixpath.basename(stem)}/{sample}" for stem, sample in zip(stems, ids, strict=True)]


# ---------------------------------------------------------------------------------------- folders
def from_folders(search: Search) -> Reading | None:
    """Return the media in class folders below a folder of the split, None if there are none.

    Raises:
        DataError: a folder that is not a class, media outside class folders, two media for one
            sample with no rule to choose between them.
    """
    tree, dataset = search.media, search.dataset
    starts = _class_starts(search)
    by_name = _classes_in_names(search, starts)
    labels, classes = _folder_labels(search, {f: s for f, s in starts.items() if f not in by_name})
    if not labels and not by_name:
        return None
    rows, ids, names, found = [], [], [], []
    for row, name in enumerate(tree.names):
        folder = name.rpartition("/")[0]
        if folder in labels or folder in by_name:
            rows.append(row)
            names.append(name[starts[folder] :])
            ids.append(dataset.sample_id(names[-1]))
            found.append(by_name[folder][row] if folder in by_name else labels[folder])
    if labels:
        flat = [f for f, start in starts.items() if not f[start:] and f not in by_name]
        _refuse_unlabelled(search, flat, ids)
    media = np.array(rows, dtype=np.int64)
    kept = one_medium_each(search, ids, media)
    ids, names = [ids[place] for place in kept], [names[place] for place in kept]
    return Reading(
        ids=ids,
        names=names,
        labels=np.array(found, dtype=np.int64)[kept],
        media=_with_replacements(search, names, ids, media[kept]),
        classes=classes,
        excluded={},
        source=tree.root,
        layout="class folders" if labels else "classes in file names",
    )


def _class_starts(search: Search) -> dict[str, int]:
    """Return where the class begins in the path of each folder below one of the split."""
    starts = {}
    for folder in search.media.folders:
        splits, place = split_folder(folder, search.dataset.words)
        if search.split in splits and not is_preferred(search.dataset, folder):
            starts[folder] = len("/".join(folder.split("/")[: place + 1])) + 1
    return starts


def _classes_in_names(search: Search, starts: Mapping[str, int]) -> dict[str, dict[int, int]]:
    """Return each row's class by folder, for flat folders whose file names all give a class."""
    class_of_file, labels = search.dataset.class_of_file, search.labels
    if class_of_file is None or labels is None:
        return {}
    found: dict[str, dict[int, int]] = {f: {} for f, start in starts.items() if not f[start:]}
    for row, name in enumerate(search.media.names):
        folder, _, base = name.rpartition("/")
        if folder in found and (index := labels.index(class_of_file(base) or "")) is not None:
            found[folder][row] = index
    return {f: rows for f, rows in found.items() if len(rows) == search.media.folders[f]}


def _folder_labels(
    search: Search, starts: Mapping[str, int]
) -> tuple[dict[str, int], Sequence[str]]:
    """Return the class of each folder that is one, and the class names."""
    inner = {folder: folder[start:] for folder, start in starts.items()}
    flat = [folder for folder, name in inner.items() if not name]
    if search.labels is None:
        classes = sorted({name for name in inner.values() if name})
        found = {f: classes.index(name) if name else None for f, name in inner.items()}
    else:
        classes = list(search.labels.names)
        found = {folder: _class_of(name, search.labels) for folder, name in inner.items()}
    labels = {folder: index for folder, index in found.items() if index is not None}
    unknown = [folder for folder, index in found.items() if index is None and inner[folder]]
    if unknown and search.labels is not None:
        name = inner[min(unknown)]
        problem = (
            f"the folder {name!r} in {search.media.root} is not one of the"
            f" {len(classes)} classes.{nearest(name, search.labels)}"
        )
        if labels:
            raise DataError(
                f"{search.title}: {problem} Rename it, move it away, or pass another label map with"
                " --set task.classes=FILE"
            )
        search.notes.append(problem.removesuffix("."))
    elif flat and not labels:
        search.notes.append(
            f"{search.media.folders[flat[0]]:,} {search.media.kind}s are in"
            f" {search.media.root / flat[0]} without class folders, so their labels must come from"
            " a list"
        )
    return labels, classes


def _refuse_unlabelled(search: Search, flat: Sequence[str], ids: Sequence[str]) -> None:
    """Refuse media outside class folders, unless they are copies of media inside.

    The archive that was unpacked often stays next to the folders.
    """
    tree, known = search.media, set(ids) if flat else set()
    for name in tree.names if flat else ():
        folder = name.rpartition("/")[0]
        if folder in flat and search.dataset.sample_id(name) not in known:
            raise DataError(
                f"{search.title}: {name!r}, and perhaps more of the {tree.folders[folder]:,}"
                f" {tree.kind}s in {tree.root / folder}, is outside every class folder; move them"
                " into one or away, or give their labels in a list."
            )


def _class_of(name: str, labels: LabelMap) -> int | None:
    """Return the class that a folder's path names, or else its longest prefix or suffix."""
    parts = name.split("/") if name else []
    lengths = range(len(parts), 0, -1)
    ways = [parts[:length] for length in lengths] + [parts[-length:] for length in lengths]
    found = (labels.index("/".join(way)) for way in ways)
    return next((index for index in found if index is not None), None)


def _with_replacements(
    search: Search, names: Sequence[str], ids: Sequence[str], media: IntArray
) -> IntArray:
    """Return `media`, replaced where `dataset.prefer` names a folder with a better file."""
    tree, dataset = search.media, search.dataset
    folders = {folder for folder in tree.folders if is_preferred(dataset, folder)}
    if not folders:
        return media
    rows = [row for row, name in enumerate(tree.names) if name.rpartition("/")[0] in folders]
    better = np.array(rows, dtype=np.int64)
    found = match(dataset, search.split, tree.take(better), names, ids)
    return np.where(found >= 0, better[found], media)
