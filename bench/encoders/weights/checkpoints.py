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
# Observed from torch.load on files with randomly changed bytes.
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
    """Return the content of a `.safetensors` or `torch.save` file, on the CPU; no code is run.

    A `torch.save` file in the zip format is memory-mapped, so unused tensors are not read.

    Raises:
        CheckpointError: not a checkpoint, truncated, or a pickle that would run code.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a weight file; name a file in it.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    start, is_zip = _recognised(path)
    if not is_zip and start.startswith(b"PK"):
        raise CheckpointError(
            f"{path} is cut short: it begins as a torch.save file, but the index at its end is"
            f" missing ({path.stat().st_size:,} bytes); copy or download it again."
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
            f"{path} is damaged or not a checkpoint ({first_line(error)}); download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not named tensors; save a state dict."
        )
    return dict(content)


def load_all(module: nn.Module, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Load all of `tensors` into the module, or raise and change nothing.

    A module on the meta device takes over the tensors; any other gets a copy.

    Raises:
        CheckpointError: missing or unexpected tensors, or wrong shapes; with names and coverage.
    """
    check_coverage(module.state_dict(), tensors, where)
    is_empty = any(parameter.is_meta for parameter in module.parameters())
    module.load_state_dict(dict(tensors), strict=True, assign=is_empty)


def check_coverage(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], where: str
) -> None:
    """Raise `CheckpointError` unless `found` has exactly the names and shapes of `expected`."""
    check_shapes(
        {name: tuple(tensor.shape) for name, tensor in expected.items()},
        {name: tuple(tensor.shape) for name, tensor in found.items()},
        where,
    )


def check_shapes(expected: Shapes, found: Shapes, where: str) -> None:
    """Raise `CheckpointError` unless `found` equals `expected`, naming the differences."""
    missing, unexpected = expected.keys() - found.keys(), found.keys() - expected.keys()
    both = expected.keys() & found.keys()
    wrong = [(name, found[name], expected[name]) for name in both if expected[name] != found[name]]
    if faults := faults_of(missing, unexpected, wrong):
        covered = len(expected) - len(missing) - len(wrong)
        raise CheckpointError(
            f"{where} has {covered} of the {len(expected)} tensors of the network"
            f" ({100 * covered / len(expected):.1f} %); {faults}. Nothing was loaded; give the"
            " complete file of this architecture."
        )


def faults_of(
    missing: Iterable[str],
    unexpected: Iterable[str],
    wrong: Iterable[tuple[str, Sequence[int], Sequence[int]]],
) -> str:
    """List faulty tensors by name ('' if none); `wrong` is (name, shape in file, in network)."""
    shapes = [f"{name} (file {list(a)}, network {list(b)})" for name, a, b in sorted(wrong)]
    titled = {"missing": missing, "unexpected": unexpected, "wrong shape": shapes}
    listed = {title: shortened(sorted(names)) for title, names in titled.items()}
    return "; ".join(f"{title}: {names}" for title, names in listed.items() if names)


def shortened(names: Iterable[str]) -> str:
    """Join the first `NAMES_SHOWN` names with commas and count the rest."""
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
    """Return the globals of pickled numpy numbers (such as a loss); none of them runs code."""
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
            f"{path} is damaged or not a safetensors file ({first_line(error)}); download it again."
        ) from error


def _refused_pickle(path: Path, error: pickle.UnpicklingError) -> str:
    match = re.search(r"GLOBAL ([\w.]+)", str(error))
    if match:
        return (
            f"{path} would run code when loaded ({match[1]}), which is refused; save only the"
            " tensors (torch.save of a state dict, or safetensors)."
        )
    return f"{path} is damaged or is not a checkpoint; copy or download it again."
