"""Weight files: read their tensors without running code, and load all of them or refuse."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.encoders.weights.fetch import fetch as fetch
from bench.encoders.weights.fetch import first_line
from bench.errors import CheckpointError

NAMES_SHOWN = 8
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # torch.save before version 1.6
# What torch.load was seen to raise on files with random bytes changed.
READ_FAILURES = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
)
Shapes = Mapping[str, tuple[int, ...]]


def read_tensors(path: Path) -> dict[str, Any]:
    """Return what a `.safetensors` or a `torch.save` file holds, on the CPU; no code is run.

    A `torch.save` file in the zip format is mapped, not copied: what is not used is not read.

    Raises:
        CheckpointError: no checkpoint, cut short, or a pickle that needs code to be run.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a weight file; name the file in it.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    start, is_zip = _recognised(path)
    if not is_zip and start.startswith(b"PK"):
        raise CheckpointError(
            f"{path} is cut short: it begins as a torch.save file but its index, which stands at"
            f" the end, is missing ({path.stat().st_size:,} bytes); copy or download it again."
        )
    if not is_zip and start != LEGACY_MAGIC:
        raise CheckpointError(
            f"{path} is not a checkpoint: it begins with {start[:8]!r}; expected a file written by"
            " torch.save or a .safetensors file."
        )
    try:
        with torch.serialization.safe_globals([*_numpy_scalars(), argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refused_pickle(path, error)) from error
    except READ_FAILURES as error:
        raise CheckpointError(
            f"{path} is damaged or is not a checkpoint ({first_line(error)}); copy or download it"
            " again."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not named tensors; save a state dict."
        )
    return dict(content)


def load_all(module: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Load `tensors` into the module, every one of them, or refuse and change nothing.

    A module on the meta device takes the tensors over; any other gets a copy.

    Raises:
        CheckpointError: names what is missing, unexpected or of another shape, and the coverage.
    """
    check_coverage(module.state_dict(), tensors, where)
    is_empty = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(dict(tensors), strict=True, assign=is_empty)


def check_coverage(
    wanted: Mapping[str, torch.Tensor], held: Mapping[str, torch.Tensor], where: str
) -> None:
    """Raise `CheckpointError` unless `held` has exactly the names and shapes of `wanted`."""
    check_shapes(
        {name: tuple(tensor.shape) for name, tensor in wanted.items()},
        {name: tuple(tensor.shape) for name, tensor in held.items()},
        where,
    )


def check_shapes(wanted: Shapes, held: Shapes, where: str) -> None:
    """Raise `CheckpointError` unless `held` is `wanted`, with what differs by name."""
    missing, unexpected = wanted.keys() - held.keys(), held.keys() - wanted.keys()
    both = wanted.keys() & held.keys()
    wrong = [(name, held[name], wanted[name]) for name in both if wanted[name] != held[name]]
    if faults := faults_of(missing, unexpected, wrong):
        covered = len(wanted) - len(missing) - len(wrong)
        raise CheckpointError(
            f"{where} holds {covered} of the {len(wanted)} tensors of the network"
            f" ({100 * covered / len(wanted):.1f} %); {faults}. Nothing was loaded: give the"
            " complete file of this architecture."
        )


def faults_of(
    missing: Iterable[str],
    unexpected: Iterable[str],
    wrong: Iterable[tuple[str, Sequence[int], Sequence[int]]],
) -> str:
    """Return what is amiss with tensors, by name: '' if nothing is.

    `wrong` are names with the shapes in the file and in the network.
    """
    shapes = [f"{name} (file {list(a)}, network {list(b)})" for name, a, b in sorted(wrong)]
    titled = {"missing": missing, "unexpected": unexpected, "wrong shape": shapes}
    said = {title: shortened(sorted(names)) for title, names in titled.items()}
    return "; ".join(f"{title}: {names}" for title, names in said.items() if names)


def shortened(names: Iterable[str]) -> str:
    """Join names with commas, the first few of them and then a count."""
    names = list(names)
    rest = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _recognised(path: Path) -> tuple[bytes, bool]:
    """Return the first bytes of a file and whether it is a whole zip archive."""
    try:
        with path.open("rb") as file:
            start = file.read(len(LEGACY_MAGIC))
        return start, zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return start, False
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {first_line(error)}.") from error


def _numpy_scalars() -> list[Any]:
    """What a pickled numpy number (an averaged loss, say) is made of; none of it runs code."""
    make = np.float64(0).__reduce__()[0]
    kinds = (np.float64, np.float32, np.int64, np.int32)
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *((make, name) for name in names), *(type(np.dtype(k)) for k in kinds)]


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or is no safetensors file ({first_line(error)}); copy or download"
            " it again."
        ) from error


def _refused_pickle(path: Path, error: pickle.UnpicklingError) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found:
        return (
            f"{path} would have to run code to be read ({found[1]}), which is refused; save the"
            " tensors alone (torch.save of a state dict, or safetensors)."
        )
    return f"{path} is damaged or is not a checkpoint; copy or download it again."
