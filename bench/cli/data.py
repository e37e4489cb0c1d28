"""The commands that inspect data sets: `bench data add`, `bench data ls` and `bench check`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench.cli.console import echo
from bench.cli.options import Data, Home, Json, Workers
from bench.config import Machine, data_folder, home_folder
from bench.files import is_read_only

app = typer.Typer(help="Data sets on this machine: detect their layout once, list them.")

Sets = Annotated[list[str] | None, typer.Option("--set", help="OPTION=VALUE of the task.")]


@app.command()
def add(
    task: Annotated[str, typer.Argument(help="Which data set (see: bench ls tasks).")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    set_: Sets = None,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Detect, print and remember the layout of a data set in ROOT: later runs need no --data."""
    from bench.preflight.add_data import add_data  # reads annotation files: only where needed

    facts = add_data(task, root, set_ or [], home_folder(home))
    if json_:
        echo(json.dumps(facts, indent=1))
    else:
        _show(facts)


@app.command("ls")
def list_(home: Home = None, json_: Json = False) -> None:
    """List the data sets that were added."""
    from bench.preflight.add_data import added_data  # as above

    every = added_data(home_folder(home))
    if json_:
        echo(json.dumps(every, indent=1))
    for facts in [] if json_ else every:
        _show(facts)


def check(
    task: str,
    data: Data = None,
    set_: Sets = None,
    plan: Annotated[str | None, typer.Option(help="Frames to decode, such as 8x1x1@4.")] = None,
    workers: Workers = 2,
    deadline: Annotated[float, typer.Option(help="Time limit per file in seconds.")] = 60.0,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Count listed, missing and undecodable samples of a task, before any GPU time is spent.

    Nothing is deleted. The report is written as JSON and Markdown below the home folder; if killed,
    run the same command to resume.
    """
    from bench.cli.console import TerminalProgress
    from bench.preflight.check_task import check_task, write_reports  # the decoders

    machine = Machine(home=home_folder(home), data=data_folder(data), workers=workers)
    reports = check_task(task, set_ or [], machine, TerminalProgress(), plan=plan, seconds=deadline)
    if json_:
        echo(json.dumps({n: r.as_dict() for n, r in reports.items()}, indent=1, default=str))
    for name, report in reports.items():
        _print(f"{task} {name}", report.as_table_rows(), to_stderr=json_)
    if is_read_only(machine.home):
        echo(f"{machine.home} is read-only: the report is not kept", err=True)
    else:
        for path in write_reports(reports, machine.home / "checks"):
            echo(str(path), err=True)
    if any(report.problems for report in reports.values()):
        raise typer.Exit(4)


def _show(facts: Mapping[str, object]) -> None:
    _print(str(facts["task"]), [(key, str(facts[key])) for key in facts if key != "task"])


def _print(title: str, rows: Sequence[tuple[str, str]], *, to_stderr: bool = False) -> None:
    """Print (name, value) rows; long values wrap, nothing is truncated."""
    from bench.cli.console import open_console

    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    open_console(to_stderr=to_stderr).print(table)
