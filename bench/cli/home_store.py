"""The commands about what the home folder holds: `bench store verify` and `bench store sweep`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bench.cli.console import echo
from bench.cli.options import Home, Json
from bench.config import home_folder
from bench.launch.work_claims import sweep as sweep_home

app = typer.Typer(help="Stored features: find damage, remove what killed commands left.")
DAMAGED = 5


@app.command()
def verify(
    repair: Annotated[
        bool, typer.Option(help="Delete damaged files, to be computed again when needed.")
    ] = False,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Read all stored features and report damaged files; exit code 5 if one is left.

    Predictions and probes are verified with their records: bench verify.
    """
    from bench.cli.console import TerminalProgress
    from bench.features.verify_blocks import verify_features  # torch

    found = verify_features(home_folder(home), TerminalProgress())
    for path in found.damaged if repair else ():
        path.unlink()
    if json_:
        damaged = {str(path): reason for path, reason in found.damaged.items()}
        facts = {"files": found.files, "not_checksummed": found.unsummed, "damaged": damaged}
        echo(json.dumps({**facts, "repaired": repair}, indent=1))
    else:
        for reason in found.damaged.values():
            echo(reason)
        echo(
            f"{found.files} files: {len(found.damaged)} damaged{' (deleted)' if repair else ''},"
            f" {found.unsummed} not checksummed (of an earlier version)"
        )
    if found.damaged and not repair:
        raise typer.Exit(DAMAGED)


@app.command()
def sweep(home: Home = None) -> None:
    """Remove what killed commands left in the home folder; running ones keep theirs.

    Broken downloads of weights, which a command would go on with, are removed as well.
    """
    from bench.encoders.weights.download import remove_broken  # not needed to start

    folder = home_folder(home)
    removed = sweep_home(folder) + remove_broken(folder / "weights", days=0)
    echo(f"{removed} leftovers removed")
