"""The command `bench speed`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from bench.cli.console import echo
from bench.cli.options import Device, Home, Json, Sets, configs_of
from bench.config import home_folder


def speed(
    encoder: Annotated[str, typer.Argument(help="NAME, NAME:WEIGHTS or a path.")],
    set_: Sets = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", help="Clips per call [the encoder's].")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Timed calls, after three to warm up.")] = 20,
    home: Home = None,
    json_: Json = False,
) -> None:
    """Measure the clips per second of an encoder by itself, and keep them for tables."""
    from bench.cli.console import TerminalProgress
    from bench.evaluate.encoder_speed import measure_speed  # torch: only where needed
    from bench.records.speeds import keep_speed

    [config] = configs_of(None, {"encoder": [encoder], "task": "none", "probe": "none"}, set_)
    found = measure_speed(
        config.encoder,
        config.encoder_options,
        device=device,
        precision=precision,
        batch=batch_size,
        repeats=repeats,
        progress=TerminalProgress(),
    )
    path = keep_speed(home_folder(home), found)
    if json_:
        echo(json.dumps(asdict(found), indent=1))
        return
    work = f", {found.gflops:,.1f} GFLOPs per clip" if found.gflops else ""
    echo(
        f"{found.encoder}: {found.median:,.2f} clips/s ({found.lowest:,.2f} to {found.highest:,.2f}"
        f" in {found.repeats} calls; {found.place}){work}"
    )
    echo(f"kept in {path}")
