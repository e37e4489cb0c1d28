"""Weight files of published video encoders: take the encoder's tensors out and name what is left.

Released files wrap the state dict (`model`, `module`, `model_state`) or are it. What belongs to a
decoder or a classifier is left out by its known names, and said; any other name is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.encoders.weights.checkpoints import fetch, read_tensors, shortened
from bench.encoders.weights.held_tensors import Held, widened
from bench.encoders.weights.state_dicts import bare_names, unwrapped
from bench.errors import CheckpointError

WRAPPERS = ("model", "module", "model_state", "state_dict")
PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.")
HUB_TENSORS, HUB_CONFIG = "model.safetensors", "config.json"


def read_state(weights: str, family: str) -> Held:
    """Fetch `weights` and return its one state dict, without wrappers and their prefixes.

    A folder is read as the hub's: `model.safetensors` and `config.json`.

    Raises:
        CheckpointError: nothing is there, or no state dict is in it.
    """
    path = fetch(weights)
    if path.is_dir():
        path = path / HUB_TENSORS
        if not path.is_file():
            raise CheckpointError(
                f"{path.parent} has no {HUB_TENSORS}; name the weight file itself, such as"
                f" {family}:FILE."
            )
    content: Mapping[str, Any] = read_tensors(path)
    where = str(path)
    if {"target_encoder", "encoder"} & {k for k, v in content.items() if isinstance(v, Mapping)}:
        raise CheckpointError(
            f"{where} has the layout of a V-JEPA checkpoint; open it as vjepa:FILE or vjepa2:FILE."
        )
    content, where = unwrapped(content, WRAPPERS, where)
    expected = f"{family}:FILE reads one alone, or under one of {', '.join(WRAPPERS)}"
    tensors = bare_names(content, PREFIXES, where, expected=expected)
    return Held(where=where, tensors=tensors, config=hub_config(path))


def leave_out(state: Held, parts: Mapping[str, str]) -> tuple[Held, frozenset[str]]:
    """Take known parts that are no encoder out; `parts` are titles and patterns of their names.

    Returns the rest as float32, with a note for every part found, and the titles found.

    Raises:
        CheckpointError: nothing is left, or what is left cannot be weights.
    """
    found: dict[str, list[str]] = {}
    for name in state.tensors:
        for title, pattern in parts.items():
            if re.match(pattern, name):
                found.setdefault(title, []).append(name)
                break
    gone = {name for names in found.values() for name in names}
    notes = tuple(
        f"left out as no part of the encoder: {title} ({len(names)} tensors)"
        for title, names in found.items()
    )
    kept = {name: tensor for name, tensor in state.tensors.items() if name not in gone}
    if not kept:
        raise CheckpointError(
            f"{state.where} holds nothing but {' and '.join(found)} ({shortened(sorted(gone))});"
            " give the file that has the encoder."
        )
    return widened(replace(state, tensors=kept, notes=notes)), frozenset(found)


def hub_config(path: Path) -> Mapping[str, Any]:
    """Return the hub's description beside a `.safetensors` file; empty if there is none.

    Raises:
        CheckpointError: it is not understood.
    """
    beside = path.with_name(HUB_CONFIG)
    if path.suffix != ".safetensors" or not beside.is_file():
        return {}
    try:
        config = json.loads(beside.read_text())
    except ValueError as error:
        raise CheckpointError(f"{beside} is not understood ({error}); copy it again.") from error
    return config if isinstance(config, dict) else {}


def refuse_other_facts(config: Mapping[str, Any], built: Mapping[str, Any], where: str) -> None:
    """Raise `CheckpointError` where the hub's description says otherwise than what is built.

    Such a fact leaves no trace in the tensors, which would load and give other tokens.
    """
    wrong = [f"{k} {config[k]!r}" for k in built if config.get(k, built[k]) != built[k]]
    if wrong:
        raise CheckpointError(
            f"{where}: {HUB_CONFIG} beside it says {', '.join(wrong)}, where this family has"
            f" {', '.join(f'{k} {v!r}' for k, v in built.items())}; open the folder as hf:FOLDER,"
            f" which builds what {HUB_CONFIG} says."
        )
