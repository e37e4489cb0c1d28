"""How the records of a command are printed, and the code it ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.table import Table

if TYPE_CHECKING:
    from bench.evaluate.evaluate import Outcome


@contextmanager
def printing(*, json_: bool) -> Iterator[list[Outcome]]:
    """Give a list to collect records in, and print them at the end, whether or not runs fail.

    What was finished before a failure is on record, and is shown.
    """
    outcomes: list[Outcome] = []
    try:
        yield outcomes
    finally:
        print_outcomes(outcomes, json_=json_)


def print_outcomes(outcomes: Sequence[Outcome], *, json_: bool) -> None:
    """Print a table of records, why some are not complete, and where they are; or JSON lines."""
    from bench.cli.console import open_console
    from bench.records.metrics import SHORT_NAMES  # pydantic: only where it is needed

    if json_:
        for outcome in outcomes:
            typer.echo(json.dumps(outcome.result.model_dump(mode="json")))
        return
    if not outcomes:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    names = {SHORT_NAMES[outcome.result.task.metric] for outcome in outcomes}
    number = f"{' or '.join(sorted(names))} %"
    for title in ("encoder", "task", "probe", number, "scored", "record"):
        table.add_column(title, justify="right" if title in (number, "scored") else "left")
    for outcome in outcomes:
        result = outcome.result
        told = f" {SHORT_NAMES[result.task.metric]}" if len(names) > 1 else ""
        table.add_row(
            result.encoder.name,
            result.task.name,
            result.probe.name,
            f"{100 * result.headline:.2f}" + told,
            str(result.metrics.scored),
            result.id + (" (kept)" if outcome.kept else ""),
        )
    open_console().print(table)
    print_reasons(outcomes)
    typer.echo(f"records: {outcomes[0].path.parent}", err=True)


def print_reasons(outcomes: Sequence[Outcome]) -> None:
    """Say why records are not complete, each reason once."""
    told = {(o.result.status, reason) for o in outcomes for reason in o.result.reasons}
    for status, reason in sorted(told):
        typer.echo(f"{status.replace('_', ' ')}: {reason}", err=True)


def exit_unless_complete(outcomes: Sequence[Outcome]) -> None:
    """End in code 3 where a record is not reportable."""
    if any(outcome.result.status != "complete" for outcome in outcomes):
        raise typer.Exit(3)
