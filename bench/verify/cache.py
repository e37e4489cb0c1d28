"""Findings on a record's own files, kept by the bytes of the files: a recount of AVA takes long."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bench.files import write_whole
from bench.records.run_id import plain
from bench.verify.findings import Finding
from bench.verify.own_words import Opened
from bench.verify.recount import Counted

CHECKED_BY = ("verify/*.py", "records/predictions.py", "records/box_predictions.py", "metrics/*.py")

Held = tuple[list[Finding], Counted]


def remembered(opened: Opened, cache: Path | None, check: Callable[[], Held]) -> Held:
    """Return what was found for the same bytes before; else check, and keep what is found."""
    if cache is None:
        return check()
    place = _place(opened, cache)
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there, or not whole
        own, _, text = place.read_text(encoding="utf-8").partition("\n")
        if own == _digest(text):
            fields = json.loads(text)
            findings = [Finding(**one) for one in fields["findings"]]
            return findings, Counted(**fields["counted"])
    findings, counted = check()
    fields = {"findings": [asdict(one) for one in findings], "counted": asdict(counted)}
    text = json.dumps(plain(fields))
    write_whole(place, f"{_digest(text)}\n{text}".encode())
    return findings, counted


def _place(opened: Opened, cache: Path) -> Path:
    facts = [_code(), opened.path.name, opened.raw, sorted(opened.files.items())]
    number = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache / "verified" / number[:2] / f"{number}.json"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Return a digest of the code that findings come from: after a change all is checked again."""
    root = Path(__file__).parent.parent
    files = sorted(path for pattern in CHECKED_BY for path in root.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
