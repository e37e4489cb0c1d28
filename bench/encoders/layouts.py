"""What a V-JEPA weight file holds: which tensors are the encoder, and which network they make.

Released layout: a `torch.save` dict `encoder, predictor, opt, scaler, target_encoder, epoch, ...`
with names under `module.backbone.`. Our own: a folder with `model.safetensors` (bare names) and
`encoder.json` (architecture and the SHA-256 of the tensors' file).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from bench.encoders.checkpoints import read_tensors, shortened
from bench.encoders.encoder import Encoder
from bench.encoders.video_vit import VideoViT, VitArchitecture
from bench.errors import CheckpointError, UsageError
from bench.files import file_sha256, write_whole

TENSORS_FILE = "model.safetensors"
FACTS_FILE = "encoder.json"
FORMAT = "frozenbench-encoder-1"
RELEASED_PREFIX = "module.backbone."
PREFIXES = ("module.", "backbone.", "_orig_mod.")
Tensors = dict[str, torch.Tensor]


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
        return _read_folder(path)
    tensors, notes = _encoder_of(read_tensors(path), key, str(path))
    return _widened(Held(where=str(path), tensors=tensors, notes=notes))


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write `model.safetensors` and `encoder.json`, which `vjepa:FOLDER` loads again.

    Raises:
        UsageError: the encoder is not a video ViT (a pixel floor has nothing to save).
    """
    network = encoder.network
    if not isinstance(network, VideoViT):
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
    )


def write_encoder(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    architecture: VitArchitecture,
    *,
    name: str,
    source: str,
    is_floor: bool = False,
) -> None:
    """Write the two files of an encoder folder from a state dict under bare names."""
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    write_whole(folder / TENSORS_FILE, save(whole))
    facts = {
        "format": FORMAT,
        "name": name,
        "source": source,
        "is_floor": is_floor,
        "architecture": asdict(architecture),
        "sha256": file_sha256(folder / TENSORS_FILE),
    }
    write_whole(folder / FACTS_FILE, (json.dumps(facts, indent=2) + "\n").encode())


def save_released(path: Path, *, target: VideoViT, encoder: VideoViT) -> None:
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


def _released_names(network: VideoViT) -> Tensors:
    return {f"{RELEASED_PREFIX}{n}": t.detach().cpu() for n, t in network.state_dict().items()}


def _read_folder(folder: Path) -> Held:
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
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / FACTS_FILE} is not understood ({error!r}); write the folder again."
        ) from error
    if wrong_format or file_sha256(folder / TENSORS_FILE) != recorded:
        raise CheckpointError(
            f"{folder / TENSORS_FILE} is not the file that {FACTS_FILE} describes (format or"
            " SHA-256 differ); copy the folder again, whole."
        )
    return _widened(
        Held(
            where=str(folder),
            tensors=read_tensors(folder / TENSORS_FILE),
            architecture=architecture,
            is_floor=is_floor,
        )
    )


def _encoder_of(
    content: Mapping[str, Any], key: str, where: str
) -> tuple[Tensors, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    networks = {k: v for k, v in content.items() if isinstance(v, Mapping)}
    if key in networks:
        tensors = bare_names(networks[key], f"{where} [{key}]")
        _refuse_strangers(tensors, networks, where)
        _refuse_unequal_halves(tensors, networks, key, where)
    elif others := {"encoder", "target_encoder"} & networks.keys():
        raise CheckpointError(
            f"{where} has no {key!r}; it holds {shortened(sorted(content))}; to take the other"
            f" network, say --set encoder.key={min(others)}."
        )
    elif "predictor" in networks:
        raise CheckpointError(
            f"{where} holds a predictor ({shortened(bare_names(networks['predictor'], where))}),"
            " not an encoder; take the checkpoint that has 'target_encoder'."
        )
    else:
        tensors = bare_names(content, where)
        _refuse_strangers(tensors, {}, where)
        notes = ("a bare state dict: the file does not say whether it is the target encoder",)
    return tensors, notes


def bare_names(named: Mapping[str, Any], where: str) -> Tensors:
    """Strip the wrappers' prefixes from every name; two names that then collide are refused."""
    tensors = {str(name): value for name, value in named.items()}
    strangers = [n for n, value in tensors.items() if not isinstance(value, torch.Tensor)]
    if strangers or not tensors:
        raise CheckpointError(
            f"{where} is not a state dict: {shortened(strangers) or 'it is empty'}"
            f"{' hold no tensor' if strangers else ''}; give a V-JEPA checkpoint, or a state dict"
            " of its encoder."
        )
    bare: Tensors = {}
    for name, tensor in tensors.items():
        short = re.sub(rf"^(?:{'|'.join(map(re.escape, PREFIXES))})+", "", name)
        if short in bare:
            raise CheckpointError(
                f"{where} holds {short!r} twice, under different prefixes (one of them {name!r});"
                " save one network per state dict."
            )
        bare[short] = tensor
    return bare


def _refuse_strangers(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
    predictor = [n for n in tensors if n.startswith(("predictor_", "mask_token"))]
    if predictor:
        raise CheckpointError(
            f"{where} holds a predictor ({shortened(predictor)}), not an encoder; take the"
            " checkpoint that has 'target_encoder'."
        )
    if any("query_tokens" in n or "xattn" in n for n in tensors):
        raise CheckpointError(f"{where} holds an attentive probe; give an encoder's checkpoint.")
    told = networks.get("predictor") or {}
    rotary = bool(told) and not any("predictor_pos_embed" in name for name in told)
    if "pos_embed" not in tensors or rotary:
        raise CheckpointError(
            f"{where} has no fixed position table (pos_embed of the encoder, predictor_pos_embed"
            " of the predictor): it is not a V-JEPA file (V-JEPA 2 rotates its positions) or half"
            " of one; give a complete V-JEPA checkpoint."
        )


def _refuse_unequal_halves(
    tensors: Tensors, networks: Mapping[str, Any], key: str, where: str
) -> None:
    sibling = "encoder" if key == "target_encoder" else "target_encoder"
    if sibling not in networks:
        return
    missing = bare_names(networks[sibling], f"{where} [{sibling}]").keys() - tensors.keys()
    if missing:
        raise CheckpointError(
            f"{where} is incomplete: {key!r} lacks {shortened(sorted(missing))}, which {sibling!r}"
            " has; give the complete file."
        )


def _widened(held: Held) -> Held:
    """Copy to float32 (also out of the mapped file) and refuse what cannot be weights."""
    kinds = {str(t.dtype).removeprefix("torch.") for t in held.tensors.values()}
    whole = [n for n, t in held.tensors.items() if not t.is_floating_point() or t.is_sparse]
    if whole:
        raise CheckpointError(
            f"{held.where}: {shortened(whole)} are not dense floating-point tensors; give the"
            " unquantised checkpoint."
        )
    tensors = {n: t.to(torch.float32, copy=True).contiguous() for n, t in held.tensors.items()}
    bad = [n for n, t in tensors.items() if not torch.isfinite(t).all()]
    if bad:
        raise CheckpointError(
            f"{held.where}: {shortened(bad)} hold values that are not finite; the training run"
            " diverged or the file is damaged."
        )
    others = sorted(kinds - {"float32"})
    notes = (f"weights stored as {', '.join(others)}, read as float32",) if others else ()
    rounding = max(torch.finfo(t.dtype).eps for t in held.tensors.values())
    return replace(held, tensors=tensors, notes=held.notes + notes, rounding=rounding)
