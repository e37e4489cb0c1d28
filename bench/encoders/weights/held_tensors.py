"""The tensors of an encoder as stored in a file, with the file's own facts about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.weights.state_dicts import Tensors, as_float32, rounding


@dataclass(frozen=True, kw_only=True)
class StoredEncoder:
    """Encoder tensors of a file under bare names; `architecture` and `is_floor` if recorded there.

    `config` is the hub's `config.json` next to it. `rounding` is the largest error of the stored
    precision on numbers up to 1.
    """

    where: str
    tensors: Tensors
    notes: tuple[str, ...] = ()
    architecture: VitArchitecture | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    is_floor: bool = False
    rounding: float = 0.0


def widened(stored: StoredEncoder) -> StoredEncoder:
    """Return the tensors as float32, with a note and the rounding of their stored precision.

    Raises:
        CheckpointError: tensors that cannot be weights.
    """
    tensors, notes = as_float32(stored.tensors, stored.where)
    rounds = rounding(stored.tensors)
    return replace(stored, tensors=tensors, notes=stored.notes + notes, rounding=rounds)
