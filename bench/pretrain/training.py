"""The state of one pretraining run: networks, optimizer, data and the files of its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from bench.distributed import World, any_rank
from bench.errors import UsageError
from bench.files import remove_leftovers, write_whole
from bench.pretrain.checkpoint import load_checkpoint, save_checkpoint, save_evaluation_folder
from bench.pretrain.chunks import chunk_masks, chunk_positions, plan_chunks, share_of
from bench.pretrain.engine import Engine, wrap
from bench.pretrain.job import PretrainJob
from bench.pretrain.lists import read_lists
from bench.pretrain.objective import fresh_networks
from bench.pretrain.order import Order
from bench.pretrain.schedule import StepValues, step_values
from bench.pretrain.step import Chunk, StepReport, make_optimizer, train_step
from bench.pretrain.stream import ClipBatch, clip_batches

CHECKPOINT_FILE = "latest.pth.tar"
RECIPE_FILE = "recipe.json"
ENCODERS_FOLDER = "encoders"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stepped:
    """What one step did on this process.

    `context_tokens` and `target_tokens` are those of a clip, one number per mask; `clips` are the
    last ones, `[B, 3, T, H, W]`.
    """

    values: StepValues
    report: StepReport
    context_tokens: list[int]
    target_tokens: list[int]
    seconds: float
    seconds_waited: float
    unreadable: list[tuple[str, str]]
    clips: torch.Tensor


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
        self.lists = read_lists(job.lists, job.data)
        self._claim()
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
        self._batches = self._stream()

    @property
    def checkpoint(self) -> Path:
        """The file that a resumed run goes on from."""
        return self.job.out / CHECKPOINT_FILE

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
        """Make the next step."""
        begin = time.perf_counter()
        number = self.done + 1
        values = step_values(self.recipe, number)
        batches: list[ClipBatch] = []
        masks_sizes: list[tuple[int, int]] = []

        def chunks() -> Iterator[Chunk]:
            for chunk in self.chunks:
                batch = next(self._batches)
                batches.append(batch)
                device = self.world.device
                masks = [
                    mask.to(device)
                    for mask in chunk_masks(self.recipe, chunk, step=number, seed=self.job.seed)
                ]
                masks_sizes[:] = [(m.context.shape[1], m.target.shape[1]) for m in masks]
                yield batch.clips.to(device, non_blocking=True), masks

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
        self.done = number
        return Stepped(
            values=values,
            report=report,
            context_tokens=[size for size, _ in masks_sizes],
            target_tokens=[size for _, size in masks_sizes],
            seconds=time.perf_counter() - begin,
            seconds_waited=sum(batch.seconds_waited for batch in batches),
            unreadable=[failure for batch in batches for failure in batch.unreadable],
            clips=batches[-1].clips,
        )

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
        folder = self.job.out / ENCODERS_FOLDER / f"step_{self.done:09d}"
        save_evaluation_folder(
            folder,
            self.engine.target,
            name=f"{self.job.out.resolve().name}-{self.done}",
            facts={**self.facts, "step": self.done, **results},
        )
        return folder

    def _claim(self) -> None:
        """Write down what this run is, or check that the folder holds the same run.

        Raises:
            UsageError: the folder holds another run, or the same one and `--resume` was not said.
        """
        path, job = self.job.out / RECIPE_FILE, self.job
        found = path.exists()
        if found and not job.resume:
            raise UsageError(
                f"{job.out} holds a pretraining run already: go on with --resume, or name another"
                " folder with --out."
            )
        if found:
            held = json.loads(path.read_text(encoding="utf-8"))
            if different := [key for key in self.facts if held.get(key) != self.facts[key]]:
                raise UsageError(
                    f"{job.out} was begun with another {' and '.join(different)}, see"
                    f" {path.name} there; resume it with the same, or name another folder with"
                    " --out."
                )
        # Nobody writes before all have looked.
        any_rank(self.world, found)
        if not found and self.world.is_main:
            write_whole(path, (json.dumps(self.facts, indent=2) + "\n").encode())
        if self.world.is_main:
            remove_leftovers(job.out)

    def _resume(self) -> int:
        facts = load_checkpoint(
            self.checkpoint, self.engine.networks, self.engine.target, self.optimizer
        )
        if facts.get("step") is None:
            raise UsageError(
                f"{self.checkpoint} was not written by this command, so its data order is unknown;"
                " move it away."
            )
        return int(facts["step"])

    def _stream(self) -> Iterator[ClipBatch]:
        return clip_batches(
            self.lists,
            Order(self.lists.sizes, self.lists.weights, self.job.seed),
            self.recipe,
            chunk_positions(self.recipe, self.chunks, first_step=self.done + 1),
            seed=self.job.seed,
            workers=self.job.workers,
            keep_decoded_bytes=int(self.job.keep_decoded_gb * 1e9),
        )
