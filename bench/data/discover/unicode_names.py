"""Names that are one name in two Unicode forms: macOS stores them decomposed, lists rarely do."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path


def composed(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), in which names are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def as_on_disk(base: Path, names: Sequence[str]) -> list[str]:
    """Return names below `base` in the Unicode form that they have on disk, if they are there.

    Only names that are not ASCII are looked up, and only folders of those not found are listed.
    """
    listed: dict[str, dict[str, str]] = {}

    def found(path: str) -> str:
        if path.isascii() or os.path.lexists(path):
            return path
        folder, name = os.path.split(path)
        folder = found(folder)
        if folder not in listed:
            there = os.listdir(folder) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208
            listed[folder] = {composed(one): one for one in there}
        return os.path.join(folder, listed[folder].get(composed(name), name))  # noqa: PTH118

    def spelled(name: str) -> str:
        path = name if name.isascii() else found(f"{base}/{name}")
        is_there = path is not name and os.path.lexists(path)
        return path.removeprefix(f"{base}/") if is_there else name

    return [spelled(name) for name in names]
