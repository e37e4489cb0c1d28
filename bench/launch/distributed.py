"""The processes that share a run: the identity of this one, and their communication.

Processes are started by torchrun or by `bench.launch.here_or_torchrun` on Slurm; both set RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT in the environment. Without them a run is a
single process and nothing communicates. Every function that takes a `World` and exchanges data must
be called by all processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from bench.errors import UsageError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# The first process writes checkpoints and probes the encoder while the others wait for it.
TIMEOUT = timedelta(hours=1)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among all: `rank` of `size`, `local_rank` on its machine, and `device`."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes, prints and probes."""
        return self.rank == 0


def launched() -> bool:
    """Whether a launcher started this process as one of several (or as a group of one)."""
    return "RANK" in os.environ


@contextmanager
def join(device_name: str) -> Iterator[World]:
    """Join the processes of this run, until the end of the block.

    `device_name` is `auto` (a GPU if there is one), `cpu`, `cuda`, or `cuda:N` for a single
    process. With several processes each takes the GPU of its local rank. The backend is NCCL on
    GPUs and gloo on CPUs.

    Raises:
        UsageError: a missing device, a numbered GPU for several processes, or an incomplete
            environment.
    """
    if not launched():
        yield World(device=_device(device_name))
        return
    rank, size, local_rank = _ranks()
    device = _device(device_name, local_rank if size > 1 else None)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield World(rank=rank, local_rank=local_rank, size=size, device=device)
    finally:
        distributed.destroy_process_group()


def mean_over_ranks(world: World, value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes; every process gets it."""
    if world.size == 1:
        return value
    total = value.detach().to(world.device, copy=True)
    distributed.all_reduce(total)
    return total / world.size


def any_rank(world: World, flag: bool) -> bool:
    """Return whether the flag is set on any process; every process gets the answer."""
    if world.size == 1:
        return flag
    votes = torch.tensor(int(flag), device=world.device)
    distributed.all_reduce(votes)
    return bool(votes.item())


def gather_objects(world: World, value: T) -> list[T]:
    """Return the (picklable) values of all processes by rank; every process gets all."""
    if world.size == 1:
        return [value]
    values: list[T] = [value] * world.size
    distributed.all_gather_object(values, value)
    return values


def _ranks() -> tuple[int, int, int]:
    """Return rank, size and local rank from the environment."""
    missing = [name for name in VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(
            f"RANK is set but {', '.join(missing)} is not: a launcher sets all of"
            f" {', '.join(VARIABLES)}; start with torchrun or --gpus, or unset RANK."
        )
    try:
        rank, size, local_rank = (int(os.environ[name]) for name in VARIABLES[:3])
    except ValueError as error:
        raise UsageError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers: {error}.") from error
    if not 0 <= rank < size or local_rank < 0:
        raise UsageError(
            f"RANK={rank} and LOCAL_RANK={local_rank} do not fit WORLD_SIZE={size}: ranks range"
            f" from 0 to {size - 1}."
        )
    return rank, size, local_rank


def _device(name: str, local_rank: int | None = None) -> torch.device:
    """Return the device of this process; `local_rank` is None for a single process."""
    num_gpus = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if num_gpus else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name!r} is not a device; use cpu, cuda or cuda:0.") from error
    if device.type != "cuda":
        return device
    if not num_gpus:
        raise UsageError(f"--device {name}: torch finds no GPU here; see: bench doctor.")
    if local_rank is None:
        return torch.device("cuda", device.index or 0)
    if device.index is not None:
        raise UsageError(
            f"--device {name} would put every process on one GPU; use --device cuda, and select"
            " GPUs with CUDA_VISIBLE_DEVICES."
        )
    if local_rank >= num_gpus:
        raise UsageError(
            f"process {local_rank} of this machine has no GPU, torch finds {num_gpus}: start at"
            f" most {num_gpus} processes here, or expose more GPUs with CUDA_VISIBLE_DEVICES."
        )
    return torch.device("cuda", local_rank)
