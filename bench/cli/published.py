"""The commands on papers' numbers and on missing runs of boards: published and fill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bench import registry
from bench.cli.board import leave, options_of, print_files, print_paths
from bench.cli.console import TerminalProgress, echo, open_console
from bench.cli.options import (
    BatchSize,
    Data,
    Device,
    Encoder,
    Home,
    Json,
    TableFolder,
    Workers,
    machine_of,
)
from bench.cli.outcomes import any_unreportable, exit_as_verified, printing
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.config import Machine
    from bench.evaluate.evaluate import Outcome
    from bench.publish.leaderboard import Leaderboard, PublishedNumber
    from bench.publish.missing_runs import Failure, PlannedRun
    from bench.studies.fill_board import Todo

FAILED = 1
BOARD_PREFIX = "board."
TITLES = {
    "resolution": "px", "params_m": "params M", "pretrain_data": "data", "samples_seen_m": "seen M",
    "train_fraction": "labels",
}  # fmt: skip
RIGHT = ("px", "params M", "seen M", "labels", "value")


def published(
    task: Annotated[str | None, typer.Option("--task", "-t", help="Such as k400.")] = None,
    method: Annotated[str | None, typer.Option(help="Part of the name, such as V-JEPA.")] = None,
    source: Annotated[str | None, typer.Option(help="A paper (see: bench ls papers).")] = None,
    table: Annotated[str | None, typer.Option(help="Such as 6.")] = None,
    probe: Annotated[
        str | None, typer.Option("--probe", "-p", help="In the paper's words, such as finetune.")
    ] = None,
    json_: Json = False,
) -> None:
    """Search the published numbers (in percent, as printed), each with its source and table."""
    from bench.publish.paper_numbers import published_numbers, search

    found = search(
        published_numbers(), method=method, task=task, source=source, table=table, probe=probe
    )
    if json_:
        for number in found:
            echo(json.dumps(asdict(number)))
        return
    _print_numbers(found)
    echo(f"{len(found)} published numbers, in % as printed", err=True)


def fill(
    board: Annotated[str, typer.Argument(help="Which table (see: bench ls boards).")],
    encoder: Encoder = None,
    draws: Annotated[int, typer.Option(help="Random draws per share of the labels.")] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands of the missing runs only.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="As for bench run; board.OPTION=VALUE sets a table's option."),
    ] = None,
    home: Home = None,
    data: Data = None,
    out: TableFolder = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Show records that are not reportable in the table.")
    ] = False,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
    json_: Json = False,
) -> None:
    """Run what an encoder is missing in the columns of a board, and write the board.

    Runs on record are not repeated; a run that fails is reported and does not stop the others.
    """
    if not encoder:
        raise UsageError("no encoder is named; give --encoder NAME (see: bench ls encoders).")
    machine = machine_of(home, data, device, workers, batch_size)
    of_board = [setting for setting in set_ or [] if setting.startswith(BOARD_PREFIX)]
    options = options_of(of_board, BOARD_PREFIX)
    chosen: Leaderboard = registry.build("boards", board, options)
    settings = [setting for setting in set_ or [] if setting not in of_board]

    from bench.publish.missing_runs import command
    from bench.publish.write_board import require_board, write_board  # torch: only where needed
    from bench.studies.fill_board import todo

    require_board(board, chosen)
    left = todo(chosen, encoder, settings, machine, draws=draws, is_dry=dry_run)
    _print_summary(chosen, left)
    if dry_run:
        places = {"--data": data, "--home": home}
        more = [word for flag, path in places.items() if path for word in (flag, str(path))]
        for one in left.runs:
            line = command(one.config, more)
            echo(json.dumps({"columns": one.columns, "command": line}) if json_ else line)
        _leave_failed(left.failures)
        return
    outcomes, failures = _fill(left.runs, machine, json_=json_)
    failures = [*left.failures, *failures]
    include_all = all_ or any_unreportable(outcomes)
    made = write_board(board, machine.home, out, include_all=include_all, options=options)
    if json_:
        print_paths(made)
    else:
        print_files(made)
    _leave_failed(failures)
    leave(made)
    exit_as_verified(outcomes, json_=json_)


def _fill(
    runs: Sequence[PlannedRun], machine: Machine, *, json_: bool
) -> tuple[list[Outcome], list[Failure]]:
    """Execute the runs and print their records."""
    from bench.publish.missing_runs import Failure
    from bench.studies.fill_board import fill as make  # torch: only where needed

    failures: list[Failure] = []
    with printing(json_=json_) as outcomes:
        for made in make(runs, machine, TerminalProgress()):
            if isinstance(made, Failure):
                failures.append(made)
            else:
                outcomes.append(made)
    return outcomes, failures


def _print_summary(board: Leaderboard, left: Todo) -> None:
    """Print which columns cannot be measured here, and how many runs are on record or missing."""
    from bench.publish.missing_runs import why_not_here

    reasons: dict[str, list[str]] = {}
    for column in board.columns:
        if reason := why_not_here(column):
            reasons.setdefault(reason, []).append(column.title)
    for reason, titles in reasons.items():
        echo(f"published only: {', '.join(titles)} ({reason})", err=True)
    echo(f"{left.num_on_record} runs on record, {len(left.runs)} missing", err=True)


def _leave_failed(failures: Sequence[Failure]) -> None:
    """Print which runs failed and why, each reason once; exit with code 1 if any did."""
    columns: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        columns.setdefault((failure.encoder, failure.reason), []).extend(failure.columns)
    for (encoder, reason), titles in columns.items():
        named = ", ".join(dict.fromkeys(titles))
        echo(f"cannot run {named} of {encoder}: {reason}", err=True)
    if failures:
        raise typer.Exit(FAILED)


def _print_numbers(numbers: Sequence[PublishedNumber]) -> None:
    """Print one line per number; empty columns are left out."""
    lines = []
    for n in numbers:
        std = "" if n.std is None else f" ± {n.std:.1f}"
        facts = {
            **asdict(n),
            "resolution": n.resolution or "",
            "params_m": "" if n.params_m is None else f"{n.params_m:g}",
            "train_fraction": f"{100 * n.train_fraction:g} %",
            "value": f"{n.value:.1f}{std}",
            "std": "",
        }
        lines.append({TITLES.get(name, name): str(fact) for name, fact in facts.items()})
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    titles = [title for title in lines[0] if any(line[title] for line in lines)]
    for title in titles:
        table.add_column(title, justify="right" if title in RIGHT else "left", no_wrap=True)
    for line in lines:
        table.add_row(*(line[title] for title in titles))
    open_console().print(table)
