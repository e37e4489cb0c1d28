"""What stored features depend on, as facts, and the digest that names them.

The digest changes with every fact that can change a number and with nothing else: batch size,
workers, world size, folders, time stamps and labels are not facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.data.boxes.regions import Regions
from bench.encoders.encoder import Encoder, weight_digest
from bench.encoders.networks.adapt import network_name

CORNER_DIGITS = 64  # four float64 in hexadecimal


def box_media(regions: Regions, digests: Sequence[str]) -> list[str]:
    """Say of every row which box it is, on which second of which video, as one text.

    `digests` are those of the videos, in their order.
    """
    # The bytes of corners are spelled ten times as fast as their decimals.
    spelled = np.ascontiguousarray(regions.corners, dtype="<f8").tobytes().hex()
    moments = zip(regions.video.tolist(), regions.micros.tolist(), strict=True)
    return [
        f"{digests[video]} {micros} {spelled[CORNER_DIGITS * row : CORNER_DIGITS * (row + 1)]}"
        for row, (video, micros) in enumerate(moments)
    ]


def encoder_facts(encoder: Encoder, weights: str | None = None) -> dict[str, Any]:
    """Collect what identifies an encoder's numbers: the network, its shape and its weights.

    A network whose class does not tell what it computes says so by its `identity`.
    `weights` is its `weight_digest`, if the caller knows it. Weights alone do not tell the number
    of heads, and the clips in one call decide how a library splits its sums.
    """
    spec = encoder.spec
    return {
        "network": network_name(encoder.network),
        "weights": weights or weight_digest(encoder),
        "num_heads": spec.num_heads,
        "patch_size": spec.patch_size,
        "tubelet_size": spec.tubelet_size,
        "clips_per_call": spec.clips_per_call,
    }


def digest(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the facts in canonical JSON."""
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Spell a JSON-able value in exactly one way: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
