"""Remember the splits of a data set once found, for `bench data add`.

<home>/data/<task>/dataset.json, <split>.parquet      see bench/data/discover/remembered.py
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.config import Machine
from bench.data.discover.remembered import DESCRIPTION, add, added_root, read_added, read_facts
from bench.data.manifest import Manifest
from bench.data.media.media import FILE, MediaColumn
from bench.errors import UsageError
from bench.launch.work_claims import sweep
from bench.preflight.check_task import task_of


def add_data(name: str, root: Path, settings: Sequence[str], home: Path) -> dict[str, Any]:
    """Find both splits of task `name` below `root`, remember them, and describe them.

    Splits added earlier from the same root (UCF101 has three pairs) are kept.

    Raises:
        UsageError: no such task, or one that makes its own data.
        DataError: nothing below `root` can be read as this data set.
    """
    sweep(home)
    task = task_of(name, settings, Machine(home=home, data=root.absolute()))
    manifests = {m.split: m for m in (task.fit.root, task.score.root)}
    if not all(isinstance(m.media, MediaColumn) and m.layout for m in manifests.values()):
        raise UsageError(
            f"task {name!r} is not a published data set, so there is nothing to find; give its"
            " folder with --data DIR, or set BENCH_DATA."
        )
    folder = home / "data" / name
    if (folder / DESCRIPTION).is_file() and added_root(folder) == root.absolute():
        manifests = {**read_added(folder), **manifests}
    add(manifests, folder, root=root.absolute())
    return _facts(folder, manifests)


def added_data(home: Path) -> list[dict[str, Any]]:
    """Describe every data set that was added.

    Raises:
        DataError: a description cannot be read.
    """
    folders = sorted(path.parent for path in (home / "data").glob(f"*/{DESCRIPTION}"))
    return [_facts(folder, {}) for folder in folders]


def _facts(folder: Path, manifests: dict[str, Manifest]) -> dict[str, Any]:
    """Describe the splits; `manifests`, just read, also by their number of missing files."""
    facts = read_facts(folder)
    described: dict[str, Any] = {"task": folder.name, "root": facts["root"]}
    for split, part in facts["splits"].items():
        copies = [name for name, rows in part["copies"].items() if rows == part["rows"]]
        published = f", {part['expected']:,} published" if part["expected"] is not None else ""
        words = [f"{part['rows']:,} rows{published}", part["layout"], f"from {part['source']}"]
        words += [f"the {copies[0]} copy"] if copies else []
        words += [f"{len(part['excluded']):,} excluded by rule"] if part["excluded"] else []
        if split in manifests:
            words.append(f"{_absent(manifests[split]):,} without a file")
        described[split] = "; ".join(words)
    return described


def _absent(manifest: Manifest) -> int:
    """Count listed rows without a file; those in archives were checked by the scan."""
    column = manifest.media
    assert isinstance(column, MediaColumn)
    root = f"{column.root}/"
    plain = np.flatnonzero(column.form == FILE).tolist()
    return sum(not os.path.exists(root + column.names[row]) for row in plain)  # noqa: PTH110
