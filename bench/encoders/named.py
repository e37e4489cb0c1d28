"""How an encoder is named: `NAME`, `NAME:WEIGHTS`, or the path of weights alone.

What stands after the colon is the option `weights`, or the option `model` of a family that takes
its models from a library (`timm:MODEL`, which may be written `timm/MODEL`); of `py:MODULE:FUNCTION`
it names the function that builds the encoder.

A pretraining run keeps its evaluation folders in `RUN/encoders/step_XXXXXXXXX`; where RUN stands
for weights, the latest of them is meant.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath

from bench import registry
from bench.errors import UsageError, closest

FOLDERS = "encoders"
STEP = re.compile(r"step_(\d+)")
BY_PATH = "vjepa"  # what opens weights that are named by their path alone
TIMM = "timm/"
OWN = "py"


def name_and_weights(spec: str) -> tuple[str, str]:
    """Split the name of an encoder into its registered name and its weights ('' if none).

    Registered names win over files of that name.

    Raises:
        UsageError: a path where nothing is. An unknown name is left to the registry.
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
            f"encoder {spec!r}: there is no such file or folder; correct the path, or name an"
            " encoder (see: bench ls encoders)."
        )
    return name, weights


def builder(name: str, weights: str) -> tuple[registry.Entry, dict[str, str]]:
    """Return what builds the encoder of that name, and the option that `weights` is.

    Raises:
        UsageError: an unknown name, or a function of the user's own that cannot be had.
    """
    if name == OWN and weights:
        return own_function(weights), {}
    entry = registry.find("encoders", name)
    return entry, {("model" if "model" in entry.options else "weights"): weights} if weights else {}


def own_function(path: str) -> registry.Entry:
    """Return the function that `MODULE:FUNCTION` names, as if it were registered.

    Raises:
        UsageError: no such module or function, or one that takes positional arguments.
    """
    module, _, function = path.partition(":")
    if not module or not function or not module.replace(".", "").isidentifier():
        raise UsageError(
            f"encoder 'py:{path}' names no function; write py:MODULE:FUNCTION, such as"
            " py:my_lab.encoders:resnet."
        )
    registry.load_extension(module)
    held = vars(sys.modules[module])
    found = held.get(function)
    if not callable(found):
        raise UsageError(
            f"encoder 'py:{path}': {module} has no function {function!r}."
            f"{closest(function, [name for name, value in held.items() if callable(value)])}"
        )
    entry = registry.Entry(kind="encoders", name=f"{OWN}:{path}", function=found)
    wrong = [p.name for p in entry.options.values() if p.kind is not p.KEYWORD_ONLY]
    if wrong:
        raise UsageError(
            f"encoder 'py:{path}': {', '.join(wrong)} must be keyword-only, so that --set"
            f" encoder.OPTION can name them; write def {function}(*, ...)."
        )
    return entry


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
