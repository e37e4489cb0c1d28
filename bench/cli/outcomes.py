"""How a command prints its records, and the code it exits with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from bench.cli.console import echo

if TYPE_CHECKING:
    from bench.evaluate.evaluate import Outcome
    from bench.verify.findings import Verdict

FAILED, DOUBTFUL = 5, 3


@contextmanager
def printing(*, json_: bool) -> Iterator[list[Outcome]]:
    """Yield a list to collect records in, and print it at the end, even if a run fails.

    Runs that finished before a failure are on record, and are shown.
    """
    outcomes: list[Outcome] = []
    try:
        yield outcomes
    finally:
        print_outcomes(outcomes, json_=json_)


def print_outcomes(outcomes: Sequence[Outcome], *, json_: bool) -> None:
    """Print a table of records, why some are not complete, and their folder; or JSON lines."""
    from bench.cli.console import open_console
    from bench.records.metrics import SHORT_NAMES  # pydantic: only where needed

    if json_:
        for outcome in outcomes:
            echo(json.dumps(outcome.record.model_dump(mode="json")))
        return
    if not outcomes:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    names = {SHORT_NAMES[outcome.record.task.metric] for outcome in outcomes}
    number = f"{' or '.join(sorted(names))} %"
    for title in ("encoder", "task", "probe", number, "scored", "record"):
        table.add_column(title, justify="right" if title in (number, "scored") else "left")
    for outcome in outcomes:
        record = outcome.record
        unit = f" {SHORT_NAMES[record.task.metric]}" if len(names) > 1 else ""
        table.add_row(
            record.encoder.name,
            record.task.name,
            record.probe.name,
            f"{100 * record.headline:.2f}" + unit,
            str(record.metrics.scored),
            record.id + (" (kept)" if outcome.kept else ""),
        )
    open_console().print(table)
    print_reasons(outcomes)
    echo(f"records: {outcomes[0].path.parent}", err=True)


def print_reasons(outcomes: Sequence[Outcome]) -> None:
    """Print why records are not complete, each reason once."""
    reasons = {(o.record.status, reason) for o in outcomes for reason in o.record.reasons}
    for status, reason in sorted(reasons):
        echo(f"{status.replace('_', ' ')}: {reason}", err=True)


def any_unreportable(outcomes: Sequence[Outcome]) -> bool:
    """Whether a record is not reportable, suspect or not."""
    from bench.records.doubts import not_reportable  # pydantic: only where needed

    records = [outcome.record for outcome in outcomes]
    return any(
        r.status == "not_reportable" or not_reportable(r.config, r.environment) for r in records
    )


def exit_as_verified(outcomes: Sequence[Outcome], *, json_: bool) -> None:
    """Print what `bench verify` finds in the records and exit with its code.

    Their own reasons were printed with them, except as JSON lines.
    """
    from bench.publish.results_repository import verify_paths  # pyarrow: only where needed

    if not outcomes:
        return
    cache = outcomes[0].path.parents[1] / "cache"
    verdicts = verify_paths(list(dict.fromkeys(o.path for o in outcomes)), cache=cache)
    said = {reason for outcome in outcomes for reason in outcome.record.reasons if not json_}
    found: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        for one in verdict.findings:
            if one.outcome != "ok" and one.sentence not in said:
                named = f"record {verdict.record_id}: " if len(verdicts) > 1 else ""
                found.setdefault((one.outcome, one.check), []).append(f"{named}{one.sentence}")
    for (outcome, check), sentences in found.items():
        more = len(sentences) - 1
        rest = f" ({more} more like it: bench verify)" if more else ""
        echo(f"{outcome}: {check}: {sentences[0]}{rest}", err=True)
    exit_by(verdicts)


def exit_by(verdicts: Sequence[Verdict]) -> None:
    """Exit with code 5 if a record contradicts itself, 3 if one is suspect or not reportable."""
    statuses = {verdict.status for verdict in verdicts}
    recorded = {verdict.record.status for verdict in verdicts if verdict.record is not None}
    if "failed" in statuses:
        raise typer.Exit(FAILED)
    if "suspect" in statuses or recorded - {"complete"}:
        raise typer.Exit(DOUBTFUL)
