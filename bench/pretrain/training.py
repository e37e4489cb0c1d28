"""The state of one pretraining run: networks, optimizer, data and the files of its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from bench import registry
from bench.encoders.named import FOLDERS
from bench.errors import CheckpointError, UsageError
from bench.launch.distributed import World, any_rank
from bench.pretrain.checkpoint import load_checkpoint, save_checkpoint, save_evaluation_folder
from bench.pretrain.chunks import chunk_masks, chunk_positions, plan_chunks, share_of
from bench.pretrain.claim import check_folder, claim_folder, refuse_another, taken
from bench.pretrain.clip_stream import ClipBatch, clip_batches
from bench.pretrain.engine import Engine, wrap
from bench.pretrain.job import PretrainJob
from bench.pretrain.lists import read_lists
from bench.pretrain.masks import Mask
from bench.pretrain.objective import fresh_networks
from bench.pretrain.order import Order
from bench.pretrain.schedule import StepValues, step_values
from bench.pretrain.step import Chunk, DivergedError, StepReport, make_optimizer, train_step
from bench.records.environment import stamp
from bench.types import IntArray

CHECKPOINT_FILE = "latest.pth.tar"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stepped:
    """What one step did on this process.

    `context_tokens` and `target_tokens` are those of a clip, one number per mask, mean over chunks.
    """

    values: StepValues
    report: StepReport
    context_tokens: list[float]
    target_tokens: list[float]
    seconds: float
    seconds_waited: float
    unreadable: list[tuple[str, str]]


class Training:
    """A run in the folder `job.out`; all processes make one and call the same methods in step.

    Raises:
        UsageError: the folder holds another run, or the machine does not fit the recipe.
        DataError: lists that cannot be read.
        CheckpointError: a checkpoint that cannot be resumed.
    """

    def __init__(self, job: PretrainJob, world: World) -> None:
        self.job, self.world, self.recipe = job, world, job.recipe
        micro = share_of(self.recipe, world_size=world.size, accumulate=job.accumulate)
        self.chunks = plan_chunks(
            self.recipe,
            world_size=world.size,
            rank=world.rank,
            micro_batch=micro if job.accumulate > 1 else None,
        )
        if job.watch:
            # Here, on all processes: the one that measures would leave the others waiting.
            registry.find("tasks", job.watch)
        self.lists = read_lists(job.lists, job.data)
        check_folder(job.out, self.facts, resume=job.resume)
        if self.checkpoint.exists() and not job.resume:
            raise taken(job.out)
        networks, target = fresh_networks(self.recipe, seed=job.seed)
        self.engine: Engine = wrap(
            networks,
            target,
            world,
            job.engine,
            compile_blocks=job.compile_blocks,
            checkpoint_activations=job.checkpoint_activations,
        )
        self.optimizer = make_optimizer(self.engine.networks, self.recipe)
        self.done = self._resume() if self.checkpoint.exists() else 0
        positions = chunk_positions(self.recipe, self.chunks, first_step=self.done + 1)
        self._batches = self._stream(positions, workers=job.workers)

    @property
    def checkpoint(self) -> Path:
        """The file that a resumed run goes on from."""
        return self.job.out / CHECKPOINT_FILE

    @property
    def encoder_folder(self) -> Path:
        """Where the encoder of the steps done so far is kept, if it is."""
        return self.job.out / FOLDERS / f"step_{self.done:09d}"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the weights depend on besides the number of steps."""
        return {
            "recipe": json.loads(json.dumps(self.recipe.facts())),
            "lists": dict(zip(self.lists.names, self.lists.sizes, strict=True)),
            "lists_digest": self.lists.digest,
            "seed": self.job.seed,
        }

    def step(self) -> Stepped:
        """Make the next step.

        Raises:
            DivergedError: loss or gradients are no finite numbers.
            DataError: so many unreadable files that the data set must be.
        """
        begin = time.perf_counter()
        number, device = self.done + 1, self.world.device
        values = step_values(self.recipe, number)
        batches: list[ClipBatch] = []
        masks: list[Sequence[Mask]] = []

        def chunks() -> Iterator[Chunk]:
            """Yield the chunks on the device, and note what they were made of."""
            for chunk in self.chunks:
                batches.append(next(self._batches))
                masks.append(chunk_masks(self.recipe, chunk, step=number, seed=self.job.seed))
                clips = batches[-1].clips.to(device, non_blocking=True)
                yield clips, [mask.to(device) for mask in masks[-1]]

        try:
            report = train_step(
                self.recipe,
                self.engine.networks,
                self.engine.target,
                self.optimizer,
                chunks(),
                len(self.chunks),
                values,
                wrapped=self.engine.model,
            )
        except DivergedError as error:
            raise DivergedError(f"step {number}: {error}") from error
        self.done = number
        kinds = list(zip(*masks, strict=True))
        return Stepped(
            values=values,
            report=report,
            context_tokens=[fmean(m.context.shape[1] for m in kind) for kind in kinds],
            target_tokens=[fmean(m.target.shape[1] for m in kind) for kind in kinds],
            seconds=time.perf_counter() - begin,
            seconds_waited=sum(batch.seconds_waited for batch in batches),
            unreadable=[failure for batch in batches for failure in batch.unreadable],
        )

    def first_clips(self, count: int) -> torch.Tensor:
        """Return the first clips of the run's order, `[count, 3, T, H, W]`, whatever its step."""
        batches = self._stream(iter([np.arange(count, dtype=np.int64)]), workers=0)
        return next(batches).clips

    def save(self, loss: float) -> None:
        """Write the checkpoint of the steps done so far, in place of the last one."""
        save_checkpoint(
            self.checkpoint,
            self.engine.networks,
            self.engine.target,
            self.optimizer,
            facts={
                **self.facts,
                "step": self.done,
                # The released readers expect these; an epoch there is 300 steps.
                "epoch": self.done // 300,
                "loss": loss,
                "batch_size": self.recipe.batch_size // self.world.size,
                "world_size": self.world.size,
                "lr": step_values(self.recipe, max(1, self.done)).lr,
            },
        )

    def save_encoder(self, results: dict[str, Any]) -> Path:
        """Write the target encoder for evaluation and return its folder."""
        save_evaluation_folder(
            self.encoder_folder,
            self.engine.target,
            name=f"{self.job.out.resolve().name}-{self.done}",
            facts={
                **self.facts,
                "step": self.done,
                **results,
                "processes": self.world.size,
                "environment": stamp(self.world.device),
            },
        )
        return self.encoder_folder

    def claim(self) -> None:
        """Write down what this run is: from now on its folder is this run's."""
        # Nobody writes before all have looked.
        any_rank(self.world, flag=False)
        if self.world.is_main:
            claim_folder(self.job.out, self.facts)

    def _resume(self) -> int:
        try:
            facts = load_checkpoint(
                self.checkpoint, self.engine.networks, self.engine.target, self.optimizer
            )
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} If there is no copy of it, remove it, and --resume begins anew."
            ) from error
        if facts.get("step") is None:
            raise UsageError(
                f"{self.checkpoint} was not written by this command, so its data order is unknown;"
                " move it away, and --resume begins anew."
            )
        refuse_another(self.job.out, facts, self.facts)
        return int(facts["step"])

    def _stream(self, positions: Iterable[IntArray], *, workers: int) -> Iterator[ClipBatch]:
        return clip_batches(
            self.lists,
            Order(self.lists.sizes, self.lists.weights, self.job.seed),
            self.recipe,
            positions,
            seed=self.job.seed,
            workers=workers,
            keep_decoded_bytes=int(self.job.keep_decoded_gb * 1e9),
        )
