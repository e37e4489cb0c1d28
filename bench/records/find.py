"""Find the record that a command line gives by file or id."""

from __future__ import annotations

import re
from pathlib import Path

from bench.config import home_folder
from bench.errors import UsageError

ID = re.compile(r"[0-9a-f]{16}")  # of a record, see bench/records/run_id.py


def record_file(name: str, home: Path | None = None) -> Path:
    """Return the `.json` file of a record: `name` is its path, or its id under `home`.

    Raises:
        UsageError: there is no such record.
    """
    path = Path(name)
    kept = home_folder(home) / "records" / f"{name}.json"
    if path.suffix != ".json" and kept.is_file():
        return kept
    if not path.is_file():
        raise UsageError(
            f"there is no record {name}; give its .json file, or an id in {kept.parent}."
        )
    return path
