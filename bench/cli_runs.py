"""The commands that compute: run, features, encode, probe and demo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from bench.cli_boards import print_board
from bench.config import Machine, RunConfig, data_folder, expand, home_folder, read_config
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.run import Outcome

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


def run(
    config: Config = None,
    encoder: Encoder = None,
    task: Tasks = None,
    probe: Probes = None,
    protocol: Protocol = None,
    plan: Plan = None,
    seed: Seed = None,
    draws: Annotated[int | None, typer.Option(help="Stored augmented draws a sample.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-L", help="Rows a split; marked.")
    ] = None,
    on_unreadable: OnUnreadable = None,
    set_: Sets = None,
    probe_weights: Annotated[
        Path | None, typer.Option(help="Score this released probe file as it is.")
    ] = None,
    head_classes: Annotated[
        str | None,
        typer.Option(help="Its class names in its order (FILE), or fit: learn it in training."),
    ] = None,
    home: Home = None,
    data: Data = None,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Evaluate encoders on tasks with probes: features, fit, score, one record a run."""
    given = {
        "encoder": encoder, "task": task, "probe": probe, "protocol": protocol, "plan": plan,
        "seed": seed, "draws": draws, "limit": limit, "on_unreadable": on_unreadable,
    }  # fmt: skip
    machine = _machine(home, data, device, workers, batch_size, overwrite=overwrite)
    outcomes = _run(
        _configs(config, given, set_),
        machine,
        json_=json_,
        probe_weights=probe_weights,
        head_classes=head_classes,
    )
    _leave(outcomes)


def features(
    config: Config = None,
    encoder: Encoder = None,
    task: Tasks = None,
    reads: Annotated[str, typer.Option(help="vector, tokens or both: vector,tokens.")] = "vector",
    protocol: Protocol = None,
    plan: Plan = None,
    draws: Annotated[int | None, typer.Option(help="Stored augmented draws a sample.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-L", help="Rows a split.")] = None,
    set_: Sets = None,
    home: Home = None,
    data: Data = None,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
) -> None:
    """Extract and store the features of a task; can be killed and goes on where it was."""
    from bench.console import TerminalProgress
    from bench.run import store_features  # torch: only where it is needed

    given = {
        "encoder": encoder, "task": task, "protocol": protocol, "plan": plan, "draws": draws,
        "limit": limit, "probe": "none", "features": "stored",
    }  # fmt: skip
    machine = _machine(home, data, device, workers, batch_size)
    wanted = [part.strip() for part in reads.split(",")]
    for one in _configs(config, given, set_):
        for folder in store_features(one, machine, wanted, TerminalProgress()):
            typer.echo(str(folder))


def encode(
    encoder: Annotated[str, typer.Option("--encoder", "-m", help="NAME, NAME:WEIGHTS or a path.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.")],
    videos: Annotated[Path | None, typer.Option(help="A folder of videos or images.")] = None,
    list_: Annotated[Path | None, typer.Option("--list", help="A file with a path a line.")] = None,
    clips: Annotated[Path | None, typer.Option(help="An .npz with the array clip.")] = None,
    pool: Annotated[str, typer.Option(help="tokens, mean or frames.")] = "mean",
    plan: Annotated[str | None, typer.Option(help="Clips, such as 16x8x1@4.")] = None,
    set_: Sets = None,
    device: Device = "auto",
    workers: Workers = 2,
) -> None:
    """Write the features of anybody's videos, images or clips to an .npz file."""
    from bench.console import TerminalProgress
    from bench.encode import encode_file  # torch: only where it is needed

    given = {"encoder": [encoder], "task": "none", "probe": "none", "plan": plan}
    [config] = _configs(None, given, set_)
    sources = {"videos": videos, "list": list_, "clips": clips}
    shapes = encode_file(
        config, sources, out, pool=pool, device=device, workers=workers, progress=TerminalProgress()
    )
    for name, shape in shapes.items():
        typer.echo(f"{name} {shape}")


def probe(
    train: Annotated[Path, typer.Option(help="An .npz with x [N,D] or [N,L,D] and y [N].")],
    score: Annotated[Path, typer.Option(help="An .npz with x and y to score on.")],
    probe: Annotated[str, typer.Option("--probe", "-p", help="See: bench ls probes.")] = "linear",
    protocol: Annotated[str, typer.Option(help="See: bench ls protocols.")] = "honest@1",
    seed: Annotated[int, typer.Option(help="Seed of the probe and of the order.")] = 0,
    set_: Annotated[Names, typer.Option("--set", help="OPTION=VALUE, such as k=[10,20].")] = None,
    home: Home = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Fit a probe on features from elsewhere, print the scores and write a record."""
    from bench.array_probe import probe_arrays  # torch: only where it is needed
    from bench.console import TerminalProgress

    own = ("probe.", "on_permuted_labels=")
    settings = [s if s.startswith(own) else f"probe.{s}" for s in set_ or []]
    given = {
        "encoder": ["none"], "task": "none", "probe": probe, "protocol": protocol, "seed": seed,
    }  # fmt: skip
    [config] = _configs(None, given, settings)
    machine = _machine(home, None, device, 0, 1)
    outcomes = [probe_arrays(config, machine, train, score, TerminalProgress())]
    _print(outcomes, json_=json_)
    _leave(outcomes)


def demo(
    home: Home = None,
    size: Annotated[str, typer.Option(help="full, or small for a first look.")] = "full",
    workers: Workers = 2,
) -> None:
    """Render the embedded data set, pretrain for a minute, compare encoders, study few labels."""
    from bench import demo as job  # torch: only where it is needed
    from bench.console import TerminalProgress
    from bench.lowshot import study
    from bench.pretrain.loop import pretrain

    machine = _machine(home or Path(".demo"), None, "auto", workers, 16)
    trained = pretrain(job.demo_pretraining(machine.home, size))
    typer.echo(f"Pretrained for a minute, to show how; nothing is claimed of {trained}\n", err=True)
    _run(job.demo_configs(machine.home, size), machine, json_=False)
    # Records of their own: their splits are smaller, and columns do not mix splits.
    families = replace(machine, home=machine.home / "families")
    _run(job.demo_families(machine.home), families, json_=False)
    fractions, draws = job.LOW_SHOT_FRACTIONS[size], job.LOW_SHOT_DRAWS
    few = job.demo_study(machine.home, size)
    for _ in study(few, machine, TerminalProgress(), fractions=fractions, draws=draws):
        pass  # every one is a record now
    for board, home, options in (
        (job.LOW_SHOT_BOARD, machine.home, {}),
        (job.FAMILY_BOARD, families.home, {"probe": job.FAMILY_PROBE}),
        (job.BOARD, machine.home, {}),
    ):
        typer.echo()
        made = print_board(board, home, include_all=True, options=options)
        typer.echo(f"The same as a page: {next(p for p in made.paths if p.suffix == '.html')}")


def _run(
    configs: list[RunConfig],
    machine: Machine,
    *,
    json_: bool,
    probe_weights: Path | None = None,
    head_classes: str | None = None,
) -> list[Outcome]:
    from bench.console import TerminalProgress
    from bench.run import evaluate  # torch: only where it is needed

    outcomes: list[Outcome] = []
    try:
        for outcome in evaluate(
            configs,
            machine,
            TerminalProgress(),
            probe_weights=probe_weights,
            head_classes=head_classes,
        ):
            outcomes.append(outcome)
    finally:  # what was finished before a failure is on record, and is shown
        _print(outcomes, json_=json_)
    return outcomes


def _print(outcomes: list[Outcome], *, json_: bool) -> None:
    from bench.console import open_console
    from bench.result_metrics import SHORT_NAMES  # pydantic: only where it is needed

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
    _tell_reasons(outcomes)
    typer.echo(f"records: {outcomes[0].path.parent}", err=True)


def _tell_reasons(outcomes: Sequence[Outcome]) -> None:
    """Say why records are not complete, each reason once."""
    told = {(o.result.status, reason) for o in outcomes for reason in o.result.reasons}
    for status, reason in sorted(told):
        typer.echo(f"{status.replace('_', ' ')}: {reason}", err=True)


def _leave(outcomes: list[Outcome]) -> None:
    """End in code 3 where a record is not reportable."""
    if any(outcome.result.status != "complete" for outcome in outcomes):
        raise typer.Exit(3)


def _configs(path: Path | None, given: dict[str, Any], settings: Names) -> list[RunConfig]:
    values = read_config(path) if path is not None else {}
    values.update({key: value for key, value in given.items() if value is not None})
    return expand(values, settings or [])


def _machine(
    home: Path | None,
    data: Path | None,
    device: str,
    workers: int,
    batch_size: int,
    *,
    overwrite: bool = False,
) -> Machine:
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
