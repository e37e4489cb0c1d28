"""What a verification says: a finding per check, and the verdict on one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.records.record import Record

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
    result: Record | None = None

    @property
    def status(self) -> Answer:
        """The worst outcome of all checks."""
        outcomes = (finding.outcome for finding in self.findings)
        return min(outcomes, key=WORST_FIRST.index, default="ok")

    def having(self, outcome: Answer) -> list[Finding]:
        """Return the findings of one outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]

    def reasons(self, outcome: Answer) -> list[str]:
        """Return what the findings of one outcome say, to be put into a longer sentence."""
        return [finding.sentence.rstrip(".") for finding in self.having(outcome)]


def finding(outcome: Answer, check: str, sentence: str) -> Finding:
    """Return what a check found."""
    return Finding(check=check, outcome=outcome, sentence=sentence)


ok = partial(finding, "ok")
failed = partial(finding, "failed")
suspect = partial(finding, "suspect")
unchecked = partial(finding, "unchecked")


def all_of(check: str, problems: Sequence[str], fine: str) -> Finding:
    """Return one finding: failed with the first three problems, else fine."""
    if not problems:
        return ok(check, fine)
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return failed(check, "; ".join(problems[:3]) + more)
