"""Checkpoints of pretraining, and the small encoder folders that evaluation reads.

A checkpoint is a `torch.save` dict in the layout of the released files (`encoder, predictor, opt,
scaler, target_encoder, epoch, loss, batch_size, world_size, lr`, names under `module.backbone.`),
so that the released code reads it too, with one more key, `frozenbench`: plain facts of the run.

An evaluation folder holds `model.safetensors`, `encoder.json` and `pretraining.json`.

The files do not depend on the engine: sharded tensors are made whole first. All processes call
these functions and the first one writes; on the others they may return before the file is there.
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
from bench.files import write_whole
from bench.pretrain.objective import JointEmbedding
from bench.pretrain.released_optimizer import (
    check_state,
    load_state,
    released_state,
    without_state,
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
    """Write everything that training needs to go on, whole or not at all.

    `facts` are JSON-able and hold `epoch`, `loss`, `batch_size`, `world_size` and `lr`. The modules
    are unwrapped; their parameters may be sharded (FSDP2).

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    online, averaged = _parts(networks), target.state_dict()
    pair = (online["encoder"], online["predictor"])
    plain = json.loads(json.dumps(facts))
    content = {
        "encoder": _released(online["encoder"]),
        "predictor": _released(online["predictor"]),
        "opt": released_state(optimizer, pair, _whole),
        "scaler": None,
        "target_encoder": _released(averaged),
        **{key: plain[key] for key in COUNTERS},
        OWN_KEY: {**plain, "format": FORMAT, "without_state": without_state(optimizer, pair)},
    }
    if _writes():
        write_whole(path, lambda file: _save(content, file))


def load_checkpoint(
    path: Path,
    networks: JointEmbedding,
    target: VideoViT,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any]:
    """Restore weights and optimizer bit by bit and return the facts that were saved with them.

    A released file has no facts but its counters: `step` is None then.

    Raises:
        CheckpointError: anything is missing, unexpected or of another shape; nothing is changed.
    """
    content = read_tensors(path)
    facts = _facts(content, path)
    online = _parts(networks)
    pair = (online["encoder"], online["predictor"])
    own = {**online, "target_encoder": target.state_dict(keep_vars=True)}
    held = {key: _bare(content, key, path) for key in own}
    for key, tensors in own.items():
        check_coverage(tensors, held[key], f"{path} [{key}]")
    told = content.get(OWN_KEY, {}).get("without_state")
    check_state(content["opt"], optimizer, pair, stateless=told, where=f"{path} [opt]")
    for key, tensors in own.items():
        for name, tensor in tensors.items():
            _copy(held[key][name], tensor.detach())
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
    """Write the target encoder as a folder that `bench run --encoder FOLDER` takes.

    It is made under another name and renamed; a folder of that name is replaced. `facts` are
    JSON-able and go to `pretraining.json`.

    Raises:
        BenchError: the disk is full or cannot be written.
    """
    tensors = {key: _whole(tensor) for key, tensor in target.state_dict().items()}
    if not _writes():
        return
    made = folder.with_name(f".{folder.name}.unfinished")
    replaced = folder.with_name(f".{folder.name}.replaced")
    for leftover in (made, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    write_encoder(made, tensors, target.architecture, name=name, source="pretrained here")
    write_whole(made / PRETRAINING_FILE, (json.dumps(facts, indent=2) + "\n").encode())
    if folder.exists():
        folder.rename(replaced)
    made.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _parts(networks: JointEmbedding) -> dict[str, Tensors]:
    """State dicts of encoder and predictor with the parameters themselves.

    Taken through the whole, since that is what an engine hooks to bring its shards in order.
    """
    state = networks.state_dict(keep_vars=True)
    return {
        part: {n.removeprefix(f"{part}."): t for n, t in state.items() if n.startswith(f"{part}.")}
        for part in ("encoder", "predictor")
    }


def _released(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {f"{RELEASED_PREFIX}{name}": _whole(tensor) for name, tensor in tensors.items()}


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """Gather the shards of a tensor, on the CPU where it is written; all processes take part."""
    tensor = tensor.detach()
    if isinstance(tensor, sharded.DTensor):
        tensor = tensor.full_tensor()
    if not _writes():
        return torch.empty(0)
    tensor = tensor.cpu().contiguous()
    owns_all = tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if owns_all else tensor.clone()  # a view would drag its whole storage along


def _save(content: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:  # a full disk, which closing the archive then covers up
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def _copy(value: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Copy a whole tensor, sharded as `out` is: every process has read the file, so none talks."""
    if isinstance(out, sharded.DTensor):
        value = sharded.distribute_tensor(
            value.to(out.device), out.device_mesh, out.placements, src_data_rank=None
        )
    with torch.no_grad():
        return out.copy_(value)


def _facts(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    wanted = ("encoder", "predictor", "opt", "target_encoder", *COUNTERS)
    missing = [key for key in wanted if key not in content]
    if missing:
        raise CheckpointError(
            f"{path} is no checkpoint of pretraining: it has no {', '.join(missing)}; give a file"
            " that pretraining wrote, with predictor and optimizer."
        )
    if OWN_KEY not in content:
        return {"step": None, **{key: content[key] for key in COUNTERS}}
    own = content[OWN_KEY]
    if not isinstance(own, Mapping) or own.get("format") != FORMAT or "without_state" not in own:
        raise CheckpointError(
            f"{path}: {OWN_KEY!r} in it is not of the format {FORMAT}; resume it with the version"
            " of frozenbench that wrote it."
        )
    return {key: value for key, value in own.items() if key not in ("format", "without_state")}


def _bare(content: Mapping[str, Any], key: str, path: Path) -> Tensors:
    if not isinstance(content[key], Mapping) or not content[key]:
        raise CheckpointError(
            f"{path} [{key}] is empty: such a file is evaluated, not trained further; give one that"
            " pretraining wrote."
        )
    return bare(content[key], f"{path} [{key}]")


def _writes() -> bool:
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not spread or torch.distributed.get_rank() == 0
