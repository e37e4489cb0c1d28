"""State dicts: unwrap, rename, fuse and convert tensors to float32."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from bench.encoders.weights.checkpoints import shortened
from bench.encoders.weights.picked import Tensors as Tensors
from bench.encoders.weights.picked import places
from bench.errors import CheckpointError


def unwrapped(
    content: Mapping[str, Any], wrappers: Sequence[str], where: str
) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """Return the content under the first present wrapper, or all of it, where it is, and a note.

    The note is on other weights of the same network, such as averaged ones.
    """
    for wrapper in wrappers:
        if isinstance(found := content.get(wrapper), Mapping):
            same = [k for k, v in content.items() if isinstance(v, Mapping) and v is not found]
            same = [key for key in same if found and content[key].keys() >= found.keys()]
            note = f"weights under {wrapper!r}; the file has others under {', '.join(same)} (key=)"
            return found, f"{where} [{wrapper}]", (note,) if same else ()
    return content, where, ()


def bare_names(
    named: Mapping[str, Any], prefixes: Sequence[str], where: str, *, expected: str
) -> Tensors:
    """Strip prefixes from every name; `expected` ends the error message.

    Raises:
        CheckpointError: an empty state dict, a value that is not a tensor, or colliding names.
    """
    tensors = {str(name): value for name, value in named.items()}
    non_tensors = [n for n, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if non_tensors or not tensors:
        raise CheckpointError(
            f"{where} is not a state dict: {shortened(non_tensors) or 'it is empty'}"
            f"{' hold no tensors' if non_tensors else ''}; {places(named)}. Else {expected}."
        )
    rules = [(rf"(?:{'|'.join(map(re.escape, prefixes))})+(.+)", r"\1")] if prefixes else []
    return renamed(tensors, rules, where)


def renamed(tensors: Tensors, rules: Sequence[tuple[str, str]], where: str) -> Tensors:
    """Rename every tensor by the first rule (pattern, template) that matches its name.

    Raises:
        CheckpointError: two tensors would get the same name.
    """
    made: Tensors = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, template in rules:
            new, count = re.subn(rf"^{pattern}$", template, name)
            if count:
                break
        if new in made:
            raise CheckpointError(
                f"{where} has {new!r} twice, under different names or prefixes (one is {name!r});"
                " save one network per state dict."
            )
        made[new] = tensor
    return made


def fuse_qkv(
    tensors: Tensors, pattern: str, template: str, parts: Sequence[str] = tuple("qkv")
) -> Tensors:
    """Fuse queries, keys and values into one tensor, named by `template`.

    `pattern` matches their names, and its group `part` is one of `parts`. Incomplete sets are kept
    as they are, so the coverage check reports them.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in tensors:
        if match := re.fullmatch(pattern, name):
            groups.setdefault(match.expand(template), {})[match["part"]] = name
    made = dict(tensors)
    for whole, names in groups.items():
        if len(names) == len(parts) and len({tensors[name].shape for name in names.values()}) == 1:
            made[whole] = torch.cat([made.pop(names[part]) for part in parts])
    return made


def as_float32(
    tensors: Tensors, where: str, *, counters: Collection[str] = ()
) -> tuple[Tensors, tuple[str, ...]]:
    """Copy to float32 (also from a memory-mapped file), with a note on any other stored type.

    `counters` names tensors that the network keeps as integers; they are unchanged.

    Raises:
        CheckpointError: tensors that cannot be weights: integer, sparse, without values, or not
            finite.
    """
    invalid = [
        name
        for name, tensor in tensors.items()
        if name not in counters
        and (not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta)
    ]
    if invalid:
        raise CheckpointError(
            f"{where}: {shortened(invalid)} are not dense floats; give the unquantised checkpoint."
        )
    wide = {
        name: tensor if name in counters else tensor.to(torch.float32, copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    # The extremes are not finite if any number is not, and are found much faster.
    extremes = {name: tensor.aminmax() for name, tensor in wide.items() if tensor.numel()}
    bad = [name for name, ends in extremes.items() if not all(map(torch.isfinite, ends))]
    if bad:
        raise CheckpointError(
            f"{where}: {shortened(bad)} are not finite; training diverged or the file is damaged."
        )
    kinds = {str(t.dtype).removeprefix("torch.") for n, t in tensors.items() if n not in counters}
    return wide, stored_dtype_note(kinds)


def num_numbered(names: Iterable[str], pattern: str) -> int:
    """Return 1 + the largest number in the names, so that gaps are reported as missing."""
    return 1 + max((int(m[1]) for name in names if (m := re.match(pattern, name))), default=-1)


def rounding(tensors: Tensors) -> float:
    """Return the largest rounding error of the tensors' types on numbers up to 1."""
    return max(torch.finfo(t.dtype).eps for t in tensors.values() if t.is_floating_point())


def stored_dtype_note(kinds: Collection[str]) -> tuple[str, ...]:
    """Return a note on weights stored in types other than float32, if any."""
    others = sorted(set(kinds) - {"float32"})
    return (f"weights stored as {', '.join(others)}, read as float32",) if others else ()
