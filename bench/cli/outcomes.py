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


def exit_unless_complete(outcomes: Sequence[Outcome]) -> None:
    """Exit with code 3 if a record is not complete."""
    if any(outcome.record.status != "complete" for outcome in outcomes):
        raise typer.Exit(3)
