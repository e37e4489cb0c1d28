"""What stored features depend on, as facts, and the digest that names them.

The digest changes with every fact that can change a number and with nothing else: batch size,
workers, world size, folders, time stamps and labels are not facts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.encoders.encoder import Encoder, weight_digest
from bench.types import Reads

# Raise it when code that makes features changes their numbers or their layout on disk.
FORMAT_VERSION = 1


def feature_facts(
    *,
    encoder: Mapping[str, Any],
    layers: Sequence[int] | None,
    media: Sequence[str],
    recipe: Mapping[str, Any],
    draws: int,
    reads: Reads,
    precision: str,
    dtype: str,
) -> dict[str, Any]:
    """Collect what the numbers of a feature set depend on, as JSON-able values.

    `encoder` comes from `encoder_facts`, `recipe` from `Recipe.facts`; `media` are the digests of
    the media files of all rows, in row order, so that two tasks on the same files share features.
    """
    # The kind of device is no fact: what it may change beyond `precision` is rounding.
    rows = hashlib.sha256("\n".join(media).encode()).hexdigest()
    return {
        "format": FORMAT_VERSION,
        "encoder": dict(encoder),
        "layers": None if layers is None else list(layers),
        "media": {"rows": len(media), "sha256": rows},
        "recipe": dict(recipe),
        "draws": draws,
        "reads": reads,
        "precision": precision,
        "dtype": dtype,
    }


def encoder_facts(encoder: Encoder, weights: str | None = None) -> dict[str, Any]:
    """Collect what identifies an encoder's numbers: the network, its shape and its weights.

    `weights` is its `weight_digest`, if the caller knows it. Weights alone do not tell the number
    of heads, and the clips in one call decide how a library splits its sums.
    """
    spec = encoder.spec
    network = type(encoder.network)
    return {
        "network": f"{network.__module__}.{network.__qualname__}",
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
