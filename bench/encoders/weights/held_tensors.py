"""The tensors of an encoder as a file holds them, with what the file says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.weights.state_dicts import Tensors, as_float32, rounding


@dataclass(frozen=True, kw_only=True)
class Held:
    """Encoder tensors of a file under bare names; `architecture` and `is_floor` if it says so.

    `config` is what the hub's `config.json` beside it says. `rounding` is the largest error that
    the stored precision makes on numbers up to 1.
    """

    where: str
    tensors: Tensors
    notes: tuple[str, ...] = ()
    architecture: VitArchitecture | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    is_floor: bool = False
    rounding: float = 0.0


def widened(held: Held) -> Held:
    """Return what is held as float32, with a note and the rounding of the type it was stored in.

    Raises:
        CheckpointError: tensors that cannot be weights.
    """
    tensors, notes = as_float32(held.tensors, held.where)
    rounds = rounding(held.tensors)
    return replace(held, tensors=tensors, notes=held.notes + notes, rounding=rounds)
