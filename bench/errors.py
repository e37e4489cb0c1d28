"""Errors that a user can fix, each with its exit code, and what no message may show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

# An address: scheme, user and password, host and path, query, fragment. A path object drops one of
# the slashes, which only known schemes allow for.
_ADDRESS = re.compile(
    r"((?:\b(?:https?|s3|gs|ftps?):/{1,2}|\b[a-z][a-z0-9+.-]*://))([^\s/'\"<>]*@)?"
    r"([^\s?#'\"<>]*)(\?[^\s#'\"<>]*)?(#[^\s'\"<>]*)?",
    re.IGNORECASE,
)
# The same where the whole text is one address, whatever characters it has.
_ONE_ADDRESS = re.compile(
    r"([a-z][a-z0-9+.-]*://)([^/]*@)?([^?#]*)(\?[^#]*)?(#.*)?", re.IGNORECASE | re.DOTALL
)
_PIN = re.compile(r"#sha256=[0-9a-fA-F]+")
# What a terminal obeys: C0 and C1 but tab and line feed, marks that change the direction of text,
# line separators, and bytes of paths that are not UTF-8.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{30,}")


def without_secrets(text: str) -> str:
    """Return a text whose addresses have neither user, password, query nor fragment, but `...`.

    A fragment `#sha256=` is kept. Tokens of the hub become `hf_...`.
    """
    return _TOKEN.sub("hf_...", _ADDRESS.sub(_shown, text))


def shown_address(address: str) -> str:
    """Return an address without its secrets, like `without_secrets`."""
    return _ONE_ADDRESS.sub(_shown, address, count=1)


def _shown(found: re.Match[str]) -> str:
    scheme, user, place, query, fragment = found.groups()
    ending = ("?..." if query else "") + (
        fragment if _PIN.fullmatch(fragment or "") else "#..." if fragment else ""
    )
    return f"{scheme}{'...@' if user else ''}{place}{ending}"


def visible(text: str) -> str:
    """Return a text with control characters as escapes."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type name if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class BenchError(Exception):
    """A problem the user can fix: one sentence with the culprit, the reason and the next step.

    Its text has no secrets of addresses (`without_secrets`) and is printed without a traceback.
    `exit_code` is documented in the README: 1 failed, 2 usage or configuration, 3 not reportable,
    4 data check failed, 5 verification mismatch.
    """

    exit_code = 1

    def __str__(self) -> str:
        return without_secrets(super().__str__())


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
