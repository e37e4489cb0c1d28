"""What UCF101 and HMDB51 share: three splits, and lists of `Class/file.avi [number]` lines.

UCF101 numbers classes from 1 in its training lists and not at all in its test lists; the lists of
mmaction2 and SVT number them from 0, those of frame folders after a number of frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.data.discover.annotations import is_integer, read_lines
from bench.data.discover.dataset import Listed
from bench.data.discover.label_map import LabelMap
from bench.errors import DataError, UsageError
from tasks.formats.official_files import indices
from tasks.published_task import Choice

SPLITS = (1, 2, 3)
_SPLIT = re.compile(r"(?:trainlist0|testlist0|split_?)([0-9])(?![0-9])", re.IGNORECASE)


def read_class_list(
    path: Path,
    labels: LabelMap,
    *,
    class_of: Callable[[str], str | None],
    title: str,
    check_numbers: bool,
) -> Listed | None:
    """Read a list of names that carry their class, None if the first line is no such name.

    `class_of` gives the class name in a listed name, None where there is none. With
    `check_numbers`, the numbers beside the names must be those of `labels`, counted from 0 or
    from 1 in the whole list.

    Raises:
        DataError: a class that is not in `labels`, a name without class, a number that belongs to
            another class than the name beside it.
    """
    lines = read_lines(path)
    if not lines or re.search(r"[,\t]\s*\d+$", lines[0]) or class_of(_cut(lines[0])[0]) is None:
        return None
    rows = [_cut(line) for line in lines]
    found = []
    for line, (name, _) in enumerate(rows, start=1):
        class_name = class_of(name)
        if class_name is None:
            raise DataError(f"{path}, line {line}: {name!r} carries no class of {title}.")
        found.append(class_name)
    made = indices(path, found, labels, title=title)
    numbers = [number for _, number in rows]
    if check_numbers:
        _refuse_other_numbers(path, numbers, made.tolist(), found)
    numbered = "with" if numbers[0] is not None else "without"
    return Listed(
        names=[name for name, _ in rows],
        labels=made,
        source=path,
        layout=f"list of class/file {numbered} numbers",
    )


def three_splits(
    name: str, parts: tuple[str, str], sizes: Mapping[int, tuple[int, int]], official: Sequence[str]
) -> dict[str, Any]:
    """Return `words`, `sizes` and `patterns` of a data set with three splits.

    `parts` are the names of the training and the test part and `official` those of their lists,
    with `{part}` and `{number}` in them; `sizes` the rows of both by the number. A plain `train` is
    the first split, which is the one that most works use. Official lists go before mmaction2's.
    """
    words, counts, patterns = {}, {}, {}
    for number in SPLITS:
        for place, (own, called, firsts, theirs) in enumerate(
            (
                ("trainlist0", ("train",), ("train",), ("train",)),
                ("testlist0", ("test", "val"), ("test", "val", "validation"), ("val", "test")),
            )
        ):
            part = parts[place].format(number)
            ends = (f"_split_{number}", f"_split{number}")
            words[part] = (
                f"{own}{number}",
                *(f"{word}{end}" for word in called for end in ends),
                *(firsts if number == 1 else ()),
            )
            counts[part] = {"published": sizes[number][place]}
            patterns[part] = (
                *(pattern.format(part=part, number=number) for pattern in official),
                *(
                    f"{name}_{word}_split_{number}{end}"
                    for word in theirs
                    for end in ("_videos.txt", "_rawframes.txt", ".txt")
                ),
            )
    return {"words": words, "sizes": counts, "patterns": patterns}


def choose_split(parts: tuple[str, str], number: int, title: str) -> Choice:
    """Return what the option `split` decides.

    Raises:
        UsageError: another number than 1, 2 and 3.
    """
    if number not in SPLITS:
        raise UsageError(f"{title} has the splits 1, 2 and 3; {number} is none of them.")
    fit, score = (part.format(number) for part in parts)
    return Choice(fit=fit, score=score, options={"split": number})


def refuse_other_split(path: Path, number: int) -> None:
    """Refuse a list whose file name says that it is of another split than `number`.

    Raises:
        DataError: such a list, with the option that chooses its split.
    """
    match = _SPLIT.search(path.stem)
    if match and int(match[1]) != number:
        raise DataError(
            f"{path} is a list of split {match[1]}, but the task is set to split {number}; choose"
            f" the split with --set task.split={match[1]}"
        )


def _cut(line: str) -> tuple[str, int | None]:
    """Cut the number of the class, and a number of frames before it, off the end of a line."""
    head, _, last = line.strip().rpartition(" ")
    if not head or not is_integer(last):
        return line.strip(), None
    name, _, frames = head.rpartition(" ")
    return (name if name and is_integer(frames) else head).strip(), int(last)


def _refuse_other_numbers(
    path: Path, numbers: Sequence[int | None], labels: Sequence[int], found: Sequence[str]
) -> None:
    """Refuse numbers that are neither the indices of the named classes nor one more."""
    first = next((n - label for n, label in zip(numbers, labels, strict=True) if n is not None), 0)
    for row, (number, label) in enumerate(zip(numbers, labels, strict=True)):
        if number is None or (number - label == first and first in (0, 1)):
            continue
        raise DataError(
            f"{path}, line {row + 1}: the number {number} is not that of the class {found[row]!r},"
            f" {label} (or {label + 1} in all lines); if the list follows another order, give that"
            " with --set task.classes=FILE"
        )
