"""Encoder folders: the format in which video ViTs of the JEPA families are saved and loaded.

A folder holds `model.safetensors` (bare names) and `encoder.json` (architecture, SHA-256 of the
tensor file and of its own other facts, and the family if it is not V-JEPA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from bench.encoders.encoder import Encoder
from bench.encoders.networks.rotary_vit import RotaryViT
from bench.encoders.networks.video_vit import VideoViT, VitArchitecture
from bench.encoders.weights.checkpoints import read_tensors
from bench.encoders.weights.held_tensors import StoredEncoder, widened
from bench.errors import CheckpointError, UsageError
from bench.files import file_sha256, sealed, unsealed, write_whole

TENSORS_FILE = "model.safetensors"
FACTS_FILE = "encoder.json"
FORMAT = "frozenbench-encoder-1"
VJEPA, VJEPA2 = "vjepa", "vjepa2"  # families with encoder folders, by the encoder that opens them


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write `model.safetensors` and `encoder.json`, to be loaded as `vjepa:` or `vjepa2:FOLDER`.

    Raises:
        UsageError: the encoder is not a video ViT (a pixel floor has nothing to save).
    """
    network = encoder.network
    if not isinstance(network, VideoViT | RotaryViT):
        raise UsageError(
            f"encoder {encoder.spec.name!r} is not a video ViT and cannot be saved; use its name."
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
    write_whole(folder / FACTS_FILE, sealed(facts))


def read_folder(folder: Path, family: str) -> StoredEncoder:
    """Return the encoder in a folder written by `save_encoder`.

    Raises:
        CheckpointError: not such a folder, a changed one, or one of another family.
    """
    if not (folder / FACTS_FILE).is_file() or not (folder / TENSORS_FILE).is_file():
        raise CheckpointError(
            f"{folder} is not an encoder folder: it needs {FACTS_FILE} and {TENSORS_FILE}; to load"
            " a checkpoint, name the file itself."
        )
    try:
        facts = unsealed((folder / FACTS_FILE).read_bytes())
        wrong_format = facts["format"] != FORMAT
        architecture = VitArchitecture(**facts["architecture"])
        recorded, is_floor = facts["sha256"], bool(facts["is_floor"])
        written = str(facts.get("family", VJEPA))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / FACTS_FILE} cannot be parsed ({error!r}); save the folder again."
        ) from error
    if wrong_format or file_sha256(folder / TENSORS_FILE) != recorded:
        raise CheckpointError(
            f"{folder / TENSORS_FILE} is not the file that {FACTS_FILE} describes (format or"
            " SHA-256 differ); copy the whole folder again."
        )
    if written != family:
        raise CheckpointError(
            f"{folder} holds an encoder of the family {written}; open it as {written}:{folder}."
        )
    where, tensors = str(folder), read_tensors(folder / TENSORS_FILE)
    stored = StoredEncoder(
        where=where, tensors=tensors, architecture=architecture, is_floor=is_floor
    )
    return widened(stored)
