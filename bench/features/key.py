"""The facts that stored features depend on, and the digest that names them.

The digest covers every fact that can change a number and nothing else: batch size, workers, world
size, folders, time stamps and labels are not facts.
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
    """Identify the box of every row by video, time and corners, as text.

    `digests` are those of the videos, in order.
    """
    # Hexadecimal bytes are ten times as fast to write as decimals.
    corners = np.ascontiguousarray(regions.corners, dtype="<f8").tobytes().hex()
    moments = zip(regions.video.tolist(), regions.micros.tolist(), strict=True)
    return [
        f"{digests[video]} {micros} {corners[CORNER_DIGITS * row : CORNER_DIGITS * (row + 1)]}"
        for row, (video, micros) in enumerate(moments)
    ]


def encoder_facts(encoder: Encoder, weights: str | None = None) -> dict[str, Any]:
    """Return what decides an encoder's numbers: the network, its shape and its weights.

    A network that its class does not identify has an `identity`. `weights` is its `weight_digest`,
    if known. The weights do not determine the number of heads, and the number of clips per call
    affects how libraries order their sums.
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


def shared_digest(facts: Mapping[str, Any]) -> str:
    """Return the digest of what all readouts of the same pixels have in common."""
    own = ("reads", "region", "joined")
    return digest({name: fact for name, fact in facts.items() if name not in own})


def canonical(value: Any) -> str:
    """Return the canonical JSON of a value: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
