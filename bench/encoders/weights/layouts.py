"""Find the encoder's tensors in a JEPA weight file.

Released layout: a `torch.save` dict `encoder, predictor, opt, scaler, target_encoder, epoch, ...`
with names under `module.backbone.`. `bench.encoders.weights.encoder_folder` reads folders saved
here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.encoders.networks.rotary_vit import RotaryViT
from bench.encoders.networks.video_vit import VideoViT
from bench.encoders.weights.checkpoints import read_tensors, shortened
from bench.encoders.weights.encoder_folder import VJEPA, read_folder
from bench.encoders.weights.held_tensors import StoredEncoder, widened
from bench.encoders.weights.picked import NETWORKS, Pick
from bench.encoders.weights.state_dicts import Tensors, bare_names
from bench.errors import CheckpointError

RELEASED_PREFIX = "module.backbone."
OWN_KEY = "frozenbench"  # present in checkpoints of this project's own pretraining
FEWEST_LEFTOVER_TOKENS = 4  # two masks times two frame counts
PREFIXES = ("backbone.",)
HUB_PREFIX = "vjepa2."
# Raises `CheckpointError` unless bare tensors, given all networks of the file, are of the family.
Check = Callable[[Tensors, Mapping[str, Any], str], None]


def read_vjepa(path: Path, pick: Pick) -> StoredEncoder:
    """Return the encoder tensors of a weight file or folder, as float32.

    The key of `pick` is one of the two encoders in the released layout, or any place in a file.

    Raises:
        CheckpointError: no encoder there, a predictor, or tensors that cannot be weights.
    """
    if path.is_dir():
        pick.refuse(str(path))
        return read_folder(path, VJEPA)
    tensors, notes = encoder_of(read_tensors(path), pick, str(path), _check_added_positions)
    return widened(StoredEncoder(where=str(path), tensors=tensors, notes=notes))


def save_released(
    path: Path, *, target: VideoViT | RotaryViT, encoder: VideoViT | RotaryViT
) -> None:
    """Write the two encoders in the layout of the released pretraining files.

    Predictor, optimiser and counters are empty, so such a file cannot be resumed.
    """
    content = {
        "encoder": _released_names(encoder),
        "predictor": {},
        "opt": {},
        "scaler": None,
        "target_encoder": _released_names(target),
        "epoch": 0,
        "loss": 0.0,
        "batch_size": 0,
        "world_size": 1,
        "lr": 0.0,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def _released_names(network: VideoViT | RotaryViT) -> Tensors:
    return {f"{RELEASED_PREFIX}{n}": t.detach().cpu() for n, t in network.state_dict().items()}


def encoder_of(
    content: Mapping[str, Any], pick: Pick, where: str, check: Check
) -> tuple[Tensors, tuple[str, ...]]:
    """Return the encoder of the released layout or a bare state dict, and notes on which.

    Raises:
        CheckpointError: no encoder under the key, a predictor, a probe, an incomplete network, or
            tensors that `check` refuses.
    """
    key = pick.key
    if key not in NETWORKS:
        content, where = pick.found(content, where), f"{where} [{key}]"
    networks = {k: v for k, v in content.items() if isinstance(v, Mapping)}
    if key in networks:
        tensors, notes = pick.kept(bare(networks[key], f"{where} [{key}]"), where)
        _refuse_other_parts(tensors, where)
        check(tensors, networks, where)
        _refuse_unequal_halves(tensors, networks, key, where)
    elif others := {"encoder", "target_encoder"} & networks.keys():
        raise CheckpointError(
            f"{where} has no {key!r}, only {shortened(sorted(content))}; to use the other"
            f" network, give --set encoder.key={min(others)}."
        )
    elif "predictor" in networks:
        raise CheckpointError(
            f"{where} holds a predictor ({shortened(bare(networks['predictor'], where))}),"
            " not an encoder; use the checkpoint with 'target_encoder'."
        )
    else:
        tensors, notes = pick.kept(bare(content, where), where)
        _refuse_other_parts(tensors, where)
        check(tensors, {}, where)
        notes += ("a bare state dict: the file does not record whether it is the target encoder",)
    return tensors, notes


def _refuse_other_parts(tensors: Tensors, where: str) -> None:
    predictor = [n for n in tensors if n.startswith(("predictor_", "mask_token"))]
    if predictor:
        raise CheckpointError(
            f"{where} holds a predictor ({shortened(predictor)}), not an encoder; use the"
            " checkpoint with 'target_encoder'."
        )
    probe = any("query_tokens" in n or "xattn" in n for n in tensors)
    if probe and not has_hub_names(tensors):  # transformers stores classifiers in the same file
        raise CheckpointError(f"{where} holds an attentive probe; give an encoder's checkpoint.")


def _check_added_positions(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
    """Refuse networks that do not add a position table, such as V-JEPA 2."""
    if "pos_embed" not in tensors or not predictor_adds_table(networks):
        raise CheckpointError(
            f"{where} has no fixed position table (pos_embed of the encoder, predictor_pos_embed"
            " of the predictor), so it is not a complete V-JEPA file (V-JEPA 2 has rotary"
            " positions); give a complete V-JEPA checkpoint, or open V-JEPA 2 as vjepa2:FILE."
        )
    if leftover_tables(networks):
        raise CheckpointError(
            f"{where} is a V-JEPA 2 file: its predictor has more mask tokens than V-JEPA's two, so"
            " its position tables are unused leftovers; open it as vjepa2:FILE."
        )


def has_hub_names(content: Mapping[str, Any]) -> bool:
    """Whether the names are those of V-JEPA 2 in transformers."""
    wrappers = "|".join(map(re.escape, (*PREFIXES, HUB_PREFIX)))
    return any(re.match(rf"(?:{wrappers})*encoder\.layer\.", str(name)) for name in content)


def predictor_adds_table(networks: Mapping[str, Any]) -> bool:
    """Whether the predictor of a file, if it has one, has a position table."""
    predictor = networks.get("predictor") or {}
    return not predictor or any("predictor_pos_embed" in name for name in predictor)


def leftover_tables(networks: Mapping[str, Any]) -> bool:
    """Whether the position tables in a file are unused leftovers, as in V-JEPA 2 files.

    Their predictor has one mask token per mask and frame count (ten in released files), V-JEPA's
    has one per mask. This project's own files may have many masks and are identified by `OWN_KEY`.
    """
    predictor = networks.get("predictor") or {}
    tokens = sum(re.search(r"mask_tokens\.\d+$", name) is not None for name in predictor)
    return tokens >= FEWEST_LEFTOVER_TOKENS and OWN_KEY not in networks


def _refuse_unequal_halves(
    tensors: Tensors, networks: Mapping[str, Any], key: str, where: str
) -> None:
    sibling = "encoder" if key == "target_encoder" else "target_encoder"
    if sibling not in networks:
        return
    missing = bare(networks[sibling], f"{where} [{sibling}]").keys() - tensors.keys()
    if missing:
        raise CheckpointError(
            f"{where} is incomplete: {key!r} has no {shortened(sorted(missing))}, but {sibling!r}"
            " does; give the complete file."
        )


def bare(named: Mapping[str, Any], where: str) -> Tensors:
    """Strip the prefixes that training adds to the names of a JEPA network.

    Raises:
        CheckpointError: no tensors, something else among them, or colliding names.
    """
    expected = "give a V-JEPA checkpoint, or a state dict of its encoder"
    return bare_names(named, PREFIXES, where, expected=expected)
