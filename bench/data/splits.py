"""Subsets of a training split, per class or of whole videos: low-shot draws and holdouts.

The order within a class comes from SHA-256 rather than a library's random generator, so that the
same rows are drawn on every platform and with every version. V-JEPA (arXiv:2404.08471, table 7)
draws 5, 10 and 50 % three times without saying how; ours are stratified and nested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from bench.errors import UsageError
from bench.types import IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Permutation:
    """One draw of a split: the rows of every class that occurs, in drawing order.

    Every subset takes the first rows of each class, so that subsets of one draw are nested. If rows
    come in groups, `group` int64 `[rows]` is each row's group number, and the only class holds
    group numbers.
    """

    classes: Sequence[IntArray]
    group: IntArray | None = None

    def fraction(self, fraction: float) -> IntArray:
        """Return the sorted rows of a class-stratified fraction, int64 `[rows drawn]`.

        From a class with n rows (or from n groups) the first max(1, round(fraction * n)) are taken,
        halves rounded up: no class is lost.

        Raises:
            UsageError: a fraction outside (0, 1].
        """
        share = _share(fraction)
        taken = [rows[: max(1, _round_half_up(share * len(rows)))] for rows in self.classes]
        if self.group is not None:
            return np.flatnonzero(np.isin(self.group, taken[0]))
        return _sorted(taken)

    def shots(self, shots: int) -> IntArray:
        """Return the sorted rows of `shots` per class, int64 `[rows drawn]`.

        A class with fewer rows contributes all of them. Shots are contained in every larger number
        of shots, and in every fraction that takes at least as many of each class.

        Raises:
            UsageError: fewer than one shot.
        """
        check_shots(shots)
        assert self.group is None, "groups have no classes"
        return _sorted([rows[:shots] for rows in self.classes])


def permuted(labels: IntArray, *, draw: int, ids: Sequence[str] | None = None) -> Permutation:
    """Return draw number `draw` of rows with these labels.

    The permutation of a class follows SHA-256 of (draw, class, rank), where rank is the position
    within the class in order of `ids`, or of the rows if there are none.

    Raises:
        UsageError: a negative draw.
    """
    check_draw(draw)
    return Permutation(classes=_shuffled_classes(labels, f"fraction {draw}", ids))


def permuted_groups(group: IntArray, names: Sequence[str], *, draw: int) -> Permutation:
    """Return draw number `draw` of the groups `group` (int64 `[rows]`, indices into `names`).

    Groups that have rows are ordered by SHA-256 of (draw, name), so the order of two groups does
    not depend on any other.

    Raises:
        UsageError: a negative draw.
    """
    check_draw(draw)
    hashes = {
        number: hashlib.sha256(f"group {draw} {names[number]}".encode()).digest()
        for number in np.unique(group).tolist()
    }
    order = np.array(sorted(hashes, key=hashes.__getitem__), dtype=np.int64)
    return Permutation(classes=[order], group=group)


def stratified_holdout(
    labels: IntArray, *, fraction: float = 0.1, seed: int
) -> tuple[IntArray, IntArray]:
    """Return (kept rows, held-out rows), both sorted, int64; together they are all rows.

    From a class with n rows max(1, round(fraction * n)) are held out, halves rounded up, but never
    all of them: a class with one row keeps it, and a class with two or more has at least one row
    on either side. If every class has a single row, nothing is held out.

    Raises:
        UsageError: a fraction outside (0, 1].
    """
    share = _share(fraction)
    kept, held_out = [], []
    for members in _shuffled_classes(labels, f"holdout {seed}", None):
        count = min(len(members) - 1, max(1, _round_half_up(share * len(members))))
        held_out.append(members[:count])
        kept.append(members[count:])
    return _sorted(kept), _sorted(held_out)


def group_holdout(
    groups: IntArray, *, fraction: float = 0.1, seed: int
) -> tuple[IntArray, IntArray]:
    """Return (kept rows, held-out rows), both sorted, int64; no group has rows on both sides.

    Of n groups max(1, round(fraction * n)) are held out, halves rounded up, but never all of them:
    the first in the order of SHA-256 of (seed, rank). A single group is kept.

    Raises:
        UsageError: a fraction outside (0, 1].
    """
    share = _share(fraction)
    present, rank = np.unique(groups, return_inverse=True)
    n = len(present)
    hashes = [hashlib.sha256(b"holdout %d group %d" % (seed, r)).digest() for r in range(n)]
    count = min(n - 1, max(1, _round_half_up(share * n)))
    is_out = np.zeros(n, dtype=np.bool_)
    is_out[sorted(range(n), key=hashes.__getitem__)[: max(0, count)]] = True
    return np.flatnonzero(~is_out[rank]), np.flatnonzero(is_out[rank])


def _shuffled_classes(labels: IntArray, purpose: str, ids: Sequence[str] | None) -> list[IntArray]:
    """Return the rows of each class that occurs, ordered by the hash of their rank."""
    order = np.arange(len(labels), dtype=np.int64)
    if ids is not None:
        order = np.array(sorted(range(len(labels)), key=ids.__getitem__), dtype=np.int64)
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    shuffled = []
    for members in np.split(order, starts[1:]) if len(order) else []:
        prefix = f"{purpose} {labels[members[0]]} ".encode()
        hashes = [hashlib.sha256(prefix + b"%d" % rank).digest() for rank in range(len(members))]
        ranks = sorted(range(len(members)), key=hashes.__getitem__)
        shuffled.append(members[ranks])
    return shuffled


def check_draw(draw: int) -> None:
    """Raise `UsageError` for a negative draw."""
    if draw < 0:
        raise UsageError(f"draw {draw}: draws are numbered from 0.")


def check_shots(shots: int) -> None:
    """Raise `UsageError` for fewer than one shot."""
    if shots < 1:
        raise UsageError(f"shots {shots}: at least 1 training row per class is needed.")


def check_fraction(fraction: float) -> None:
    """Raise `UsageError` for a fraction outside (0, 1]."""
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction {fraction}: it should be above 0 and at most 1 (5 % is 0.05).")


def _share(fraction: float) -> Fraction:
    """Return the decimal number that the user wrote, without binary rounding."""
    check_fraction(fraction)
    return Fraction(str(float(fraction)))


def _round_half_up(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


def _sorted(parts: Sequence[IntArray]) -> IntArray:
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
