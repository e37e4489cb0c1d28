"""What a verification says: a finding per check, and the verdict on one record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.records.record import Result

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
    """All findings on the record file `path`; `record` is its id, or what its file is called.

    `result` is the record itself, None where it cannot be read.
    """

    record: str
    path: Path
    findings: tuple[Finding, ...]
    result: Result | None = None

    @property
    def status(self) -> Answer:
        """The worst outcome of all checks."""
        return worst(finding.outcome for finding in self.findings)

    def having(self, outcome: Answer) -> list[Finding]:
        """Return the findings of one outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]


def ok(check: str, sentence: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, outcome="ok", sentence=sentence)


def failed(check: str, sentence: str) -> Finding:
    """Return a finding that contradicts the record."""
    return Finding(check=check, outcome="failed", sentence=sentence)


def suspect(check: str, sentence: str) -> Finding:
    """Return a finding for which a number cannot be trusted."""
    return Finding(check=check, outcome="suspect", sentence=sentence)


def unchecked(check: str, sentence: str) -> Finding:
    """Return a finding that something is missing for a check."""
    return Finding(check=check, outcome="unchecked", sentence=sentence)


def all_of(check: str, problems: Sequence[str], fine: str) -> Finding:
    """Return one finding: failed with the first three problems, else fine."""
    if not problems:
        return ok(check, fine)
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return failed(check, "; ".join(problems[:3]) + more)


def worst(outcomes: Iterable[Answer]) -> Answer:
    """Return the worst of some outcomes, `ok` of none."""
    given = set(outcomes)
    return next((one for one in WORST_FIRST if one in given), "ok")
