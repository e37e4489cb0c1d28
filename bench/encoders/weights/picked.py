"""Choose the encoder's tensors in a file that holds more: by their place, and without some names.

The place is a dotted path through the nested dicts and lists of a file, and may go on through
tensor names: `state_dict.teacher.backbone`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from bench.encoders.weights.checkpoints import shortened, tensors_in
from bench.errors import CheckpointError

Tensors = dict[str, torch.Tensor]
NETWORKS = ("target_encoder", "encoder")  # keys of the JEPA layout, which have rules of their own


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The user's choice: `key` is the place of the encoder ('' for the family's own), `drop` are
    patterns (`head.*`) of tensors that are left out.
    """

    key: str = ""
    drop: tuple[str, ...] = ()

    def found(self, content: Mapping[str, Any], where: str) -> Tensors:
        """Return the tensors under `key`, named by the rest of their path.

        Raises:
            CheckpointError: there is none; with the places that exist.
        """
        start = f"{self.key}."
        paths = ((f"{parent}.{name}".lstrip("."), t) for parent, name, t in tensors_in(content))
        found = {path.removeprefix(start): t for path, t in paths if path.startswith(start)}
        if not found:
            raise CheckpointError(f"{where} has no tensors under {self.key!r}; {places(content)}.")
        return found

    def kept(self, tensors: Tensors, where: str) -> tuple[Tensors, tuple[str, ...]]:
        """Return the tensors that no pattern of `drop` matches, and a note on the others.

        Raises:
            CheckpointError: a pattern matches nothing.
        """
        notes = []
        for pattern in self.drop:
            out = [name for name in tensors if fnmatchcase(name, pattern)]
            if not out:
                raise CheckpointError(
                    f"{where}: drop={pattern} matches none of its tensors"
                    f" ({shortened(sorted(tensors))}); correct the pattern."
                )
            notes.append(f"left out as requested by drop={pattern}: {shortened(sorted(out))}")
            tensors = {name: tensor for name, tensor in tensors.items() if name not in out}
        return tensors, tuple(notes)

    def refuse(self, where: str) -> None:
        """Raise `CheckpointError` if a choice was made, for a folder that has one encoder."""
        if self.drop or self.key not in ("", NETWORKS[0]):
            raise CheckpointError(
                f"{where} is the folder of one encoder; leave the options key and drop out."
            )


def places(content: Any) -> str:
    """Say where a file has its tensors, most of them first."""
    counts = Counter(parent for parent, _, _ in tensors_in(content))
    listed = [f"{parent} ({count})" for parent, count in counts.most_common() if parent]
    if not listed:
        return "its tensors are at its top level" if counts else "it has no tensors"
    return f"its tensors are under {shortened(listed)}: choose with --set encoder.key=NAME"
