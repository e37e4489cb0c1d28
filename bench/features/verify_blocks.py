"""Verify stored features, whatever manifest they are of."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.features.block_file import DamagedBlockError, open_block
from bench.features.key import digest
from bench.features.store import block_notes, block_place
from bench.files import parse_json
from bench.types import Progress

_BLOCK = re.compile(r"block-(\d{6,})\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Counts of verified files, of older blocks without checksums, and damage by file."""

    files: int
    unsummed: int
    damaged: dict[Path, str]


def verify_features(
    home: Path, progress: Progress, *, keys: Collection[str] | None = None
) -> Verified:
    """Read every file of the stored features of a home, or of those with the given keys."""
    store = home / "features"
    folders = [path for path in sorted(store.glob("??/*")) if keys is None or path.name in keys]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    unsummed, damaged = 0, {}
    progress.start("verify stored features", len(files))
    try:
        for path in files:
            try:
                unsummed += not _is_verified(path, path.relative_to(store).parts[1])
            except DamagedBlockError as error:
                damaged[path] = str(error)
            progress.advance()
    finally:
        progress.stop()
    return Verified(files=len(files), unsummed=unsummed, damaged=damaged)


def _is_verified(path: Path, key: str) -> bool:
    """Return whether a file has checksums; raises `DamagedBlockError` if it is damaged."""
    if path.name == "facts.json":
        try:
            whole = digest(parse_json(path.read_text(encoding="utf-8"))) == key
        except (OSError, ValueError, RecursionError):
            whole = False
        if not whole:
            raise DamagedBlockError(
                f"{path} is damaged: these facts do not have the digest {key[:12]}."
            )
    if not (match := _BLOCK.fullmatch(path.name)):
        return True
    block = open_block(path, block_place(key, int(match[1])))
    block_notes(path, block)
    return block.is_summed
