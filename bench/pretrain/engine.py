"""The engine that runs a step: one process, DDP or FSDP2, with the same weights after it.

Engines are torch's own (`DistributedDataParallel`; `fully_shard`, arXiv 2304.11277). Parameter
names never change, so that a checkpoint of one engine is read by every other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from bench.encoders.networks.video_vit import VideoViT
from bench.errors import UsageError, known
from bench.launch.distributed import World
from bench.pretrain.objective import JointEmbedding

EngineKind = Literal["auto", "plain", "ddp", "fsdp2"]
KINDS = ("auto", "plain", "ddp", "fsdp2")


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Networks made ready for a step. `model` is what `train_step` takes as `wrapped`.

    `networks` and `target` are the modules that were given, on the device of the process; under
    FSDP2 their parameters are sharded, both in the same way, and only `model` and `target` can be
    called, by all processes. Make the optimizer from `networks`.
    """

    kind: Literal["plain", "ddp", "fsdp2"]
    model: nn.Module
    networks: JointEmbedding
    target: VideoViT


def wrap(
    networks: JointEmbedding,
    target: VideoViT,
    world: World,
    kind: EngineKind = "auto",
    *,
    compile_blocks: bool = False,
    checkpoint_activations: bool = False,
) -> Engine:
    """Move networks to the device of this process, in place, and let all processes share a step.

    `auto` is `plain` for one process and `ddp` for several. All processes start with the weights of
    the first one. `compile_blocks` compiles every block once for all numbers of tokens;
    `checkpoint_activations` computes a block again in the backward pass and keeps nothing of it.

    Parameters stay float32 in every engine and `train_step` casts by autocast: FSDP2's own mixed
    precision would also round biases and layer norms, and not train what DDP trains.

    Raises:
        UsageError: there is no such engine, or it does not go with this number of processes.
    """
    chosen = _chosen(kind, world)
    for network in (networks, target):
        network.to(world.device)
    if world.device.type == "cpu":
        plain_attention(networks)  # the slow part is the backward pass, and the target has none
    if world.size > 1:  # with the weights of the first process
        for network in (networks, target):
            for value in (*network.parameters(), *network.buffers()):
                distributed.broadcast(value.detach(), src=0)
    # Below, what blocks do is changed, and neither their names nor the hooks of engines.
    if checkpoint_activations:
        for block in blocks_of(networks):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if compile_blocks:
        for block in (*blocks_of(networks), *blocks_of(target)):
            # Contexts and targets have another number of tokens in every step.
            block.forward = torch.compile(block.forward, dynamic=True)
    model: nn.Module = networks
    if chosen == "ddp":
        # The position tables never change. How to say so has another name since torch 2.15.
        names = inspect.signature(DistributedDataParallel).parameters
        once = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        devices = [world.device.index] if world.device.type == "cuda" else None
        options: dict[str, Any] = {once: False, "device_ids": devices}
        model = DistributedDataParallel(networks, gradient_as_bucket_view=True, **options)
    elif chosen == "fsdp2":
        _shard(networks, world)
        _shard(target, world)
    return Engine(kind=chosen, model=model, networks=networks, target=target)


def plain_attention(network: nn.Module) -> None:
    """Let attention compute its softmax in the open.

    Measured on a CPU in bf16 with about 100 tokens: torch's fused attention makes a step take
    0.45 s instead of 0.25 s, by its backward pass.
    """
    for module in network.modules():
        if hasattr(module, "fused_attn"):  # timm's attention
            module.fused_attn = False  # type: ignore[assignment]


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """Yield every transformer block of a network."""
    for name, module in network.named_modules():
        is_list = name.rpartition(".")[2] in ("blocks", "predictor_blocks")
        if isinstance(module, nn.ModuleList) and is_list:
            yield from module


def _chosen(kind: EngineKind, world: World) -> Literal["plain", "ddp", "fsdp2"]:
    known("engine", kind, KINDS)
    if kind == "auto":
        return "ddp" if world.size > 1 else "plain"
    if kind == "plain" and world.size > 1:
        raise UsageError(
            f"engine plain is for one process and here are {world.size}; take ddp or fsdp2."
        )
    if kind in ("ddp", "fsdp2") and not distributed.is_initialized():
        raise UsageError(
            f"engine {kind} shares a step between processes and here is one; start several with"
            " --gpus or torchrun, or take engine plain."
        )
    return kind


def _shard(network: nn.Module, world: World) -> None:
    """Shard every block by itself, and all that is left with the network, over all processes."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in blocks_of(network):
        fully_shard(block, mesh=mesh)
    # Said here because a root that has no backward pass, as the target, would stay unsharded.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)
