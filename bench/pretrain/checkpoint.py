"""Checkpoints of pretraining, and the small encoder folders that evaluation reads.

A checkpoint is a `torch.save` dict in the layout of the released files (`encoder, predictor, opt,
scaler, target_encoder, epoch, loss, batch_size, world_size, lr`, names under `module.backbone.`),
so that the released code can read it, plus the key `frozenbench` with metadata of the run.

An evaluation folder holds `model.safetensors`, `encoder.json` and `pretraining.json`.

The files do not depend on the engine: sharded tensors are gathered first. All processes call these
functions and rank 0 writes; on the other ranks they may return before the file exists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.distributed import tensor as sharded

from bench.encoders.networks.video_vit import VideoViT
from bench.encoders.weights.checkpoints import check_coverage, read_tensors
from bench.encoders.weights.encoder_folder import write_encoder
from bench.encoders.weights.layouts import RELEASED_PREFIX, bare
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError
from bench.files import partial_name, write_whole
from bench.pretrain.objective import JointEmbedding
from bench.pretrain.released_optimizer import (
    check_state,
    load_state,
    names_without_state,
    released_state,
)

OWN_KEY = "frozenbench"
FORMAT = "frozenbench-pretraining-1"
COUNTERS = ("epoch", "loss", "batch_size", "world_size", "lr")
PRETRAINING_FILE = "pretraining.json"


def save_checkpoint(
    path: Path,
    networks: JointEmbedding,
    target: VideoViT,
    optimizer: torch.optim.Optimizer,
    *,
    facts: Mapping[str, Any],
) -> None:
    """Atomically write everything needed to resume training.

    `facts` are JSON-serialisable and include `epoch`, `loss`, `batch_size`, `world_size` and `lr`.
    The modules are unwrapped; their parameters may be sharded (FSDP2).

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    online, averaged = _parts(networks), target.state_dict()
    pair = (online["encoder"], online["predictor"])
    plain = json.loads(json.dumps(facts))
    content = {
        "encoder": _released(online["encoder"]),
        "predictor": _released(online["predictor"]),
        "opt": released_state(optimizer, pair, _gathered),
        "scaler": None,
        "target_encoder": _released(averaged),
        **{key: plain[key] for key in COUNTERS},
        OWN_KEY: {**plain, "format": FORMAT, "without_state": names_without_state(optimizer, pair)},
    }
    if _is_main():
        write_whole(path, lambda file: _save(content, file))


def load_checkpoint(
    path: Path,
    networks: JointEmbedding,
    target: VideoViT,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any]:
    """Restore weights and optimizer bit for bit and return the saved facts.

    A released file only has counters; `step` is None then.

    Raises:
        CheckpointError: a tensor is missing, unexpected or has the wrong shape; nothing is changed.
    """
    content = read_tensors(path)
    facts = _facts(content, path)
    online = _parts(networks)
    pair = (online["encoder"], online["predictor"])
    current = {**online, "target_encoder": target.state_dict(keep_vars=True)}
    saved = {key: _bare(content, key, path) for key in current}
    for key, tensors in current.items():
        check_coverage(tensors, saved[key], f"{path} [{key}]")
    stateless = content.get(OWN_KEY, {}).get("without_state")
    check_state(content["opt"], optimizer, pair, stateless=stateless, where=f"{path} [opt]")
    for key, tensors in current.items():
        for name, tensor in tensors.items():
            _copy(saved[key][name], tensor.detach())
    load_state(
        content["opt"],
        optimizer,
        pair,
        lambda value, like: _copy(value, torch.empty_like(like.detach())),
    )
    return facts


def save_evaluation_folder(
    folder: Path, target: VideoViT, *, name: str, facts: Mapping[str, Any]
) -> None:
    """Write the target encoder as a folder for `bench run --encoder FOLDER`.

    Written under a temporary name, then renamed; an existing folder is replaced. `facts` are
    JSON-serialisable and go to `pretraining.json`.

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    tensors = {key: _gathered(tensor) for key, tensor in target.state_dict().items()}
    if not _is_main():
        return
    unfinished = partial_name(folder.with_name(f".{folder.name}"))
    replaced = partial_name(folder.with_name(f".{folder.name}.replaced"))
    for leftover in (unfinished, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    write_encoder(unfinished, tensors, target.architecture, name=name, source="pretrained here")
    write_whole(unfinished / PRETRAINING_FILE, (json.dumps(facts, indent=2) + "\n").encode())
    if folder.exists():
        folder.rename(replaced)
    unfinished.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _parts(networks: JointEmbedding) -> dict[str, Tensors]:
    # Through the parent module: that is where an engine's state-dict hooks order its shards.
    state = networks.state_dict(keep_vars=True)
    return {
        part: {n.removeprefix(f"{part}."): t for n, t in state.items() if n.startswith(f"{part}.")}
        for part in ("encoder", "predictor")
    }


def _released(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {f"{RELEASED_PREFIX}{name}": _gathered(tensor) for name, tensor in tensors.items()}


def _gathered(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a tensor's shards, onto the CPU of rank 0; a collective call."""
    tensor = tensor.detach()
    if isinstance(tensor, sharded.DTensor):
        tensor = tensor.full_tensor()
    if not _is_main():
        return torch.empty(0)
    tensor = tensor.cpu().contiguous()
    owns_all = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if owns_all else tensor.clone()  # a view would be saved with its whole storage


def _save(content: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:  # closing the archive hides the error of a full disk
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _copy(value: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Copy a full tensor into `out`, sharded alike; every rank read the file, so no broadcast."""
    if isinstance(out, sharded.DTensor):
        value = sharded.distribute_tensor(
            value.to(out.device), out.device_mesh, out.placements, src_data_rank=None
        )
    with torch.no_grad():
        return out.copy_(value)


def _facts(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    required = ("encoder", "predictor", "opt", "target_encoder", *COUNTERS)
    missing = [key for key in required if key not in content]
    if missing:
        raise CheckpointError(
            f"{path} is not a pretraining checkpoint: it has no {', '.join(missing)}; give a file"
            " that pretraining wrote, with predictor and optimizer."
        )
    if OWN_KEY not in content:
        return {"step": None, **{key: content[key] for key in COUNTERS}}
    run = content[OWN_KEY]
    if not isinstance(run, Mapping) or run.get("format") != FORMAT or "without_state" not in run:
        raise CheckpointError(
            f"{path}: its {OWN_KEY!r} entry is not in the format {FORMAT}; resume with the version"
            " of frozenbench that wrote it."
        )
    return {key: value for key, value in run.items() if key not in ("format", "without_state")}


def _bare(content: Mapping[str, Any], key: str, path: Path) -> Tensors:
    if not isinstance(content[key], Mapping) or not content[key]:
        raise CheckpointError(
            f"{path} [{key}] is empty: this file can be evaluated but not resumed; give one that"
            " pretraining wrote."
        )
    return bare(content[key], f"{path} [{key}]")


def _is_main() -> bool:
    is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not is_distributed or torch.distributed.get_rank() == 0
