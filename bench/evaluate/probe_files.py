"""Trained probes on disk: what is needed to score with them again, and what they were made from.

Layout: `probe.safetensors` (tensors) and `probe.json` (probe name, settings, heads, class names,
protocol, digests). The JSON file has its own digest and that of the tensors, and is written last,
so that a damaged or incomplete folder is rejected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.errors import CheckpointError
from bench.evaluate.head_order import in_saved_order
from bench.files import sealed, unsealed, write_whole
from bench.registry import build
from bench.types import Fitted, Probe, Settings

TENSORS, FACTS = "probe.safetensors", "probe.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class SavedProbe:
    """A probe read from disk; `facts` say what it was made from."""

    probe: Probe
    fitted: Fitted
    settings: Settings
    facts: Mapping[str, Any]


def save_fitted(
    folder: Path, probe: str, settings: Settings, fitted: Fitted, facts: Mapping[str, Any]
) -> Path:
    """Write a fitted probe into `folder` and return the path of its JSON file.

    `settings` are options to build the registered probe with; `facts` are JSON-able and should
    have class names, protocol id and encoder digest. Files are written atomically.
    """
    from safetensors.torch import save  # heavy, and not needed to read a record

    tensors, state = fitted.state()
    payload = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    content = {
        "format": FORMAT,
        "probe": probe,
        "settings": dict(settings),
        "heads": [dict(head.settings) for head in fitted.heads],
        "tensors_sha256": hashlib.sha256(payload).hexdigest(),
        "state": state,
        "facts": dict(facts),
    }
    write_whole(folder / TENSORS, payload)
    write_whole(folder / FACTS, sealed(content))
    return folder / FACTS


def load_fitted(folder: Path) -> SavedProbe:
    """Read what `save_fitted` wrote.

    Raises:
        CheckpointError: a file is missing or damaged, or the two do not belong together.
    """
    from safetensors.torch import load  # heavy, and not needed to read a record

    try:
        content = unsealed((folder / FACTS).read_bytes())
        payload = (folder / TENSORS).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: {Path(error.filename).name} is missing, so the probe is incomplete; fit it"
            " again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{folder / FACTS} is damaged ({error}); fit the probe again."
        ) from error
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / FACTS}: format {content.get('format')!r}, but this version reads {FORMAT};"
            " fit the probe again."
        )
    if hashlib.sha256(payload).hexdigest() != content["tensors_sha256"]:
        raise CheckpointError(
            f"{folder / TENSORS} does not match the digest in {FACTS}; fit the probe again."
        )
    probe: Probe = build("probes", content["probe"], content["settings"])
    tensors: dict[str, torch.Tensor] = load(payload)
    fitted = in_saved_order(probe.restore(tensors, content["state"]), content["state"])
    return SavedProbe(
        probe=probe, fitted=fitted, settings=content["settings"], facts=content["facts"]
    )
