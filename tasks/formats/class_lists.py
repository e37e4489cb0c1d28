"""What UCF101 and HMDB51 share: three splits, and lists of `Class/file.avi [number]` lines.

UCF101 numbers classes from 1 in its training lists and not at all in its test lists; mmaction2 and
SVT number them from 0, in lists of frame folders after the number of frames.
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
    """Read a list of names that contain their class, None if the first line does not.

    `class_of` gives the class in a listed name, None without one. With `check_numbers`, the numbers
    must be the indices of `labels`, counted from 0 or from 1 throughout the list.

    Raises:
        DataError: a class that is not in `labels`, a name without class, a number that contradicts
            the class in its name.
    """
    lines = read_lines(path)
    if not lines or re.search(r"[,\t]\s*\d+$", lines[0]) or class_of(_parse(lines[0])[0]) is None:
        return None
    rows = [_parse(line) for line in lines]
    found = []
    for line, (name, _) in enumerate(rows, start=1):
        class_name = class_of(name)
        if class_name is None:
            raise DataError(f"{path}, line {line}: {name!r} contains no class of {title}.")
        found.append(class_name)
    label_rows = indices(path, found, labels, title=title)
    numbers = [number for _, number in rows]
    if check_numbers:
        _refuse_other_numbers(path, numbers, label_rows.tolist(), found)
    names = [name for name, _ in rows]
    layout = f"list of class/file {'without' if numbers[0] is None else 'with'} numbers"
    return Listed(names=names, labels=label_rows, source=path, layout=layout)


def three_splits(
    name: str, parts: tuple[str, str], sizes: Mapping[int, tuple[int, int]], official: Sequence[str]
) -> dict[str, Any]:
    """Return `words`, `sizes` and `patterns` of a data set with three splits.

    `parts` are the names of the training and the test part, `official` the patterns of their lists
    (with `{part}` and `{number}`), `sizes` the rows of both by split number. A plain `train` is
    split 1, which most works use. Official lists take precedence over mmaction2's.
    """
    words, counts, patterns = {}, {}, {}
    for number in SPLITS:
        for place, (prefix, words_of_split, words_of_first, other_words) in enumerate(
            (
                ("trainlist0", ("train",), ("train",), ("train",)),
                ("testlist0", ("test", "val"), ("test", "val", "validation"), ("val", "test")),
            )
        ):
            part = parts[place].format(number)
            ends = (f"_split_{number}", f"_split{number}")
            words[part] = (
                f"{prefix}{number}",
                *(f"{word}{end}" for word in words_of_split for end in ends),
                *(words_of_first if number == 1 else ()),
            )
            counts[part] = {"published": sizes[number][place]}
            patterns[part] = (
                *(pattern.format(part=part, number=number) for pattern in official),
                *(
                    f"{name}_{word}_split_{number}{end}"
                    for word in other_words
                    for end in ("_videos.txt", "_rawframes.txt", ".txt")
                ),
            )
    return {"words": words, "sizes": counts, "patterns": patterns}


def choose_split(parts: tuple[str, str], number: int, title: str) -> Choice:
    """Return the choice of split `number`.

    Raises:
        UsageError: a number other than 1, 2 and 3.
    """
    if number not in SPLITS:
        raise UsageError(f"{title} has the splits 1, 2 and 3, not {number}.")
    fit, score = (part.format(number) for part in parts)
    return Choice(fit=fit, score=score, options={"split": number})


def refuse_other_split(path: Path, number: int) -> None:
    """Refuse a list whose file name has a split other than `number`.

    Raises:
        DataError: such a list; the message has the option that selects its split.
    """
    match = _SPLIT.search(path.stem)
    if match and int(match[1]) != number:
        raise DataError(
            f"{path} is a list of split {match[1]}, but the task uses split {number}; choose the"
            f" split with --set task.split={match[1]}"
        )


def _parse(line: str) -> tuple[str, int | None]:
    """Return name and class number of a line, without a number of frames between them."""
    head, _, last = line.strip().rpartition(" ")
    if not head or not is_integer(last):
        return line.strip(), None
    name, _, frames = head.rpartition(" ")
    return (name if name and is_integer(frames) else head).strip(), int(last)


def _refuse_other_numbers(
    path: Path, numbers: Sequence[int | None], labels: Sequence[int], found: Sequence[str]
) -> None:
    """Refuse numbers that are not the class indices, counted from 0 or 1 in the whole list."""
    first = next((n - label for n, label in zip(numbers, labels, strict=True) if n is not None), 0)
    for row, (number, label) in enumerate(zip(numbers, labels, strict=True)):
        if number is None or (number - label == first and first in (0, 1)):
            continue
        raise DataError(
            f"{path}, line {row + 1}: the number {number} is not that of the class {found[row]!r},"
            f" {label} (or {label + 1} in all lines); if the list follows another class order, pass"
            " it with --set task.classes=FILE"
        )
