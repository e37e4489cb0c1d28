"""Findings on a record's own files, kept by the bytes of the files: a recount of AVA takes long."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.files import write_whole
from bench.records.run_id import plain
from bench.verify.findings import Finding
from bench.verify.own_words import Opened
from bench.verify.recount import Counted

CHECKED_BY = ("verify/*.py", "records/predictions.py", "records/box_predictions.py", "metrics/*.py")

Held = tuple[Sequence[Finding], Counted]


def kept(opened: Opened, cache: Path | None) -> Held | None:
    """Return what was found for the same bytes before; None if nothing was."""
    if cache is None:
        return None
    try:
        own, _, text = _place(opened, cache).read_text(encoding="utf-8").partition("\n")
        if own != _digest(text):
            return None
        fields = json.loads(text)
        findings = [Finding(**one) for one in fields["findings"]]
        return findings, Counted(**fields["counted"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole: checked again
        return None


def keep(opened: Opened, held: Held, cache: Path | None) -> None:
    """Keep what was found for these bytes."""
    if cache is None:
        return
    findings, counted = held
    fields = {"findings": [asdict(one) for one in findings], "counted": asdict(counted)}
    text = json.dumps(plain(fields))
    write_whole(_place(opened, cache), f"{_digest(text)}\n{text}".encode())


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
