"""Files that define the order of classes, as data sets and tools write them.

abseiling                     one name per line, line number = index (mmaction2)
{"abseiling": 0}              JSON; the index may be a string, the name may have quotes
/a/airfield 0                 name and index (Places)
1 ApplyEyeMakeup              index and name, from 0 or from 1 (UCF101)
n01440764 tench, Tinca tinca  WordNet id and words (ImageNet)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bench.data.discover.annotations import read_lines, unquote
from bench.data.discover.label_map import LabelMap
from bench.data.discover.unicode_names import composed
from bench.data.read_manifest import read_classes
from bench.errors import DataError
from bench.files import parse_json

_NAME_INDEX = re.compile(r"(.*\S)[\s,;]+(\d+)")
_INDEX_NAME = re.compile(r"(\d+)[\s,;]+(\S.*)")
_WNID_WORDS = re.compile(r"(n\d{8})\s+(\S.*)")
_JSON_FORMS = 'it should be {"name": index} or a list of names'


def read_label_map(path: Path) -> LabelMap:
    """Read a label map in any of the formats above.

    Raises:
        DataError: an unreadable or empty file, a class listed twice, indices with a gap.
    """
    if path.suffix.lower() == ".json":
        return LabelMap(names=_from_json(path), source=str(path))
    lines = [line.strip() for line in read_lines(path)]
    wnids = [_WNID_WORDS.fullmatch(line) for line in lines]
    if lines and all(wnids):
        names = _unique(path, [match[1] for match in wnids if match])
        words = {match[2]: row for row, match in enumerate(wnids) if match}
        return LabelMap(names=names, source=str(path), aliases=words)
    for pattern, name, index in ((_NAME_INDEX, 1, 2), (_INDEX_NAME, 2, 1)):
        pairs = [pattern.fullmatch(line) for line in lines]
        if lines and all(pairs):
            found = [(int(match[index]), match[name]) for match in pairs if match]
            return LabelMap(names=_by_index(path, found), source=str(path))
    return LabelMap(names=read_classes(path), source=str(path))


def _from_json(path: Path) -> list[str]:
    try:
        facts = parse_json(path.read_bytes())
        if isinstance(facts, dict):
            found = [(int(index), unquote(str(name).strip())) for name, index in facts.items()]
            return _by_index(path, found)
        if isinstance(facts, list) and all(isinstance(name, str) for name in facts):
            return _unique(path, [unquote(name.strip()) for name in facts])
    except OSError as error:
        raise DataError(f"cannot read the label map {path}: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a label map ({error}); {_JSON_FORMS}.") from error
    raise DataError(f"{path} is not a label map; {_JSON_FORMS}.")


def _by_index(path: Path, found: Sequence[tuple[int, str]]) -> list[str]:
    numbers = sorted(number for number, _ in found)
    start = numbers[0] if numbers else 0
    if not numbers or start > 1 or numbers != list(range(start, start + len(numbers))):
        gap = next((n for k, n in enumerate(numbers) if n != k + min(start, 1)), start)
        raise DataError(
            f"{path}: class indices should run from 0 (or 1) without gaps or repeats, but {gap} is"
            " out of sequence; is a line missing?"
        )
    return _unique(path, [unquote(name) for _, name in sorted(found)])


def _unique(path: Path, names: list[str]) -> list[str]:
    names = [composed(name) for name in names]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: class {twice!r} is listed twice; remove one.")
    if not names:
        raise DataError(f"{path} is empty: it should name the classes.")
    return names
