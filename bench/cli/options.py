"""Options that several commands share, and how they are parsed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.config import Machine, RunConfig, data_folder, expand, home_folder, read_config
from bench.errors import UsageError

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
Draws = Annotated[int | None, typer.Option(help="Stored augmented draws per sample.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-L", help="Rows per split; the record is marked not reportable."),
]
OnUnreadable = Annotated[str | None, typer.Option(help="stop, wrong or skip.")]
Overwrite = Annotated[bool, typer.Option(help="Run again even if a record exists.")]
Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of features and records [BENCH_HOME].")
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the data sets [BENCH_DATA].")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:0.")]
Workers = Annotated[int, typer.Option("--workers", "-j", help="Decoding processes.")]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", help="Samples per read-ahead batch.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path | None, typer.Argument(help="A TOML file, or a record to run again.")]
TableFolder = Annotated[Path | None, typer.Option("--out", help="Folder for the table.")]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", help="Let the file name an encoder that runs code (py:, torchhub:)."
    ),
]
All = Annotated[bool, typer.Option("--all", help="Include records that are not reportable.")]


def configs_of(
    path: Path | None, given: Mapping[str, Any], settings: Names, *, allow_code: bool = False
) -> list[RunConfig]:
    """Return what to run: the file, overridden by the given options, then by `--set`."""
    typed = {key: value for key, value in given.items() if value is not None}
    values = {}
    if path is not None:
        replaced = (*typed, *(setting.partition("=")[0].strip() for setting in settings or []))
        values = read_config(path, allow_code=allow_code, replaced=replaced)
    values.update(typed)
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
    """Return where to run; folders that are not given come from the environment.

    Raises:
        UsageError: an impossible number of processes or samples.
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
