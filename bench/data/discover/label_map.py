"""Label maps: class names by index, and how users spell them in folders and lists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.data.discover.annotations import unquote


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelMap:
    """Class names by index; `aliases` are further spellings of a class by its index.

    `source` says where the order comes from (a file that ships with the project, or the user's).
    """

    names: Sequence[str]
    source: str
    aliases: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 over the names in order."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def index(self, label: str) -> int | None:
        """Return the index of a class however its name is spelled, None if it is no class.

        Quotes around it, underscores for blanks, upper and lower case, brackets and other signs
        make no difference, as long as no other class would be meant.
        """
        for spell in (_exact, _plain, _bare):
            found = self._spelled[spell].get(spell(label))
            if found is not None:
                return found
        return None

    @cached_property
    def _spelled(self) -> Mapping[object, Mapping[str, int]]:
        return {spell: self._by_spelling(spell) for spell in (_exact, _plain, _bare)}

    def _by_spelling(self, spell: object) -> Mapping[str, int]:
        assert callable(spell)
        found: dict[str, int] = {}
        doubtful = set()
        for name, index in [*self.aliases.items(), *((n, i) for i, n in enumerate(self.names))]:
            key = spell(name)
            if found.setdefault(key, index) != index:
                doubtful.add(key)
        return {key: index for key, index in found.items() if key not in doubtful}


def _exact(name: str) -> str:
    return unquote(name.strip())


def _plain(name: str) -> str:
    return " ".join(_exact(name).replace("_", " ").split()).casefold()


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", _exact(name)).casefold()
