"""Probes as sweeps of heads: every combination of the listed settings, first axis outermost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from bench.errors import UsageError
from bench.types import Fitted, Head, Reads


@dataclass(frozen=True, kw_only=True)
class SweptProbe:
    """The common base of probes: the heads of a sweep, and no published file layout by default."""

    heads: tuple[Head, ...]
    name: str
    reads: Reads

    def only(self, index: int) -> Self:
        """Return the same probe with the head `heads[index]` alone."""
        return replace(self, heads=(self.heads[index],))

    def read_released(self, path: Path) -> Fitted:
        """Raise `UsageError`: there is no published layout of such a probe."""
        raise UsageError(f"{path}: probe {self.name!r} has no published file layout; fit it.")


def grid(probe: str, **axes: Sequence[Any]) -> tuple[Head, ...]:
    """Return one head per combination, in the given order of values.

    Raises:
        UsageError: an axis is empty, or has a duplicate or negative value.
    """
    for name, values in axes.items():
        if not values:
            raise UsageError(f"probe {probe!r}: {name} is empty; give at least one value.")
        for value in values:
            if not math.isfinite(value) or value < 0:
                raise UsageError(f"probe {probe!r}: {name} {value!r} must be a number, at least 0.")
        if len(set(values)) < len(values):
            raise UsageError(
                f"probe {probe!r}: {name} {tuple(values)} has a value twice; equal heads cannot be"
                " distinguished, so remove one."
            )
    return tuple(
        Head(settings=dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
    )


def at_least(probe: str, smallest: float, **settings: float | None) -> None:
    """Check that every setting other than None is at least `smallest`.

    Raises:
        UsageError: a setting is smaller, or not a number.
    """
    for name, value in settings.items():
        if value is not None and not value >= smallest:
            raise UsageError(f"probe {probe!r}: {name} {value!r} must be at least {smallest:g}.")


def above_zero(probe: str, **settings: Sequence[float] | float | None) -> None:
    """Check that every setting other than None is positive.

    Raises:
        UsageError: a setting is zero or less, or not a number.
    """
    for name, given in settings.items():
        values = given if isinstance(given, Sequence) else () if given is None else (given,)
        for value in values:
            if not value > 0:
                raise UsageError(f"probe {probe!r}: {name} {value!r} must be above 0.")
