"""Annotation files and class folders -> `Manifest`: ids, media files, labels and the label map.

Ids are file names relative to the media root with `/` between the parts, so that they are the same
on every machine. Class indices follow the ASCII order of the names unless a label map is given.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.data.discover.annotations import (
    EXTENSIONS,
    Annotations,
    extension,
    is_integer,
    read_annotations,
    read_lines,
    unquote,
)
from bench.data.discover.folder_scan import media_among, walk
from bench.data.discover.not_read import (
    EMPTY,
    OTHER_KIND,
    NotRead,
    first_bytes_of,
    kind_of_content,
)
from bench.data.discover.unicode_names import as_on_disk, composed
from bench.data.manifest import Manifest
from bench.data.media.media import MediaColumn
from bench.errors import DataError, closest
from bench.types import IntArray, Kind

MAX_CLASSES = 1_000_000
MOST_SHARE_OF_OTHERS = 1 / 3  # pictures per video of a folder (or the reverse) that are left out


def read_list(
    path: Path,
    *,
    root: Path | None,
    kind: Kind | None = None,
    name: str,
    split: str,
    classes: Sequence[str] | Path | None = None,
    where: Mapping[str, str] | None = None,
) -> Manifest:
    """Read a `path label` list, a CSV or TSV table, JSON lines or parquet as a manifest.

    Relative names are looked up under `root`, by default the folder of the list. Labels are names,
    or indices into `classes` (a sequence, or a file with one name per line); without classes, they
    are the names that occur, sorted, or the integers that do, ascending. Integers in a sequence of
    ascending ones are names. `kind` is inferred from the file extensions. `where` filters rows by
    the value of a column. Media files are not opened.

    Raises:
        DataError: with the line number, for anything ambiguous: no label, a label outside the
            label map, a sample listed twice, videos among images.
    """
    rows = read_annotations(path, where=where)
    return from_rows(rows, root=root, kind=kind, name=name, split=split, classes=classes)


def from_rows(
    rows: Annotations,
    *,
    root: Path | None,
    kind: Kind | None = None,
    name: str,
    split: str,
    classes: Sequence[str] | Path | None = None,
) -> Manifest:
    """Build the manifest of annotation rows already read; see `read_list`."""
    known = read_classes(classes) if isinstance(classes, Path | str) else classes
    are_ids = known is None or (known is classes and _are_ascending(known))
    labels, names = _index_labels(rows, known, are_ids=are_ids)
    base, files = _relative_names(rows, root)
    ids = [composed(file) for file in files]
    _refuse_repeats(rows, ids)
    files = as_on_disk(base, files)
    return Manifest(
        name=name,
        split=split,
        kind=_find_kind(rows, kind, base, files),
        ids=ids,
        media=MediaColumn.of_files(base, files),
        labels=labels,
        classes=names,
        source=str(rows.path),
    )


def read_folder(
    root: Path,
    *,
    name: str,
    split: str,
    classes: Sequence[str] | None = None,
    kind: Kind | None = None,
) -> Manifest:
    """Read `root/<class>/**/file`, sorted by name; hidden files and folders are ignored.

    A class is the topmost folder that directly contains media files, named by its path below
    `root`: `abseiling`, or `a/abbey` if the folder `a` contains only folders. Ids and classes are
    in Unicode's composed form. Without a `kind`, it is that of most files; those of the other one
    are left out, as long as they are a quarter at most. `notes` count whatever is left out.

    Raises:
        DataError: no such folder, nothing in it, media without a class folder, both videos and
            images, a class that is not in `classes`.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; check the path of {name} {split}.")
    left_out = NotRead()
    tops: list[str] = []
    folders = []
    for below, inner, files in walk(root, left_out):
        tops = tops or inner
        folders.append((below, media_among(files, root, below, left_out)))
    kind = _kind_of_most(root, [one for _, found in folders for one in found.items()], kind)
    class_of: dict[str, str] = {}
    rows: list[tuple[str, str, str]] = []
    for below, found in folders:
        media = [file for file, what in found.items() if what == kind]
        for file, what in found.items():
            if what not in (None, kind):
                left_out.add(OTHER_KIND[kind], f"{below}/{file}" if below else file)
        if media and not below:
            raise DataError(
                f"{root} has {len(media)} media files (such as {min(media)!r}) outside every class"
                " folder; move them into one, or give their labels in a list (task `listing`)."
            )
        label = class_of.get(posixpath.dirname(below), below if media else "")
        if label:
            class_of[below] = label
        paths = [f"{below}/{file}" for file in media]
        rows += ((composed(path), path, composed(label)) for path in paths)
    rows.sort()
    for top in {*tops}.difference(path.partition("/")[0] for _, path, _ in rows):
        left_out.add(EMPTY, top)
    labels = [label for _, _, label in rows]
    names = list(classes) if classes is not None else sorted(set(labels))
    index = {composed(label): i for i, label in enumerate(names)}
    for label in sorted(set(labels)):
        if label not in index:
            raise DataError(
                f"{root}: the class folder {label!r} is not one of the {len(names)} classes of"
                f" {name} {split}.{_near(label, names)}"
            )
    return Manifest(
        name=name,
        split=split,
        kind=kind,
        ids=[sample for sample, _, _ in rows],
        media=MediaColumn.of_files(root, [path for _, path, _ in rows]),
        labels=np.array([index[label] for label in labels], dtype=np.int64),
        classes=names,
        source=str(root),
        notes=left_out.notes(),
    )


def read_classes(path: Path | str) -> list[str]:
    """Read a label map: one name per line, line number = index, surrounding quotes dropped.

    Raises:
        DataError: missing, empty or undecodable file, an empty line, a name listed twice.
    """
    names = [composed(unquote(line.strip())) for line in read_lines(Path(path))]
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path}, line {number}: no class name; remove the empty line.")
        if name in first:
            lines = f"lines {first[name]} and {number}"
            raise DataError(f"{path}: class {name!r} is listed twice ({lines}); remove one.")
        first[name] = number
    if not names:
        raise DataError(f"{path} is empty: it should have one class name per line.")
    return names


# ----------------------------------------------------------------------------------------- labels
def classes_of(*lists: Annotations) -> list[str]:
    """Return the labels that occur in lists that belong together: integers ascending, else names.

    Raises:
        DataError: integers and names in one list, a negative integer, too many classes.
    """
    for rows in lists:
        _refuse_mixture(rows)
    names = {label for rows in lists for label in rows.labels}
    if len(names) > MAX_CLASSES:
        raise DataError(
            f"{lists[0].path} has {len(names):,} different labels; is the last field of each line"
            " the label?"
        )
    if not lists[0].numbered:
        return sorted(names)
    numbers = sorted({int(name) for name in names})
    if numbers[0] < 0:
        for rows in lists:
            _numbers(rows, numbers[-1] + 1)  # names the line
    return [str(number) for number in numbers]


def _index_labels(
    rows: Annotations, classes: Sequence[str] | None, *, are_ids: bool
) -> tuple[IntArray, Sequence[str]]:
    """Return each row's class index, and the class names; with `are_ids`, integers are names."""
    if classes is None:
        classes = classes_of(rows)
    index = {composed(name): i for i, name in enumerate(classes)}
    labels = rows.labels
    if rows.numbered and are_ids:
        labels = [str(int(label)) for label in labels]  # "07" is 7
    elif rows.numbered and not _are_names(rows, classes, index):
        return _numbers(rows, len(classes)), classes
    try:
        return np.array([index[label] for label in labels], dtype=np.int64), classes
    except KeyError:
        row = next(i for i, label in enumerate(rows.labels) if label not in index)
    raise DataError(
        f"{rows.path}, line {rows.lines[row]}: label {rows.labels[row]!r} is not in the list of"
        f" {len(classes)} classes.{_near(rows.labels[row], classes)}"
    )


def _are_ascending(names: Sequence[str]) -> bool:
    """Whether names are integers in ascending order, as those of `classes_of`."""
    return all(map(is_integer, names)) and all(int(a) < int(b) for a, b in pairwise(names))


def _are_names(rows: Annotations, classes: Sequence[str], index: Mapping[str, int]) -> bool:
    """Whether integer labels are names of classes; refuses what could be both names and indices."""
    present = {label: int(label) for label in rows.labels}
    if not present.keys() <= index.keys():
        return False
    differing = [label for label, number in present.items() if index[label] != number]
    if differing and all(0 <= number < len(classes) for number in present.values()):
        label = differing[0]
        raise DataError(
            f"{rows.path}, line {rows.lines[rows.labels.index(label)]}: label {label} could be the"
            f" name of class number {index[label]} or the index of class"
            f" {classes[present[label]]!r}; give the classes names that are not numbers."
        )
    return True


def _numbers(rows: Annotations, limit: int) -> IntArray:
    numbers = [int(label) for label in rows.labels]
    if min(numbers) >= 0 and max(numbers) < limit:
        return np.array(numbers, dtype=np.int64)
    line, bad = next((r, n) for r, n in zip(rows.lines, numbers, strict=True) if not 0 <= n < limit)
    if bad < 0:
        reason = "class indices are never negative; leave out rows without a label"
    else:
        reason = f"the label map has {limit} classes, so 0 to {limit - 1} are allowed"
    raise DataError(f"{rows.path}, line {line}: label {bad}: {reason}.")


def _refuse_mixture(rows: Annotations) -> None:
    numbers = [n for label, n in zip(rows.labels, rows.lines, strict=True) if is_integer(label)]
    if numbers and not rows.numbered:
        i = next(i for i, label in enumerate(rows.labels) if not is_integer(label))
        raise DataError(
            f"{rows.path}: line {rows.lines[i]} has the label {rows.labels[i]!r} but line"
            f" {numbers[0]} has an integer; write names or integers in all lines, or give the"
            " list of classes if integers are names."
        )


def _near(word: str, names: Sequence[str]) -> str:
    hint = closest(word, names)
    return hint if len(names) <= 20 or "Did you mean" in hint else " Nothing there is similar."


# ------------------------------------------------------------------------------------ files, kind
def _relative_names(rows: Annotations, root: Path | None) -> tuple[Path, list[str]]:
    """Return the media folder and the names relative to it.

    Without a root, if all names are absolute, they are relative to their common folder.
    """
    names = [file.replace("\\", "/").removeprefix("./") for file in rows.files]
    for number, name in zip(rows.lines, names, strict=True):
        if not name:
            raise DataError(f"{rows.path}, line {number}: no media file; fill the column.")
    if root is None and all(name.startswith("/") for name in names):
        ends = [posixpath.dirname(min(names)), posixpath.dirname(max(names))]
        shared = posixpath.commonpath(ends).rstrip("/") + "/"
        return Path(shared), [name[len(shared) :] for name in names]
    base = rows.path.parent if root is None else root
    for spelling in dict.fromkeys((base.absolute(), base.resolve())):
        names = [name.removeprefix(f"{spelling.as_posix()}/") for name in names]
    return base, names


def _refuse_repeats(rows: Annotations, ids: Sequence[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    first: dict[str, int] = {}
    for line, sample in zip(rows.lines, ids, strict=True):
        if sample in first:
            raise DataError(
                f"{rows.path}: {sample!r} is listed twice (lines {first[sample]} and {line});"
                " remove one."
            )
        first[sample] = line


def _kind_of_most(root: Path, found: Sequence[tuple[str, Kind | None]], kind: Kind | None) -> Kind:
    """Return `kind`, or that of most files; refuse if there are too many of the other, or none."""
    numbers = Counter(what for _, what in found if what is not None)
    if not numbers:
        tails = Counter(extension(file) for file, _ in found).most_common(5)
        seen = ", ".join(f"{number} .{tail or '(none)'}" for tail, number in tails)
        raise DataError(
            f"{root} has no videos or images{f', only other files ({seen})' if seen else ''};"
            " expected class folders with media files in them."
        )
    if kind is not None and numbers[kind]:
        return kind
    [most, *_] = numbers.most_common(1)
    if numbers.total() > MOST_SHARE_OF_OTHERS * most[1] + most[1] and kind is None:
        shown = [next(f"{what} {file!r}" for file, what in found if what == one) for one in numbers]
        raise DataError(
            f"{root}: expected files of one kind, but found {numbers['video']:,} videos and"
            f" {numbers['image']:,} images, such as {', '.join(shown)}; put them into separate"
            " folders."
        )
    return most[0]


def _find_kind(rows: Annotations, kind: Kind | None, base: Path, files: Sequence[str]) -> Kind:
    """Return the kind of files by their extensions, or by the first bytes of one without."""
    first: dict[str, int] = {}
    for i, name in enumerate(rows.files):
        first.setdefault(extension(name), i)
    found = {tail: EXTENSIONS.get(tail) for tail in first}
    if kind is None and "" in first:
        with suppress(OSError):  # a missing file
            found[""] = kind_of_content(first_bytes_of(base / files[first[""]]))
    kinds = {k for k in found.values() if k is not None}
    if len(kinds | {kind} - {None}) > 1:
        shown = ", ".join(f"{found[t]} {rows.files[i]!r}" for t, i in first.items() if found[t])
        raise DataError(
            f"{rows.path}: expected files of one kind{f' ({kind})' if kind else ''}, but found"
            f" {shown}; put videos and images into separate lists."
        )
    if kind is not None:
        return kind
    for tail, i in first.items():
        if found[tail] is None:
            raise DataError(
                f"{rows.path}, line {rows.lines[i]}: {rows.files[i]!r} does not end in a known"
                f" extension ({' '.join(EXTENSIONS)}); is it a media file?"
            )
    return kinds.pop()
