"""Encoder names: `NAME`, `NAME:WEIGHTS`, or just the path of weights.

The part after the colon is the option `weights`, or `model` for families that take their models
from a library (`timm:MODEL`, also written `timm/MODEL`). `py:MODULE:FUNCTION` names the function
that builds the encoder.

A pretraining run keeps its evaluation folders in `RUN/encoders/step_XXXXXXXXX`; RUN used as weights
means the latest of them.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath

from bench import registry
from bench.errors import UsageError, closest

FOLDERS = "encoders"
STEP = re.compile(r"step_(\d+)")
BY_PATH = "vjepa"  # opens weights that are named by their path alone
TIMM = "timm/"
OWN = "py"


def name_and_weights(spec: str) -> tuple[str, str]:
    """Split an encoder name into its registered name and its weights ('' if none).

    A registered name takes precedence over a file of the same name.

    Raises:
        UsageError: a path that does not exist. Unknown names are left to the registry.
    """
    name, _, weights = spec.partition(":")
    if name.startswith(TIMM) and not Path(spec).exists():
        name, weights = TIMM[:-1], spec.removeprefix(TIMM)
    if name in registry.names("encoders"):
        return name, latest_of_run(weights)
    if spec and Path(spec).exists():
        return BY_PATH, latest_of_run(spec)
    if any(mark in name for mark in "/\\"):
        raise UsageError(
            f"encoder {spec!r}: there is no such file; correct the path, or see bench ls encoders."
        )
    return name, weights


def builder(name: str, weights: str) -> tuple[registry.Entry, dict[str, str]]:
    """Return the registry entry of an encoder name, and `weights` as one of its options.

    Raises:
        UsageError: an unknown name, or a user-defined function that cannot be imported.
    """
    if name == OWN and weights:
        return own_function(weights), {}
    entry = registry.find("encoders", name)
    return entry, {("model" if "model" in entry.options else "weights"): weights} if weights else {}


def own_function(path: str) -> registry.Entry:
    """Return the registry entry for the function `MODULE:FUNCTION`.

    Raises:
        UsageError: no such module or function, or one that takes positional arguments.
    """
    module, _, function = path.partition(":")
    if not module or not function or not module.replace(".", "").isidentifier():
        raise UsageError(
            f"encoder 'py:{path}': write py:MODULE:FUNCTION, for example py:my_lab.encoders:resnet."
        )
    registry.load_extension(module)
    members = vars(sys.modules[module])
    found = members.get(function)
    if not callable(found):
        raise UsageError(
            f"encoder 'py:{path}': {module} has no function {function!r}."
            f"{closest(function, [name for name, value in members.items() if callable(value)])}"
        )
    entry = registry.Entry(kind="encoders", name=f"{OWN}:{path}", function=found)
    wrong = [p.name for p in entry.options.values() if p.kind is not p.KEYWORD_ONLY]
    if wrong:
        raise UsageError(
            f"encoder 'py:{path}': {', '.join(wrong)} must be keyword-only to be set by --set"
            f" encoder.OPTION; write def {function}(*, ...)."
        )
    return entry


def latest_of_run(weights: str) -> str:
    """Return the latest evaluation folder if `weights` is a pretraining run, else `weights`."""
    folders = encoder_folders(Path(weights)) if weights else []
    return str(folders[-1]) if folders else weights


def encoder_folders(run: Path) -> list[Path]:
    """Return the evaluation folders of a pretraining run by step; empty for any other folder."""
    found = [p for p in (run / FOLDERS).glob("step_*") if STEP.fullmatch(p.name) and p.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def step_of_run(weights: str) -> tuple[str, str] | None:
    """Return the names of run and step if `weights` is an evaluation folder, else None."""
    path = PurePosixPath(weights.replace("\\", "/"))
    if STEP.fullmatch(path.name) and path.parent.name == FOLDERS and path.parent.parent.name:
        return path.parent.parent.name, path.name
    return None


def run_notes(weights: str) -> tuple[str, ...]:
    """Return a note for the record: which step of which pretraining run `weights` are."""
    named = step_of_run(weights)
    if named is None:
        return ()
    run, step = named
    names = [folder.name for folder in encoder_folders(Path(weights).parent.parent)]
    if step not in names:
        return ()
    others = "the latest there" if names[-1] == step else f"where {names[-1]} is the latest"
    return (f"{step} of the pretraining run {run}, {others}",)
