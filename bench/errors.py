"""Errors that a user can fix, each with its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class BenchError(Exception):
    """A problem the user can fix: one sentence with the culprit, the reason and the next step.

    It is printed without a traceback. `exit_code` is documented in the README: 1 failed, 2 usage or
    configuration, 3 not reportable, 4 data check failed, 5 verification mismatch.
    """

    exit_code = 1


class UsageError(BenchError):
    """An invalid name, option or configuration."""

    exit_code = 2


class DataError(BenchError):
    """Annotation files or media that are missing, unreadable or contradictory."""

    exit_code = 4


class CheckpointError(BenchError):
    """A weight file that does not completely match the requested network."""

    exit_code = 2


class UnreadableMedia(DataError):  # noqa: N818 (it names a state of the file, not of the program)
    """One video or image that cannot be decoded; the message names the file and the reason."""


class MissingMedia(UnreadableMedia):
    """One video or image that is missing: no such file, folder or archive."""


def closest(word: str, candidates: Iterable[str]) -> str:
    """Return ` Did you mean X?` (with a leading space) for a near match, else the whole list."""
    names = sorted(candidates)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    return f" Known: {', '.join(names)}." if names else ""


def known(kind: str, name: str, names: Sequence[str]) -> str:
    """Return `name` if it is one of `names`, else raise `UsageError` with the closest match."""
    if name in names:
        return name
    raise UsageError(f"unknown {kind} {name!r}.{closest(name, names)}")
