"""The commands that compute: run, features, encode and probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.console import echo
from bench.cli.options import (
    AllowCode,
    BatchSize,
    Config,
    Data,
    Device,
    Draws,
    Encoder,
    Home,
    Json,
    Limit,
    Names,
    OnUnreadable,
    Overwrite,
    Plan,
    Probes,
    Protocol,
    Seed,
    Sets,
    Tasks,
    Workers,
    configs_of,
    machine_of,
)
from bench.cli.outcomes import exit_as_verified, print_outcomes, printing


def run(
    config: Config = None,
    encoder: Encoder = None,
    task: Tasks = None,
    probe: Probes = None,
    protocol: Protocol = None,
    plan: Plan = None,
    seed: Seed = None,
    draws: Draws = None,
    limit: Limit = None,
    on_unreadable: OnUnreadable = None,
    set_: Sets = None,
    probe_weights: Annotated[
        Path | None, typer.Option(help="Score this released probe file unchanged.")
    ] = None,
    head_classes: Annotated[
        str | None,
        typer.Option(help="FILE with its class names in its order, or fit: learn the order."),
    ] = None,
    allow_code: AllowCode = False,
    home: Home = None,
    data: Data = None,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Evaluate encoders on tasks with probes: features, fit, score, one record per run."""
    from bench.cli.console import TerminalProgress
    from bench.evaluate.evaluate import evaluate, prepared_runs  # torch: only where needed

    given = {
        "encoder": encoder, "task": task, "probe": probe, "protocol": protocol, "plan": plan,
        "seed": seed, "draws": draws, "limit": limit, "on_unreadable": on_unreadable,
    }  # fmt: skip
    runs = prepared_runs(
        configs_of(config, given, set_, allow_code=allow_code),
        machine_of(home, data, device, workers, batch_size, overwrite=overwrite),
        TerminalProgress(),
        probe_weights=probe_weights,
        head_classes=head_classes,
    )
    with printing(json_=json_) as outcomes:
        outcomes.extend(evaluate(runs))
    exit_as_verified(outcomes, json_=json_)


def features(
    config: Config = None,
    encoder: Encoder = None,
    task: Tasks = None,
    reads: Annotated[str, typer.Option(help="vector, tokens or both: vector,tokens.")] = "vector",
    protocol: Protocol = None,
    plan: Plan = None,
    draws: Draws = None,
    limit: Limit = None,
    set_: Sets = None,
    allow_code: AllowCode = False,
    home: Home = None,
    data: Data = None,
    device: Device = "auto",
    workers: Workers = 2,
    batch_size: BatchSize = 8,
) -> None:
    """Extract and store the features of a task; if killed, run the same command to resume."""
    from bench.cli.console import TerminalProgress
    from bench.evaluate.evaluate import store_features  # torch: only where needed

    given = {
        "encoder": encoder, "task": task, "protocol": protocol, "plan": plan, "draws": draws,
        "limit": limit, "probe": "none", "features": "stored",
    }  # fmt: skip
    machine = machine_of(home, data, device, workers, batch_size)
    readouts = [part.strip() for part in reads.split(",")]
    for one in configs_of(config, given, set_, allow_code=allow_code):
        for folder in store_features(one, machine, readouts, TerminalProgress()):
            echo(str(folder))


def encode(
    encoder: Annotated[str, typer.Option("--encoder", "-m", help="NAME, NAME:WEIGHTS or a path.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz file to write.")],
    videos: Annotated[Path | None, typer.Option(help="A folder of videos or images.")] = None,
    list_: Annotated[
        Path | None, typer.Option("--list", help="File with one path per line.")
    ] = None,
    clips: Annotated[Path | None, typer.Option(help="An .npz with the array clip.")] = None,
    pool: Annotated[str, typer.Option(help="tokens, mean or frames.")] = "mean",
    plan: Annotated[str | None, typer.Option(help="Clips, such as 16x8x1@4.")] = None,
    set_: Sets = None,
    device: Device = "auto",
    workers: Workers = 2,
) -> None:
    """Write the features of any videos, images or clips to an .npz file."""
    from bench.cli.console import TerminalProgress
    from bench.evaluate.encode_files import encode_file  # torch: only where needed

    given = {"encoder": [encoder], "task": "none", "probe": "none", "plan": plan}
    [config] = configs_of(None, given, set_)
    sources = {"videos": videos, "list": list_, "clips": clips}
    shapes = encode_file(
        config, sources, out, pool=pool, device=device, workers=workers, progress=TerminalProgress()
    )
    for name, shape in shapes.items():
        echo(f"{name} {shape}")


def probe(
    train: Annotated[Path, typer.Option(help="An .npz with x [N,D] or [N,L,D] and y [N].")],
    score: Annotated[Path, typer.Option(help="An .npz with x and y to score on.")],
    probe: Annotated[str, typer.Option("--probe", "-p", help="See: bench ls probes.")] = "linear",
    protocol: Annotated[str, typer.Option(help="See: bench ls protocols.")] = "honest@1",
    seed: Annotated[int, typer.Option(help="Seed of the probe and the row order.")] = 0,
    set_: Annotated[Names, typer.Option("--set", help="OPTION=VALUE, such as k=[10,20].")] = None,
    home: Home = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Fit a probe on features from elsewhere, print the scores and write a record."""
    from bench.cli.console import TerminalProgress
    from bench.evaluate.from_arrays import probe_arrays  # torch: only where needed

    prefixes = ("probe.", "on_permuted_labels=")
    settings = [s if s.startswith(prefixes) else f"probe.{s}" for s in set_ or []]
    given = {
        "encoder": ["none"], "task": "none", "probe": probe, "protocol": protocol, "seed": seed,
    }  # fmt: skip
    [config] = configs_of(None, given, settings)
    machine = machine_of(home, None, device, 0, 1)
    outcomes = [probe_arrays(config, machine, train, score, TerminalProgress())]
    print_outcomes(outcomes, json_=json_)
    exit_as_verified(outcomes, json_=json_)
