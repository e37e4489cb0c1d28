"""Cache of the findings on a record's own files, keyed by their bytes: a recount of AVA is slow."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bench.files import parse_json, remember
from bench.records.run_id import plain
from bench.verify.findings import Finding
from bench.verify.own_words import Opened
from bench.verify.recount import Counted

CHECKED_BY = ("verify/*.py", "records/predictions.py", "records/box_predictions.py", "metrics/*.py")

Checked = tuple[list[Finding], Counted]


def cached(opened: Opened, cache: Path | None, check: Callable[[], Checked]) -> Checked:
    """Return the cached findings for the same bytes, else check and cache."""
    if cache is None:
        return check()
    facts = [_code(), opened.path.name, opened.raw, sorted(opened.files.items())]
    key = _digest(json.dumps(facts, sort_keys=True))
    place = cache / "verified" / key[:2] / f"{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # missing or damaged
        stored, _, text = place.read_text(encoding="utf-8").partition("\n")
        if stored == _digest(text):
            fields = parse_json(text)
            findings = [Finding(**one) for one in fields["findings"]]
            return findings, Counted(**fields["counted"])
    findings, counted = check()
    fields = {"findings": [asdict(one) for one in findings], "counted": asdict(counted)}
    text = json.dumps(plain(fields))
    remember(place, f"{_digest(text)}\n{text}".encode())
    return findings, counted


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Return a digest of the checking code, whose changes invalidate the cache."""
    root = Path(__file__).parent.parent
    files = sorted(path for pattern in CHECKED_BY for path in root.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
