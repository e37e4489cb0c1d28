"""The named tensors of one network: out of their wrappers, under other names, and as float32."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from bench.encoders.weights.checkpoints import shortened
from bench.errors import CheckpointError

Tensors = dict[str, torch.Tensor]


def unwrapped(
    content: Mapping[str, Any], wrappers: Sequence[str], where: str
) -> tuple[Mapping[str, Any], str]:
    """Return what lies under the first of `wrappers` that the file has, or all, and where it is."""
    for wrapper in wrappers:
        if isinstance(content.get(wrapper), Mapping):
            return content[wrapper], f"{where} [{wrapper}]"
    return content, where


def bare_names(
    named: Mapping[str, Any], prefixes: Sequence[str], where: str, *, expected: str
) -> Tensors:
    """Strip the wrappers' prefixes from every name; `expected` says what should be given instead.

    Raises:
        CheckpointError: nothing in it, something that is no tensor, or two names that collide.
    """
    tensors = {str(name): value for name, value in named.items()}
    strangers = [n for n, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strangers or not tensors:
        raise CheckpointError(
            f"{where} is not a state dict: {shortened(strangers) or 'it is empty'}"
            f"{' hold no tensor' if strangers else ''}; {expected}."
        )
    return renamed(tensors, [(rf"(?:{'|'.join(map(re.escape, prefixes))})+(.+)", r"\1")], where)


def renamed(tensors: Tensors, rules: Sequence[tuple[str, str]], where: str) -> Tensors:
    """Return the tensors under the names that the first fitting rule (pattern, name) makes.

    Raises:
        CheckpointError: two tensors would get one name.
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
                f"{where} holds {new!r} twice, under different names or prefixes (one of them"
                f" {name!r}); save one network per state dict."
            )
        made[new] = tensor
    return made


def joined(
    tensors: Tensors, pattern: str, template: str, parts: Sequence[str] = tuple("qkv")
) -> Tensors:
    """Return the tensors with queries, keys and values as one, under the name of `template`.

    `pattern` matches their names, and its group `part` is one of `parts`. An incomplete set stays
    as it is, so that the check of coverage names it.
    """
    thirds: dict[str, dict[str, str]] = {}
    for name in tensors:
        if match := re.fullmatch(pattern, name):
            thirds.setdefault(match.expand(template), {})[match["part"]] = name
    made = dict(tensors)
    for whole, names in thirds.items():
        if len(names) == len(parts) and len({tensors[name].shape for name in names.values()}) == 1:
            made[whole] = torch.cat([made.pop(names[part]) for part in parts])
    return made


def as_float32(
    tensors: Tensors, where: str, *, counters: Collection[str] = ()
) -> tuple[Tensors, tuple[str, ...]]:
    """Copy to float32 (also out of a mapped file), with a note if they were stored otherwise.

    `counters` are names that the network itself keeps as whole numbers; they stay as they are.

    Raises:
        CheckpointError: tensors that cannot be weights: whole numbers, sparse, or not finite.
    """
    whole = [
        name
        for name, tensor in tensors.items()
        if name not in counters and (not tensor.is_floating_point() or tensor.is_sparse)
    ]
    if whole:
        raise CheckpointError(
            f"{where}: {shortened(whole)} are not dense floating-point tensors; give the"
            " unquantised checkpoint."
        )
    wide = {
        name: tensor if name in counters else tensor.to(torch.float32, copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    bad = [name for name, tensor in wide.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(
            f"{where}: {shortened(bad)} hold values that are not finite; the training run"
            " diverged or the file is damaged."
        )
    kinds = {str(t.dtype).removeprefix("torch.") for n, t in tensors.items() if n not in counters}
    return wide, stored_otherwise(kinds)


def num_numbered(names: Iterable[str], pattern: str) -> int:
    """Return one more than the largest number in the names, so that a gap is found missing."""
    return 1 + max((int(m[1]) for name in names if (m := re.match(pattern, name))), default=-1)


def rounding(tensors: Tensors) -> float:
    """Return the largest error that the types of these tensors make on numbers up to 1."""
    return max(torch.finfo(t.dtype).eps for t in tensors.values() if t.is_floating_point())


def stored_otherwise(kinds: Collection[str]) -> tuple[str, ...]:
    """Return the note on weights that were stored in other types than float32, if any were."""
    others = sorted(set(kinds) - {"float32"})
    return (f"weights stored as {', '.join(others)}, read as float32",) if others else ()
