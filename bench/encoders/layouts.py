"""What a JEPA weight file holds: which tensors are the encoder, and which network they make.

Released layout: a `torch.save` dict `encoder, predictor, opt, scaler, target_encoder, epoch, ...`
with names under `module.backbone.`. Our own: a folder with `model.safetensors` (bare names) and
`encoder.json` (architecture and the SHA-256 of the tensors' file; the family too, if it is not
V-JEPA).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from bench.encoders.checkpoints import read_tensors, shortened
from bench.encoders.encoder import Encoder
from bench.encoders.rotary_vit import RotaryViT
from bench.encoders.state_dicts import Tensors, as_float32, bare_names, rounding
from bench.encoders.video_vit import VideoViT, VitArchitecture
from bench.errors import CheckpointError, UsageError
from bench.files import file_sha256, write_whole

TENSORS_FILE = "model.safetensors"
FACTS_FILE = "encoder.json"
FORMAT = "frozenbench-encoder-1"
RELEASED_PREFIX = "module.backbone."
OWN_KEY = "frozenbench"  # what checkpoints of our own pretraining say of themselves
FEWEST_LEFTOVER_TOKENS = 4  # two masks and two frame counts
PREFIXES = ("module.", "backbone.", "_orig_mod.")
HUB_PREFIX = "vjepa2."
VJEPA, VJEPA2 = "vjepa", "vjepa2"  # families that have encoder folders, by what opens them
# Raises `CheckpointError` unless bare tensors, given all networks of the file, are the family's.
Check = Callable[[Tensors, Mapping[str, Any], str], None]


@dataclass(frozen=True, kw_only=True)
class Held:
    """Encoder tensors of a file under bare names; `architecture` and `is_floor` if it says so.

    `rounding` is the largest error that the stored precision makes on numbers up to 1.
    """

    where: str
    tensors: Tensors
    notes: tuple[str, ...] = ()
    architecture: VitArchitecture | None = None
    is_floor: bool = False
    rounding: float = 0.0


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


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write `model.safetensors` and `encoder.json`, which `vjepa:FOLDER` loads again.

    A V-JEPA 2 encoder is loaded again by `vjepa2:FOLDER`.

    Raises:
        UsageError: the encoder is not a video ViT (a pixel floor has nothing to save).
    """
    network = encoder.network
    if not isinstance(network, VideoViT | RotaryViT):
        raise UsageError(
            f"encoder {encoder.spec.name!r} is no video ViT, so it has no weights to save; name it"
            " in the run instead."
        )
    write_encoder(
        folder,
        network.state_dict(),
        network.architecture,
        name=encoder.spec.name,
        source=encoder.spec.source,
        is_floor=encoder.spec.is_floor,
        family=VJEPA2 if isinstance(network, RotaryViT) else VJEPA,
    )


def write_encoder(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    architecture: VitArchitecture,
    *,
    name: str,
    source: str,
    is_floor: bool = False,
    family: str = VJEPA,
) -> None:
    """Write the two files of an encoder folder from a state dict under bare names."""
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    write_whole(folder / TENSORS_FILE, save(whole))
    facts = {
        "format": FORMAT,
        **({} if family == VJEPA else {"family": family}),
        "name": name,
        "source": source,
        "is_floor": is_floor,
        "architecture": asdict(architecture),
        "sha256": file_sha256(folder / TENSORS_FILE),
    }
    write_whole(folder / FACTS_FILE, (json.dumps(facts, indent=2) + "\n").encode())


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


def read_folder(folder: Path, family: str) -> Held:
    """Return what a folder written here holds.

    Raises:
        CheckpointError: no such folder, one that was changed, or of another family.
    """
    if not (folder / FACTS_FILE).is_file() or not (folder / TENSORS_FILE).is_file():
        raise CheckpointError(
            f"{folder} is no encoder folder: it needs {FACTS_FILE} and {TENSORS_FILE}; to load a"
            " checkpoint, name the file itself."
        )
    try:
        facts = json.loads((folder / FACTS_FILE).read_text())
        wrong_format = facts["format"] != FORMAT
        architecture = VitArchitecture(**facts["architecture"])
        recorded, is_floor = facts["sha256"], bool(facts["is_floor"])
        written = str(facts.get("family", VJEPA))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / FACTS_FILE} is not understood ({error!r}); write the folder again."
        ) from error
    if wrong_format or file_sha256(folder / TENSORS_FILE) != recorded:
        raise CheckpointError(
            f"{folder / TENSORS_FILE} is not the file that {FACTS_FILE} describes (format or"
            " SHA-256 differ); copy the folder again, whole."
        )
    if written != family:
        raise CheckpointError(
            f"{folder} holds an encoder of the family {written}; open it as {written}:{folder}."
        )
    return widened(
        Held(
            where=str(folder),
            tensors=read_tensors(folder / TENSORS_FILE),
            architecture=architecture,
            is_floor=is_floor,
        )
    )


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
    return any(name.removeprefix(HUB_PREFIX).startswith("encoder.layer.") for name in content)


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


def widened(held: Held) -> Held:
    """Return what is held as float32, with a note and the rounding of the type it was stored in.

    Raises:
        CheckpointError: tensors that cannot be weights.
    """
    tensors, notes = as_float32(held.tensors, held.where)
    rounds = rounding(held.tensors)
    return replace(held, tensors=tensors, notes=held.notes + notes, rounding=rounds)
