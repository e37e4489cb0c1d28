"""What a verification says: a finding per check, and the verdict on one record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Answer = Literal["ok", "failed", "suspect", "unchecked"]
WORST_FIRST: tuple[Answer, ...] = ("failed", "suspect", "unchecked", "ok")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer of one named check; the sentence names the culprit.

    `failed` contradicts the record, `suspect` is a number that cannot be trusted although nothing
    contradicts it, `unchecked` lacks what the check needs.
    """

    check: str
    outcome: Answer
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All findings on the record file `path`; `record` is its id, or what its file is called."""

    record: str
    path: Path
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Answer:
        """The worst outcome of all checks."""
        return worst(finding.outcome for finding in self.findings)

    def having(self, outcome: Answer) -> list[Finding]:
        """Return the findings of one outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]


def worst(outcomes: Iterable[Answer]) -> Answer:
    """Return the worst of some outcomes, `ok` of none."""
    given = set(outcomes)
    return next((one for one in WORST_FIRST if one in given), "ok")
