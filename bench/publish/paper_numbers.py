"""Published numbers, read from a CSV file with one number per line, and searched.

    source,table,method,arch,resolution,params_m,pretrain_data,samples_seen_m,
    task,views,probe,train_fraction,metric,value,std

A paper with its numbers is registered with `@registry.paper`; `bench ls papers` lists them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from bench import registry
from bench.errors import BenchError, DataError, closest, known
from bench.publish.leaderboard import Paper, PublishedNumber

FIELDS = tuple(field.name for field in fields(PublishedNumber))
# Every number needs these; the others are empty if the paper does not say.
REQUIRED = ("source", "table", "method", "task", "probe", "train_fraction", "metric", "value")
NUMBERS = ("resolution", "params_m", "train_fraction", "value", "std")


class NothingPublishedError(BenchError):
    """Every search term is known, but no number matches all of them."""


def read_numbers(path: Path) -> tuple[PublishedNumber, ...]:
    """Read the numbers of a CSV file in its order.

    Raises:
        DataError: an unknown or missing column, an empty required field, a field that is not a
            number or out of range, or a duplicate; the message names the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_header(path, reader.fieldnames or ())
            found = {f"line {reader.line_num}": _number(path, reader.line_num, r) for r in reader}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"{path}, line {reader.line_num}: not CSV in UTF-8 ({error})."
            ) from error
    _refuse_duplicates(path, found)
    return tuple(found.values())


def published_numbers() -> list[PublishedNumber]:
    """Return the numbers of every registered paper, in their order."""
    papers: list[Paper] = [registry.build("papers", name, {}) for name in registry.names("papers")]
    return [number for paper in papers for number in paper.numbers]


def search(
    numbers: Iterable[PublishedNumber], *, method: str | None = None, **exact: str | None
) -> list[PublishedNumber]:
    """Return the numbers whose method contains `method` and whose other fields match `exact`.

    `exact` are `source`, `table`, `task` and `probe`; case is ignored, None matches any.

    Raises:
        UsageError: a term that no number has, with the closest one.
        NothingPublishedError: each term is known, but no number matches all of them.
    """
    every = list(numbers)
    asked = {key: word.strip() for key, word in exact.items() if word is not None}
    found = every
    for key, word in asked.items():
        values = {getattr(n, key).casefold(): getattr(n, key) for n in every}
        value = values.get(word.casefold()) or known(f"published {key}", word, [*values.values()])
        found = [number for number in found if getattr(number, key) == value]
    if method is not None:
        part = method.strip().casefold()
        if not any(part in number.method.casefold() for number in every):
            names = {number.method for number in every}
            raise NothingPublishedError(
                f"no published method contains {method!r}.{closest(method, names)}"
            )
        asked["method"] = method
        found = [number for number in found if part in number.method.casefold()]
    if not found:
        words = ", ".join(f"{key} {word}" for key, word in asked.items())
        raise NothingPublishedError(
            f"no published number matches {words} together: leave one of them out."
        )
    return found


def _check_header(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in FIELDS:
            raise DataError(f"{path}, line 1: unknown column {name!r}.{closest(name, FIELDS)}")
    missing = [name for name in FIELDS if name not in names]
    if missing or len(set(names)) < len(names):
        what = f"the column {missing[0]!r} is missing" if missing else "a column is listed twice"
        raise DataError(f"{path}, line 1: {what}; the columns are {','.join(FIELDS)}.")


def _number(
    path: Path, line: int, row: Mapping[str | None, str | list[str] | None]
) -> PublishedNumber:
    """Parse one line."""
    where = f"{path}, line {line}"
    if None in row or None in row.values():
        raise DataError(f"{where}: {'more' if None in row else 'fewer'} fields than columns.")
    texts = {str(name): str(text).strip() for name, text in row.items()}
    for name in REQUIRED:
        if not texts[name]:
            raise DataError(f"{where}: {name} is empty; every number needs one.")
    resolution = _value(where, "resolution", texts)
    if resolution is not None and resolution % 1:
        raise DataError(f"{where}: resolution {texts['resolution']!r} is not a number of pixels.")
    fraction, value = _value(where, "train_fraction", texts), _value(where, "value", texts)
    assert fraction is not None and value is not None, "both are required"
    if not 0 < fraction <= 1:
        raise DataError(f"{where}: train_fraction {fraction:g} should be above 0 and at most 1.")
    if not 0 <= value <= 100:
        raise DataError(f"{where}: value {value:g} is outside [0, 100] percent.")
    return PublishedNumber(
        **{name: text for name, text in texts.items() if name not in NUMBERS},
        resolution=None if resolution is None else int(resolution),
        params_m=_value(where, "params_m", texts),
        train_fraction=fraction,
        value=value,
        std=_value(where, "std", texts),
    )


def _value(where: str, name: str, texts: Mapping[str, str]) -> float | None:
    """Return a field as a non-negative number, or None if it is empty."""
    text = texts[name]
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise DataError(f"{where}: {name} {text!r} is not a non-negative number.")
    return value


def _refuse_duplicates(path: Path, found: Mapping[str, PublishedNumber]) -> None:
    """Refuse a number that is listed twice, even with different values."""
    lines: dict[tuple[object, ...], str] = {}
    for line, number in found.items():
        key = tuple(getattr(number, name) for name in FIELDS if name not in ("value", "std"))
        first = lines.setdefault(key, line)
        if first != line:
            raise DataError(
                f"{path}, {line}: {number.method} on {number.task} is already listed in {first}."
            )
