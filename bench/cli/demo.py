"""The command `bench demo`: the whole workflow on embedded data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.board import print_board
from bench.cli.console import echo
from bench.cli.options import Home, Workers, machine_of
from bench.cli.outcomes import printing


def demo(
    home: Home = None,
    size: Annotated[str, typer.Option(help="full, or small for a first look.")] = "full",
    workers: Workers = 2,
) -> None:
    """Render the embedded data set, pretrain for a minute, compare encoders, try few labels."""
    from bench.cli.console import TerminalProgress
    from bench.evaluate.evaluate import evaluate, prepared_runs
    from bench.pretrain.loop import pretrain
    from bench.studies import demo_runs as job  # torch: only where needed
    from bench.studies.low_shot_study import study

    machine = machine_of(home or Path(".demo"), None, "auto", workers, 16)
    trained = pretrain(job.demo_pretraining(machine.home, size))
    echo(f"Pretrained for a minute, just to show how: {trained}\n", err=True)
    # In a home of their own: their splits are smaller, and columns do not mix splits.
    families = replace(machine, home=machine.home / "families")
    for configs, where in (
        (job.demo_configs(machine.home, size), machine),
        (job.demo_families(machine.home), families),
    ):
        with printing(json_=False) as outcomes:
            outcomes.extend(evaluate(prepared_runs(configs, where, TerminalProgress())))
    fractions, draws = job.LOW_SHOT_FRACTIONS[size], job.LOW_SHOT_DRAWS
    few = job.demo_study(machine.home, size)
    for _ in study(few, machine, TerminalProgress(), fractions=fractions, draws=draws):
        pass  # each is now on record
    for board, home, options in (
        (job.LOW_SHOT_BOARD, machine.home, {}),
        (job.FAMILY_BOARD, families.home, {"probe": job.FAMILY_PROBE}),
        (job.BOARD, machine.home, {}),
    ):
        echo()
        made = print_board(board, home, include_all=True, options=options)
        echo(f"The same as a page: {next(p for p in made.paths if p.suffix == '.html')}")
