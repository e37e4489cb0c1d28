"""The output of a verification: one finding per check, and the verdict on a record."""

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
    """The outcome of one named check; the sentence names the culprit.

    `failed` contradicts the record, `suspect` means that its number cannot be trusted although
    nothing contradicts it, `unchecked` that something needed for the check is missing.
    """

    check: str
    outcome: Answer
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All findings on the record file `path`; `record` is None if it cannot be read.

    `record_id` is its id, or the stem of the file name if it has none.
    """

    record_id: str
    path: Path
    findings: tuple[Finding, ...]
    record: Record | None = None

    @property
    def status(self) -> Answer:
        """The worst outcome of all checks."""
        outcomes = (finding.outcome for finding in self.findings)
        return min(outcomes, key=WORST_FIRST.index, default="ok")

    def having(self, outcome: Answer) -> list[Finding]:
        """Return the findings of one outcome."""
        return [finding for finding in self.findings if finding.outcome == outcome]

    def reasons(self, outcome: Answer) -> list[str]:
        """Return the sentences of the findings of one outcome, without full stops."""
        return [finding.sentence.rstrip(".") for finding in self.having(outcome)]


def finding(outcome: Answer, check: str, sentence: str) -> Finding:
    """Return the finding of a check; see the partial functions below."""
    return Finding(check=check, outcome=outcome, sentence=sentence)


ok = partial(finding, "ok")
failed = partial(finding, "failed")
suspect = partial(finding, "suspect")
unchecked = partial(finding, "unchecked")


def all_of(check: str, problems: Sequence[str], fine: str) -> Finding:
    """Return one finding: failed with the first three problems, ok if there are none."""
    if not problems:
        return ok(check, fine)
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return failed(check, "; ".join(problems[:3]) + more)
