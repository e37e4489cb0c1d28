"""The command that trains an encoder: `bench pretrain`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench import registry
from bench.cli.console import echo
from bench.cli.options import Device, Names, Workers
from bench.config import data_folder
from bench.errors import UsageError


def pretrain(
    recipe: Annotated[str, typer.Argument(help="See: bench ls recipes.")],
    lists: Annotated[
        Names,
        typer.Option("--data", help="LIST, FOLDER or task:NAME, each with =WEIGHT; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the run [pretrained/RECIPE].")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the folder's checkpoint.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order, crops and masks.")] = 0,
    set_: Annotated[
        Names, typer.Option("--set", help="KEY=VALUE of the recipe, such as lr=1e-3; repeatable.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Stop after this step; schedules do not change.")
    ] = None,
    watch: Annotated[
        str | None, typer.Option(help="Probe the encoder on this task's training rows on the way.")
    ] = None,
    watch_every: Annotated[int, typer.Option(help="Steps between measurements.")] = 500,
    log_every: Annotated[int, typer.Option(help="Steps between log entries.")] = 20,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    encoder_every: Annotated[int | None, typer.Option(help="Steps between saved encoders.")] = None,
    device: Device = "auto",
    engine: Annotated[str, typer.Option(help="auto, plain, ddp or fsdp2.")] = "auto",
    accumulate: Annotated[int, typer.Option(help="Backward passes per step and process.")] = 1,
    workers: Workers = 2,
    keep_decoded: Annotated[
        float, typer.Option(help="Memory in GB to cache decoded videos of small data sets.")
    ] = 0.0,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile every block.")] = False,
    checkpoint_activations: Annotated[
        bool, typer.Option(help="Compute blocks twice to save memory.")
    ] = False,
    gpus: Annotated[
        int | None, typer.Option(help="Number of processes here, one per GPU (or on the CPU).")
    ] = None,
    slurm: Annotated[
        str | None,
        typer.Option(help="Submit: nodes=2,gpus=8,hours=72,partition=NAME (needs submitit)."),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets [BENCH_DATA].")
    ] = None,
) -> None:
    """Pretrain a V-JEPA encoder; if killed, run the same command with --resume to continue."""
    from bench.launch.here_or_torchrun import launch, parse_slurm  # only where needed

    slurm_options = parse_slurm(slurm) if slurm else None
    from bench.pretrain.job import PretrainJob  # torch: only where needed
    from bench.pretrain.loop import pretrain as train
    from bench.pretrain.observer import UNREADABLE_FILE, read_unreadable
    from bench.pretrain.recipe import with_settings

    if not lists:
        raise UsageError(
            "pretraining needs videos: give one or more lists with --data, such as --data"
            " videos.txt or --data task:moving_digits_what."
        )
    job = PretrainJob(
        recipe=with_settings(registry.build("recipes", recipe, {}), set_ or []),
        lists=tuple(lists),
        out=out or Path("pretrained") / recipe,
        seed=seed,
        data=data_folder(data_root),
        stop_after=steps,
        resume=resume,
        save_every=save_every,
        encoder_every=encoder_every,
        log_every=log_every,
        watch=watch,
        watch_every=watch_every,
        device=device,
        engine=engine,  # type: ignore[arg-type]
        accumulate=accumulate,
        workers=workers,
        keep_decoded_gb=keep_decoded,
        compile_blocks=compile_,
        checkpoint_activations=checkpoint_activations,
    )
    # Only after the job is built, so that its errors are reported once, not by every process.
    if (gpus is not None or slurm_options) and "RANK" not in os.environ:
        raise typer.Exit(launch(sys.argv[1:], gpus=gpus, slurm=slurm_options))
    folder = train(job)
    if os.environ.get("RANK", "0") == "0":
        if unreadable := read_unreadable(job.out):
            echo(
                f"{len(unreadable)} files could not be read and were replaced by others; they are"
                f" listed in {job.out / UNREADABLE_FILE}",
                err=True,
            )
        echo(str(folder))
