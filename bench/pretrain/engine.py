"""Engines that run steps: one process, DDP or FSDP2, all with the same resulting weights.

Engines are torch's own (`DistributedDataParallel`; `fully_shard`, arXiv 2304.11277). Parameter
names never change, so every engine reads the checkpoints of the others.
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
    """Networks ready for a step. `model` is what `train_step` takes as `wrapped`.

    `networks` and `target` are the given modules, on the device of the process. Under FSDP2 their
    parameters are sharded alike, and only `model` and `target` can be called, by all processes.
    Build the optimizer from `networks`.
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
    """Move networks to the device of this process, in place, and distribute steps over processes.

    `auto` is `plain` for one process and `ddp` for several. All processes start with the weights of
    rank 0. `compile_blocks` compiles every block once for all token counts;
    `checkpoint_activations` recomputes blocks in the backward pass instead of storing activations.

    Parameters stay float32 in every engine and `train_step` uses autocast: FSDP2's own mixed
    precision would also round biases and layer norms, so it would not match DDP.

    Raises:
        UsageError: an unknown engine, or one that does not fit the number of processes.
    """
    chosen = _resolve_kind(kind, world)
    for network in (networks, target):
        network.to(world.device)
    if world.device.type == "cpu":
        disable_fused_attention(networks)  # only the backward pass is slow, and the target has none
    if world.size > 1:
        for network in (networks, target):
            for value in (*network.parameters(), *network.buffers()):
                distributed.broadcast(value.detach(), src=0)
    # Replacing `forward` keeps parameter names and the engines' hooks.
    if checkpoint_activations:
        for block in transformer_blocks(networks):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if compile_blocks:
        for block in (*transformer_blocks(networks), *transformer_blocks(target)):
            # Contexts and targets have a different number of tokens in every step.
            block.forward = torch.compile(block.forward, dynamic=True)
    model: nn.Module = networks
    if chosen == "ddp":
        # The position tables never change. torch 2.15 renamed the option.
        names = inspect.signature(DistributedDataParallel).parameters
        sync = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        devices = [world.device.index] if world.device.type == "cuda" else None
        options: dict[str, Any] = {sync: False, "device_ids": devices}
        model = DistributedDataParallel(networks, gradient_as_bucket_view=True, **options)
    elif chosen == "fsdp2":
        _shard(networks, world)
        _shard(target, world)
    return Engine(kind=chosen, model=model, networks=networks, target=target)


def disable_fused_attention(network: nn.Module) -> None:
    """Disable torch's fused attention: CPU steps in bf16, ~100 tokens, take 0.25 s, not 0.45 s."""
    for module in network.modules():
        if hasattr(module, "fused_attn"):  # timm's attention
            module.fused_attn = False  # type: ignore[assignment]


def transformer_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """Yield every transformer block of a network."""
    for name, module in network.named_modules():
        is_list = name.rpartition(".")[2] in ("blocks", "predictor_blocks")
        if isinstance(module, nn.ModuleList) and is_list:
            yield from module


def _resolve_kind(kind: EngineKind, world: World) -> Literal["plain", "ddp", "fsdp2"]:
    known("engine", kind, KINDS)
    if kind == "auto":
        return "ddp" if world.size > 1 else "plain"
    if kind == "plain" and world.size > 1:
        raise UsageError(
            f"engine plain is for one process, but there are {world.size}; use ddp or fsdp2."
        )
    if kind in ("ddp", "fsdp2") and not distributed.is_initialized():
        raise UsageError(
            f"engine {kind} needs several processes, but there is one; start more with --gpus or"
            " torchrun, or use engine plain."
        )
    return kind


def _shard(network: nn.Module, world: World) -> None:
    """Shard every block on its own, then the rest of the network, over all processes."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in transformer_blocks(network):
        fully_shard(block, mesh=mesh)
    # By default a root without a backward pass, such as the target, would stay unsharded.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)
