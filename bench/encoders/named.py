"""How an encoder is named: `NAME`, `NAME:WEIGHTS`, or the path of weights alone.

A pretraining run keeps its evaluation folders in `RUN/encoders/step_XXXXXXXXX`; where RUN stands
for weights, the latest of them is meant.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from bench import registry
from bench.errors import UsageError

FOLDERS = "encoders"
STEP = re.compile(r"step_(\d+)")
BY_PATH = "vjepa"  # what opens weights that are named by their path alone


def name_and_weights(spec: str) -> tuple[str, str]:
    """Split the name of an encoder into its registered name and its weights ('' if none).

    Registered names win over files of that name.

    Raises:
        UsageError: a path where nothing is. An unknown name is left to the registry.
    """
    name, _, weights = spec.partition(":")
    if name in registry.names("encoders"):
        return name, latest_of_run(weights)
    if spec and Path(spec).exists():
        return BY_PATH, latest_of_run(spec)
    if any(mark in name for mark in "/\\"):
        raise UsageError(
            f"encoder {spec!r}: there is no such file or folder; correct the path, or name an"
            " encoder (see: bench ls encoders)."
        )
    return name, weights


def latest_of_run(weights: str) -> str:
    """Return the latest evaluation folder if `weights` is a pretraining run, else `weights`."""
    folders = encoder_folders(Path(weights)) if weights else []
    return str(folders[-1]) if folders else weights


def encoder_folders(run: Path) -> list[Path]:
    """Return the evaluation folders of a pretraining run in order of step; of others none."""
    found = [p for p in (run / FOLDERS).glob("step_*") if STEP.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def step_of_run(weights: str) -> tuple[str, str] | None:
    """Return the names of run and step if `weights` is an evaluation folder of a run."""
    path = PurePosixPath(weights.replace("\\", "/"))
    if STEP.fullmatch(path.name) and path.parent.name == FOLDERS and path.parent.parent.name:
        return path.parent.parent.name, path.name
    return None


def run_notes(weights: str) -> tuple[str, ...]:
    """Return a sentence for the record that says which step of which run `weights` are."""
    named = step_of_run(weights)
    if named is None:
        return ()
    run, step = named
    names = [folder.name for folder in encoder_folders(Path(weights).parent.parent)]
    if step not in names:
        return ()
    others = "the latest there" if names[-1] == step else f"where {names[-1]} is the latest"
    return (f"{step} of the pretraining run {run}, {others}",)
