"""What a JEPA weight file holds: which tensors are the encoder, and which network they make.

Released layout: a `torch.save` dict `encoder, predictor, opt, scaler, target_encoder, epoch, ...`
with names under `module.backbone.`. A folder of ours is read by
`bench.encoders.weights.encoder_folder`.
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
from bench.encoders.weights.held_tensors import Held, widened
from bench.encoders.weights.state_dicts import Tensors, bare_names
from bench.errors import CheckpointError

RELEASED_PREFIX = "module.backbone."
OWN_KEY = "frozenbench"  # what checkpoints of our own pretraining say of themselves
FEWEST_LEFTOVER_TOKENS = 4  # two masks and two frame counts
PREFIXES = ("module.", "backbone.", "_orig_mod.")
HUB_PREFIX = "vjepa2."
# Raises `CheckpointError` unless bare tensors, given all networks of the file, are the family's.
Check = Callable[[Tensors, Mapping[str, Any], str], None]


def read_held(path: Path, key: str) -> Held:
    """Return the encoder tensors of a weight file or folder, as float32.

    `key` picks one of the two encoders of the released layout.

    Raises:
        CheckpointError: no encoder under `key`, a predictor, or tensors that cannot be weights.
    """
    if path.is_dir():
        return read_folder(path, VJEPA)
    tensors, notes = encoder_of(read_tensors(path), key, str(path), _check_added_positions)
    return widened(Held(where=str(path), tensors=tensors, notes=notes))


def save_released(
    path: Path, *, target: VideoViT | RotaryViT, encoder: VideoViT | RotaryViT
) -> None:
    """Write the two encoders in the layout of the released pretraining files.

    Predictor, optimiser and counters are left empty: such a file is evaluated, not resumed.
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
    content: Mapping[str, Any], key: str, where: str, check: Check
) -> tuple[Tensors, tuple[str, ...]]:
    """Pick the encoder `key` of the released layout, or a bare state dict; with notes on which.

    Raises:
        CheckpointError: no encoder under `key`, a predictor, a probe, half of a network, or what
            `check` refuses.
    """
    notes: tuple[str, ...] = ()
    networks = {k: v for k, v in content.items() if isinstance(v, Mapping)}
    if key in networks:
        tensors = bare(networks[key], f"{where} [{key}]")
        _refuse_strangers(tensors, where)
        check(tensors, networks, where)
        _refuse_unequal_halves(tensors, networks, key, where)
    elif others := {"encoder", "target_encoder"} & networks.keys():
        raise CheckpointError(
            f"{where} has no {key!r}; it holds {shortened(sorted(content))}; to take the other"
            f" network, say --set encoder.key={min(others)}."
        )
    elif "predictor" in networks:
        raise CheckpointError(
            f"{where} holds a predictor ({shortened(bare(networks['predictor'], where))}),"
            " not an encoder; take the checkpoint that has 'target_encoder'."
        )
    else:
        tensors = bare(content, where)
        _refuse_strangers(tensors, where)
        check(tensors, {}, where)
        notes = ("a bare state dict: the file does not say whether it is the target encoder",)
    return tensors, notes


def _refuse_strangers(tensors: Tensors, where: str) -> None:
    predictor = [n for n in tensors if n.startswith(("predictor_", "mask_token"))]
    if predictor:
        raise CheckpointError(
            f"{where} holds a predictor ({shortened(predictor)}), not an encoder; take the"
            " checkpoint that has 'target_encoder'."
        )
    probe = any("query_tokens" in n or "xattn" in n for n in tensors)
    if probe and not has_hub_names(tensors):  # transformers keeps a classifier in one file
        raise CheckpointError(f"{where} holds an attentive probe; give an encoder's checkpoint.")


def _check_added_positions(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
    """Refuse networks that do not add a position table, as those of V-JEPA 2."""
    if "pos_embed" not in tensors or not predictor_adds_table(networks):
        raise CheckpointError(
            f"{where} has no fixed position table (pos_embed of the encoder, predictor_pos_embed"
            " of the predictor): it is not a V-JEPA file (V-JEPA 2 rotates its positions) or half"
            " of one; give a complete V-JEPA checkpoint, or open one of V-JEPA 2 as vjepa2:FILE."
        )
    if leftover_tables(networks):
        raise CheckpointError(
            f"{where} is a V-JEPA 2 file: its predictor has more mask tokens than V-JEPA's two, so"
            " the position tables in it are leftovers and its positions rotate; open it as"
            " vjepa2:FILE."
        )


def has_hub_names(content: Mapping[str, Any]) -> bool:
    """Whether names are those that transformers gives V-JEPA 2."""
    wrappers = "|".join(map(re.escape, (*PREFIXES, HUB_PREFIX)))
    return any(re.match(rf"(?:{wrappers})*encoder\.layer\.", str(name)) for name in content)


def predictor_adds_table(networks: Mapping[str, Any]) -> bool:
    """Whether the predictor of a file, if it has one, holds a position table."""
    told = networks.get("predictor") or {}
    return not told or any("predictor_pos_embed" in name for name in told)


def leftover_tables(networks: Mapping[str, Any]) -> bool:
    """Whether position tables in a file are those that V-JEPA 2 files hold and do not use.

    Such a predictor has a mask token per mask and frame count, ten of them where released; V-JEPA
    has one per mask. Files of our own pretraining, which may have many masks, say what they are.
    """
    told = networks.get("predictor") or {}
    tokens = sum(re.search(r"mask_tokens\.\d+$", name) is not None for name in told)
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
            f"{where} is incomplete: {key!r} lacks {shortened(sorted(missing))}, which {sibling!r}"
            " has; give the complete file."
        )


def bare(named: Mapping[str, Any], where: str) -> Tensors:
    """Strip the prefixes that training put before the names of a JEPA network.

    Raises:
        CheckpointError: no tensors, something else among them, or two names that then collide.
    """
    expected = "give a V-JEPA checkpoint, or a state dict of its encoder"
    return bare_names(named, PREFIXES, where, expected=expected)
