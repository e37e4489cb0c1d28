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
from bench.pretrain.chunks import chunk_masks, chunk_positions, local_batch_size, plan_chunks
from bench.pretrain.claim import check_folder, claim_folder, folder_in_use, require_same_run
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
class StepResult:
    """The outcome of one step on this process.

    `context_tokens` and `target_tokens` are per clip, one number per mask, averaged over chunks.
    """

    values: StepValues
    report: StepReport
    context_tokens: list[float]
    target_tokens: list[float]
    seconds: float
    seconds_waited: float
    unreadable: list[tuple[str, str]]


class Training:
    """A run in the folder `job.out`; all processes create one and call its methods in lockstep.

    Raises:
        UsageError: the folder holds another run, or the recipe does not fit the machine.
        DataError: lists cannot be read.
        CheckpointError: the checkpoint cannot be resumed.
    """

    def __init__(self, job: PretrainJob, world: World) -> None:
        self.job, self.world, self.recipe = job, world, job.recipe
        micro = local_batch_size(self.recipe, world_size=world.size, accumulate=job.accumulate)
        self.chunks = plan_chunks(
            self.recipe,
            world_size=world.size,
            rank=world.rank,
            micro_batch=micro if job.accumulate > 1 else None,
        )
        if job.watch:
            # Fail on all processes: if only the measuring one failed, the others would hang.
            registry.find("tasks", job.watch)
        self.lists = read_lists(job.lists, job.data)
        check_folder(job.out, self.facts, resume=job.resume)
        if self.checkpoint.exists() and not job.resume:
            raise folder_in_use(job.out)
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
        """The file that a run resumes from."""
        return self.job.out / CHECKPOINT_FILE

    @property
    def encoder_folder(self) -> Path:
        """Folder of the encoder at the current step, whether saved or not."""
        return self.job.out / FOLDERS / f"step_{self.done:09d}"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Everything the weights depend on, except the number of steps."""
        return {
            "recipe": json.loads(json.dumps(self.recipe.facts())),
            "lists": dict(zip(self.lists.names, self.lists.sizes, strict=True)),
            "lists_digest": self.lists.digest,
            "seed": self.job.seed,
        }

    def step(self) -> StepResult:
        """Run the next step.

        Raises:
            DivergedError: loss or gradients are not finite.
            DataError: too many files in a row are unreadable.
        """
        start = time.perf_counter()
        number, device = self.done + 1, self.world.device
        values = step_values(self.recipe, number)
        batches: list[ClipBatch] = []
        masks: list[Sequence[Mask]] = []

        def chunks() -> Iterator[Chunk]:
            """Yield the chunks on the device, and keep their batches and masks for the report."""
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
        return StepResult(
            values=values,
            report=report,
            context_tokens=[fmean(m.context.shape[1] for m in kind) for kind in kinds],
            target_tokens=[fmean(m.target.shape[1] for m in kind) for kind in kinds],
            seconds=time.perf_counter() - start,
            seconds_waited=sum(batch.seconds_waited for batch in batches),
            unreadable=[failure for batch in batches for failure in batch.unreadable],
        )

    def first_clips(self, count: int) -> torch.Tensor:
        """Return the run's first clips, `[count, 3, T, H, W]`, whatever the current step."""
        batches = self._stream(iter([np.arange(count, dtype=np.int64)]), workers=0)
        return next(batches).clips

    def save(self, loss: float) -> None:
        """Write the checkpoint of the current step, replacing the previous one."""
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
        """Save the target encoder for evaluation and return its folder."""
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
        """Record the facts of this run, which owns its folder from then on."""
        # No process writes before all have checked the folder.
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
                f"{error} If you have no copy of it, remove it; --resume then starts from scratch."
            ) from error
        if facts.get("step") is None:
            raise UsageError(
                f"{self.checkpoint} was not written by this command, so its data order is unknown;"
                " move it away; --resume then starts from scratch."
            )
        require_same_run(self.job.out, facts, self.facts)
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
