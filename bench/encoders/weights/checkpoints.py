"""Weight files: read their tensors without running code, and load all of them or refuse."""

from __future__ import annotations

import argparse
import logging
import pickle
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.encoders.weights.fetch import fetch as fetch
from bench.encoders.weights.intact import kind_of, require_intact
from bench.errors import CheckpointError, first_line

log = logging.getLogger(__name__)

NAMES_SHOWN = 8
LARGEST_RATIO = 8  # bytes of tensors per byte of file; tensors may share storage
SMALL_BYTES = 1 << 20
MOST_CONTAINERS = 50_000
WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:module|_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
)
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

    Checksums are verified first. Tensor names lose the segments that wrappers add anywhere (see
    `without_wrappers`). A `torch.save` file in the zip format is memory-mapped.

    Raises:
        CheckpointError: not a checkpoint, damaged, a pickle that would run code, or tensors that
            are larger than the file.
    """
    kind = kind_of(path)
    require_intact(path)
    if path.suffix == ".safetensors" and kind != "safetensors":  # torch goes by the suffix
        raise CheckpointError(f"{path} was written by torch.save; rename it to {path.stem}.pt.")
    content = _read_safetensors(path) if kind == "safetensors" else _read_saved(path, kind == "zip")
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, not named tensors; save a state dict."
        )
    try:
        plain: dict[str, Any] = _plain(content, str(path), {})
    except RecursionError as error:
        raise CheckpointError(
            f"{path} is nested too deeply for a checkpoint; save a state dict."
        ) from error
    _require_no_larger(plain, path)
    return plain


def without_wrappers(name: str) -> str:
    """Return a tensor's name without the segments of DDP, FSDP, compiling and checkpointing."""
    return WRAPPERS.sub("", name)


def tensors_in(content: Any) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Yield (dotted path of the parent, name, tensor) for all tensors in nested containers.

    Raises:
        CheckpointError: containers that hold each other make too many paths.
    """
    waiting: list[tuple[str, Any, frozenset[int]]] = [("", content, frozenset())]
    for count, (parent, value, above) in enumerate(waiting):  # it grows below
        if count > MOST_CONTAINERS:
            raise CheckpointError(
                f"the file has over {MOST_CONTAINERS:,} nested places; save a state dict alone."
            )
        within = above | {id(value)}
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            if isinstance(inner, torch.Tensor):
                yield parent, str(key), inner
            elif isinstance(inner, (Mapping, list, tuple)) and id(inner) not in within:
                waiting.append((f"{parent}.{key}" if parent else str(key), inner, within))


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


def _read_saved(path: Path, is_zip: bool) -> Any:
    if not is_zip:
        log.warning("%s has no checksums (torch.save before 1.6); damage goes unnoticed", path)
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refused_pickle(path, error)) from error
    except READ_FAILURES as error:
        # Torch's own advice may be to load the file unsafely.
        reason = "" if "weights_only" in str(error) else f" ({first_line(error)})"
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint{reason}; download it again."
        ) from error


def _plain(value: Any, where: str, made: dict[int, Any]) -> Any:
    """Return nested containers with the names of tensors without wrappers; `made` by identity."""
    if id(value) in made or not isinstance(value, (Mapping, list)):
        return made.get(id(value), value)
    if isinstance(value, list):
        copied: list[Any] = []
        made[id(value)] = copied
        copied.extend(_plain(inner, where, made) for inner in value)
        return copied
    named: dict[Any, Any] = {}
    made[id(value)] = named
    for key, inner in value.items():
        is_name = isinstance(key, str) and isinstance(inner, torch.Tensor)
        name = without_wrappers(key) if is_name else key
        if name in named:
            raise CheckpointError(
                f"{where} has {name!r} twice, under different names or prefixes (one is {key!r});"
                " save one network per state dict."
            )
        named[name] = _plain(inner, where, made)
    return named


def _require_no_larger(content: Any, path: Path) -> None:
    """Refuse views that repeat a small storage: copying them could fill the memory."""
    total, limit = 0, LARGEST_RATIO * path.stat().st_size
    for parent, name, tensor in tensors_in(content):
        if tensor.layout is torch.strided and not tensor.is_meta:
            size = tensor.numel() * tensor.element_size()
            total += size
            if size > max(tensor.untyped_storage().nbytes(), SMALL_BYTES) or total > limit:
                raise CheckpointError(
                    f"{path}: {f'{parent}.' * bool(parent)}{name} {list(tensor.shape)} repeats a"
                    f" smaller tensor: {total:,} bytes from a file of {path.stat().st_size:,}; save"
                    " its tensors with .contiguous()."
                )


def _harmless() -> list[Any]:
    """Return the globals of values often stored next to weights; none of them runs code."""
    core = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    names = ("scalar", core[0]), ("_reconstruct", core[1])
    places = [(make, f"numpy.{part}.multiarray.{name}") for name, make in names
              for part in ("core", "_core")]  # fmt: skip
    kinds = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefdFDSUMm"}
    builtins = (dict, float, frozenset, int, list, slice, str, tuple)
    paths = (PosixPath, PurePosixPath, PureWindowsPath, WindowsPath)
    moments = (datetime, timedelta, timezone)
    # Torch fills no containers but dicts and lists.
    filled: list[Any] = [
        (lambda *_: {}, "collections.defaultdict"),
        (lambda *_: [], "collections.deque"),
    ]
    values = (np.dtype, np.ndarray, argparse.Namespace)
    return [*values, *places, *kinds, *builtins, *paths, *moments, *filled]


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
            " tensors: torch.save(model.state_dict(), FILE), or safetensors."
        )
    if re.search("Can only|Trying to|Unsupported class", str(error)):
        return (
            f"{path} holds objects other than tensors and plain values, which are not built; save"
            " only the tensors: torch.save(model.state_dict(), FILE), or safetensors."
        )
    return f"{path} is damaged or is not a checkpoint; copy or download it again."
