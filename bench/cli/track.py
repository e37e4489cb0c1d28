"""The command that evaluates the encoders of a pretraining run: `bench track`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bench.cli.console import echo
from bench.cli.options import (
    BatchSize,
    Data,
    Device,
    Home,
    Json,
    Limit,
    Plan,
    Probes,
    Protocol,
    Sets,
    Tasks,
    Workers,
    machine_of,
)
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.studies.track_encoders import TrackRow


def track(
    run_folder: Annotated[Path, typer.Argument(help="The folder of a pretraining run.")],
    task: Tasks = None,
    probe: Probes = None,
    protocol: Protocol = None,
    plan: Plan = None,
    seed: Annotated[int | None, typer.Option(help="Seed of probes and row order.")] = None,
    limit: Limit = None,
    steps: Annotated[
        str | None, typer.Option(help="Only these steps, separated by commas.")
    ] = None,
    every: Annotated[int, typer.Option(help="Minimum number of steps between encoders.")] = 1,
    set_: Sets = None,
    home: Home = None,
    data: Data = None,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
    json_: Json = False,
) -> None:
    """Evaluate the encoders that a pretraining run saved; write track.csv and track.png into it."""
    from bench.cli.console import TerminalProgress
    from bench.studies.track_encoders import track as follow  # torch: only where needed

    given = {
        "task": task, "probe": probe, "protocol": protocol, "plan": plan, "seed": seed,
        "limit": limit,
    }  # fmt: skip
    made = follow(
        run_folder,
        {key: value for key, value in given.items() if value is not None},
        machine_of(home, data, device, workers, batch_size),
        TerminalProgress(),
        settings=set_ or [],
        steps=_numbers(steps),
        every=every,
    )
    if json_:
        for row in made.rows:
            echo(json.dumps(asdict(row)))
    else:
        _print(made.rows)
    echo(str(made.table), err=True)
    echo(str(made.plot), err=True)
    if any(record.status != "complete" for record in made.results):
        for reason in sorted({r for record in made.results for r in record.reasons}):
            echo(f"not reportable: {reason}", err=True)
        raise typer.Exit(3)


def _print(rows: Sequence[TrackRow]) -> None:
    """Print one line per step and one column per task and probe."""
    from bench.cli.console import open_console

    columns = list(dict.fromkeys((row.task, row.probe) for row in rows))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("step", *(f"{task} {probe} %" for task, probe in columns)):
        table.add_column(title, justify="right")
    for step in dict.fromkeys(row.step for row in rows):
        found = {(row.task, row.probe): row.value for row in rows if row.step == step}
        table.add_row(str(step), *(f"{100 * found[column]:.2f}" for column in columns))
    open_console().print(table)


def _numbers(text: str | None) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise UsageError(f"--steps {text!r}: write whole numbers, such as 1000,2000.") from error
