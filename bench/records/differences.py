"""Find the fields in which two JSON values differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A dotted field and its two values; `ABSENT` if a side has no such field."""

    field: str
    a: Any
    b: Any


class Absent:
    """Marks a missing field."""

    def __repr__(self) -> str:
        return "(not there)"


ABSENT = Absent()


def differences(a: Any, b: Any, place: str = "") -> list[Difference]:
    """Return every leaf in which two JSON values differ, in order; lists are leaves."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = [*a, *(key for key in b if key not in a)]
        return [
            found
            for key in keys
            for found in differences(
                a.get(key, ABSENT), b.get(key, ABSENT), f"{place}.{key}".lstrip(".")
            )
        ]
    return [] if a == b and type(a) is type(b) else [Difference(field=place, a=a, b=b)]


def short_text(value: Any) -> str:
    """Return a value as short text."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def as_json(difference: Difference) -> dict[str, Any]:
    """Return a difference as JSON values, without the side that lacks the field."""
    sides = {"a": difference.a, "b": difference.b}
    given = {name: value for name, value in sides.items() if value is not ABSENT}
    return {"field": difference.field, **given}
