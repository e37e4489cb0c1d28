"""Weight files of published video encoders: extract the encoder's tensors and report the rest.

Released files are a state dict or wrap one (`model`, `module`, `model_state`). Known tensors of
decoders and classifiers are left out with a note; any other name is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.encoders.weights.checkpoints import fetch, read_tensors, shortened
from bench.encoders.weights.held_tensors import StoredEncoder, widened
from bench.encoders.weights.picked import NETWORKS, Pick
from bench.encoders.weights.state_dicts import bare_names, unwrapped
from bench.errors import CheckpointError
from bench.files import parse_json

WRAPPERS = ("model", "module", "model_state", "state_dict")
PREFIXES = ("backbone.", "model.")
HUB_TENSORS, HUB_CONFIG = "model.safetensors", "config.json"


def read_state(weights: str, family: str, pick: Pick) -> StoredEncoder:
    """Fetch `weights` and return its state dict, without wrappers and their prefixes.

    Without a key in `pick` it is under the first of `WRAPPERS`, or the whole file. A folder is read
    in the hub's layout: `model.safetensors` and `config.json`.

    Raises:
        CheckpointError: nothing found, or no state dict in it.
    """
    path = fetch(weights)
    if path.is_dir():
        path = path / HUB_TENSORS
        if not path.is_file():
            raise CheckpointError(
                f"{path.parent} has no {HUB_TENSORS}; name the weight file itself: {family}:FILE."
            )
    content: Mapping[str, Any] = read_tensors(path)
    where = str(path)
    if pick.key:
        content, where = pick.found(content, where), f"{where} [{pick.key}]"
    if set(NETWORKS) & {k for k, v in content.items() if isinstance(v, Mapping)}:
        raise CheckpointError(
            f"{where} is a V-JEPA checkpoint; open it as vjepa:FILE or vjepa2:FILE."
        )
    content, where, others = unwrapped(content, WRAPPERS, where)
    expected = f"give a bare state dict to {family}:FILE, or one under {', '.join(WRAPPERS)}"
    named = bare_names(content, PREFIXES, where, expected=expected)
    tensors, notes = pick.kept(named, where)
    return StoredEncoder(
        where=where, tensors=tensors, notes=others + notes, config=hub_config(path)
    )


def leave_out(
    state: StoredEncoder, parts: Mapping[str, str]
) -> tuple[StoredEncoder, frozenset[str]]:
    """Leave out known `parts` (title to name pattern) that do not belong to the encoder.

    Returns the rest as float32, with a note per part found, and the titles found.

    Raises:
        CheckpointError: nothing is left, or the rest cannot be weights.
    """
    found: dict[str, list[str]] = {}
    for name in state.tensors:
        for title, pattern in parts.items():
            if re.match(pattern, name):
                found.setdefault(title, []).append(name)
                break
    gone = {name for names in found.values() for name in names}
    notes = state.notes + tuple(
        f"left out, not part of the encoder: {title} ({len(names)} tensors)"
        for title, names in found.items()
    )
    kept = {name: tensor for name, tensor in state.tensors.items() if name not in gone}
    if not kept:
        raise CheckpointError(
            f"{state.where} has only {' and '.join(found)} ({shortened(sorted(gone))}); give the"
            " file with the encoder."
        )
    return widened(replace(state, tensors=kept, notes=notes)), frozenset(found)


def hub_config(path: Path) -> Mapping[str, Any]:
    """Return the hub's `config.json` next to a file with the hub's suffix; empty if there is none.

    Raises:
        CheckpointError: it cannot be parsed.
    """
    file = path.with_name(HUB_CONFIG)
    if path.suffix not in (".safetensors", ".bin") or not file.is_file():
        return {}
    try:
        config = parse_json(file.read_text())
    except ValueError as error:
        raise CheckpointError(f"{file} cannot be parsed ({error}); copy it again.") from error
    return config if isinstance(config, dict) else {}


def refuse_other_facts(config: Mapping[str, Any], built: Mapping[str, Any], where: str) -> None:
    """Raise `CheckpointError` if the hub's `config.json` contradicts what is built.

    Such settings leave no trace in the tensors, which would load but give other tokens.
    """
    wrong = [f"{k} {config[k]!r}" for k in built if config.get(k, built[k]) != built[k]]
    if wrong:
        raise CheckpointError(
            f"{where}: its {HUB_CONFIG} has {', '.join(wrong)}, but this family has"
            f" {', '.join(f'{k} {v!r}' for k, v in built.items())}; open it as hf:FOLDER instead."
        )
