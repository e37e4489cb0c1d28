"""Label maps: class names by index, and how users spell them in folders and lists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.data.discover.annotations import unquote
from bench.data.discover.unicode_names import composed


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMap:
    """Class names by index; `aliases` maps further spellings to the class index.

    `source` is where the order comes from (a file that ships with the project, or the user's). With
    `are_ids`, integer labels are names, never indices.
    """

    names: Sequence[str]
    source: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    are_ids: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 over the names in order."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def index(self, label: str) -> int | None:
        """Return the index of a class however its name is spelled, None if it is not a class.

        Quotes around it, underscores for blanks, case, brackets and other signs are ignored, as
        long as the result is unambiguous.
        """
        for spell, spelled in self._spelled.items():
            found = spelled.get(spell(label))
            if found is not None:
                return found
        return None

    @cached_property
    def _spelled(self) -> Mapping[Callable[[str], str], Mapping[str, int]]:
        """Indices by spelling, strictest first, without spellings that several classes share."""
        every = [*self.aliases.items(), *((name, index) for index, name in enumerate(self.names))]
        spelled: dict[Callable[[str], str], Mapping[str, int]] = {}
        for spell in (_exact, _plain, _bare):
            found: dict[str, set[int]] = {}
            for name, index in every:
                found.setdefault(spell(name), set()).add(index)
            spelled[spell] = {key: min(of) for key, of in found.items() if len(of) == 1}
        return spelled


def _exact(name: str) -> str:
    return composed(unquote(name.strip()))


def _plain(name: str) -> str:
    return " ".join(_exact(name).replace("_", " ").split()).casefold()


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", _exact(name)).casefold()
