"""Options that several commands share, and what they are read as."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.config import Machine, RunConfig, data_folder, expand, home_folder, read_config
from bench.errors import UsageError

if TYPE_CHECKING:
    pass


Names = list[str] | None


Encoder = Annotated[
    Names, typer.Option("--encoder", "-m", help="NAME, NAME:WEIGHTS or a path; repeatable.")
]


Tasks = Annotated[Names, typer.Option("--task", "-t", help="Names, separated by commas.")]


Probes = Annotated[Names, typer.Option("--probe", "-p", help="Names, separated by commas.")]


Sets = Annotated[
    Names, typer.Option("--set", help="KEY=VALUE, such as probe.epochs=5; repeatable.")
]


Protocol = Annotated[str | None, typer.Option(help="See: bench ls protocols.")]


Plan = Annotated[str | None, typer.Option(help="Clips, such as 16x8x3@4.")]


Seed = Annotated[int | None, typer.Option(help="Seed of probes, order and augmentation.")]


OnUnreadable = Annotated[str | None, typer.Option(help="stop, wrong or skip.")]


Overwrite = Annotated[bool, typer.Option(help="Run again though a record exists.")]


Home = Annotated[Path | None, typer.Option("--home", help="Features and records [BENCH_HOME].")]


Data = Annotated[Path | None, typer.Option("--data", help="Where the data sets are [BENCH_DATA].")]


Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:0.")]


Workers = Annotated[int, typer.Option("--workers", "-j", help="Processes that decode.")]


BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Samples read ahead at a time.")]


Json = Annotated[bool, typer.Option("--json", help="Print JSON lines for machines.")]


Config = Annotated[Path | None, typer.Argument(help="A TOML file, or a record to run again.")]


def configs_of(path: Path | None, given: Mapping[str, Any], settings: Names) -> list[RunConfig]:
    """Return what to run: the file, options that were given over it, and `--set` over both."""
    values = read_config(path) if path is not None else {}
    values.update({key: value for key, value in given.items() if value is not None})
    return expand(values, settings or [])


def machine_of(
    home: Path | None,
    data: Path | None,
    device: str,
    workers: int,
    batch_size: int,
    *,
    overwrite: bool = False,
) -> Machine:
    """Return where to run; the folders are those given or of the environment.

    Raises:
        UsageError: a number of processes or of samples that cannot be.
    """
    if workers < 0 or batch_size < 1:
        raise UsageError("--workers must be at least 0 and --batch-size at least 1.")
    return Machine(
        home=home_folder(home),
        data=data_folder(data),
        device=device,
        workers=workers,
        batch_size=batch_size,
        overwrite=overwrite,
    )
