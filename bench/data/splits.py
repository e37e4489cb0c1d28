"""Parts of a training split, of each class or of whole videos: low shots and held-out tenths.

The order within a class comes from SHA-256 and not from the random generator of a library, so
that the same rows are drawn on every platform and with every version. V-JEPA (arXiv:2404.08471,
table 7) draws 5, 10 and 50 % three times without saying how; ours are stratified and nested.
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
    """One draw of a split: the rows of every class that occurs, in the order they are taken in.

    Whatever is taken is the beginning of each class, so that parts of one draw are nested. Where
    rows come in groups, `group` int64 `[rows]` is the number of each row's, and the only class
    holds numbers of groups.
    """

    classes: Sequence[IntArray]
    group: IntArray | None = None

    def fraction(self, fraction: float) -> IntArray:
        """Return the sorted rows of a class-stratified fraction, int64 `[rows drawn]`.

        Of a class with n rows (or of n groups) the first max(1, round(fraction * n)) are taken,
        halves rounded up: no class is lost.

        Raises:
            UsageError: a fraction outside of (0, 1].
        """
        share = _share(fraction)
        taken = [rows[: max(1, _round_half_up(share * len(rows)))] for rows in self.classes]
        if self.group is not None:
            return np.flatnonzero(np.isin(self.group, taken[0]))
        return _sorted(taken)

    def shots(self, shots: int) -> IntArray:
        """Return the sorted rows of so many `shots` a class, int64 `[rows drawn]`.

        A class with fewer rows gives all that it has.

        Raises:
            UsageError: fewer than one shot.
        """
        check_shots(shots)
        assert self.group is None, "groups have no class"
        return _sorted([rows[:shots] for rows in self.classes])


def permuted(labels: IntArray, *, draw: int, ids: Sequence[str] | None = None) -> Permutation:
    """Return draw number `draw` of rows with these labels.

    The permutation of a class follows SHA-256 of (draw, class, rank), the rank being the place
    within the class in order of `ids`, or of the rows without them.

    Raises:
        UsageError: a negative draw.
    """
    check_draw(draw)
    return Permutation(classes=_shuffled_classes(labels, f"fraction {draw}", ids))


def permuted_groups(group: IntArray, names: Sequence[str], *, draw: int) -> Permutation:
    """Return draw number `draw` of the groups `group` (int64 `[rows]`, numbers into `names`).

    Groups that have rows are taken in the order of SHA-256 of (draw, name): that of two groups
    depends on no other.

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


def stratified_fraction(
    labels: IntArray, fraction: float, *, draw: int, ids: Sequence[str] | None = None
) -> IntArray:
    """Return the sorted row numbers of a class-stratified fraction, int64 `[rows drawn]`.

    Smaller fractions of a draw lie within larger ones; see `permuted` and `Permutation.fraction`.

    Raises:
        UsageError: a fraction outside of (0, 1] or a negative draw.
    """
    return permuted(labels, draw=draw, ids=ids).fraction(fraction)


def stratified_shots(
    labels: IntArray, shots: int, *, draw: int, ids: Sequence[str] | None = None
) -> IntArray:
    """Return the sorted row numbers of so many `shots` a class, int64 `[rows drawn]`.

    Shots of a draw lie within more shots of it, and within every fraction that takes as many of
    each class; see `permuted` and `Permutation.shots`.

    Raises:
        UsageError: fewer than one shot or a negative draw.
    """
    return permuted(labels, draw=draw, ids=ids).shots(shots)


def stratified_holdout(
    labels: IntArray, *, fraction: float = 0.1, seed: int
) -> tuple[IntArray, IntArray]:
    """Return (kept rows, held-out rows), both sorted, int64; together they are all rows.

    Of a class with n rows max(1, round(fraction * n)) are held out, halves rounded up, but never
    all of them: a class with one row keeps it, and a class with two or more has at least one row
    on either side. So nothing is held out if every class has a single row.

    Raises:
        UsageError: a fraction outside of (0, 1].
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
    the first in the order of SHA-256 of (seed, rank). Nothing is held out of a single group.

    Raises:
        UsageError: a fraction outside of (0, 1].
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
    """Return the rows of each class that occurs, in the order of the hash of their rank."""
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
    """Raise `UsageError` for a number that is none of a draw."""
    if draw < 0:
        raise UsageError(f"draw {draw}: draws are numbered from 0.")


def check_shots(shots: int) -> None:
    """Raise `UsageError` for fewer than one shot."""
    if shots < 1:
        raise UsageError(f"shots {shots}: at least 1 training row a class is needed.")


def check_fraction(fraction: float) -> None:
    """Raise `UsageError` for a fraction outside of (0, 1]."""
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction {fraction}: it should be above 0 and at most 1 (5 % is 0.05).")


def _share(fraction: float) -> Fraction:
    """Return the decimal number that the user wrote, without its binary rounding."""
    check_fraction(fraction)
    return Fraction(str(float(fraction)))


def _round_half_up(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


def _sorted(parts: Sequence[IntArray]) -> IntArray:
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))
