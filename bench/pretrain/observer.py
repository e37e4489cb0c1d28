"""Logging during a run: losses, speed, health, and an alarm when features collapse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch

from bench.launch.distributed import gather_objects, mean_over_ranks
from bench.pretrain.display import Display
from bench.pretrain.health import feature_health, find_collapse, health_history
from bench.pretrain.journal import Journal, complete_lines, keep_lines, read_journal
from bench.pretrain.online import OnlineProbe
from bench.pretrain.training import StepResult, Training

UNREADABLE_FILE = "unreadable.jsonl"
HEALTH_CLIPS = 32  # when no labelled set is watched


class Observer:
    """Context manager of all processes that logs every `log_every` steps, on rank 0."""

    def __init__(self, training: Training) -> None:
        job, world = training.job, training.world
        self.job, self.world, self.training = job, world, training
        self._steps: list[StepResult] = []
        self._last_loss: torch.Tensor | None = None
        self._logged_files = {path for path, _ in read_unreadable(job.out)}
        entries = read_journal(job.out) if training.done else []
        self._history = health_history(e for e in entries if e["step"] <= training.done)
        last = next((entry for entry in reversed(entries) if entry.get("health")), dict[str, Any]())
        self.results = {k: v for k, v in last.items() if k in ("health", "online", "alarm")}
        # Calling a sharded encoder takes all processes; a replica on rank 0 does not.
        self._measures = world.is_main or training.engine.kind == "fsdp2"
        self._online: OnlineProbe | None = None
        self._clips: torch.Tensor | None = None
        if self._measures and job.watch:
            self._online = OnlineProbe(job.watch, architecture=job.recipe.encoder, data=job.data)
        elif self._measures:
            self._clips = training.first_clips(HEALTH_CLIPS)
        self._outputs: tuple[Journal, Display] | None = None
        if world.is_main:
            self._outputs = Journal(job.out, step=training.done), Display(job.recipe.name)

    def __enter__(self) -> Self:
        if self._outputs:
            self._outputs[1].__enter__()
        if not self.training.done:
            self._write({"step": 0, **self._measurements()})
        return self

    def __exit__(self, *_: object) -> None:
        if self._outputs:
            journal, display = self._outputs
            journal.close()
            display.__exit__()

    @property
    def loss(self) -> float:
        """Loss of the last step on this process, 0 before the first one."""
        return 0.0 if self._last_loss is None else self._last_loss.item()

    def observe(self, step: StepResult) -> None:
        """Collect a step, and log an entry when one is due."""
        self._steps.append(step)
        self._last_loss = step.report.loss
        number, job = self.training.done, self.job
        if number % job.log_every == 0 or number == job.last_step:
            entry = {"step": number, **self._training_metrics()}
            if number % job.watch_every == 0 or number == job.last_step:
                entry |= self._measurements()
            self._write(entry)
            self._steps.clear()

    def log_unreadable(self) -> None:
        """Log every file, of any process, that could not be decoded and is not yet logged."""
        here = {path: reason for step in self._steps for path, reason in step.unreadable}
        found = [pair for known in gather_objects(self.world, here) for pair in known.items()]
        new = {path: reason for path, reason in found if path not in self._logged_files}
        self._logged_files |= new.keys()
        if new and self.world.is_main:
            with (self.job.out / UNREADABLE_FILE).open("a", encoding="utf-8") as file:
                for path, reason in new.items():
                    file.write(json.dumps({"path": path, "reason": reason}) + "\n")

    def _training_metrics(self) -> dict[str, Any]:
        """Means over the steps since the last entry, over all processes."""
        steps, recipe = self._steps, self.job.recipe
        last = steps[-1]
        losses = [step.report.loss for step in steps], [step.report.std_loss for step in steps]
        loss, std_loss = (
            mean_over_ranks(self.world, torch.stack(values).mean()).item() for values in losses
        )
        self.log_unreadable()
        seconds = sum(step.seconds for step in steps)
        device = self.world.device
        is_cuda = device.type == "cuda"
        memory = {"memory_gb": torch.cuda.max_memory_allocated(device) / 1e9} if is_cuda else {}
        return {
            "num_steps": self.job.last_step,
            "loss": loss,
            "std_loss": std_loss,
            "lr": last.values.lr,
            "weight_decay": last.values.weight_decay,
            "momentum": last.values.momentum,
            "encoder_norm": last.report.encoder_norm.item(),
            "predictor_norm": last.report.predictor_norm.item(),
            "context_tokens": self._mean_of_ranks(last.context_tokens),
            "target_tokens": self._mean_of_ranks(last.target_tokens),
            "clips_per_second": recipe.batch_size * len(steps) / seconds,
            "step_seconds": seconds / len(steps),
            "data_wait": sum(step.seconds_waited for step in steps) / seconds,
            "unreadable": len(self._logged_files),
            **memory,
        }

    def _mean_of_ranks(self, sizes: list[float]) -> list[float]:
        means = mean_over_ranks(self.world, torch.tensor(sizes))
        return [round(size, 1) for size in means.tolist()]

    def _measurements(self) -> dict[str, Any]:
        """Health of the target encoder, and probe scores on the watched set, if any."""
        if not self._measures:
            return {}
        target, device = self.training.engine.target, self.world.device
        measured: dict[str, Any] = {}
        if self._online is not None:
            scores = self._online.measure(target, device, self.job.recipe.precision)
            health = scores.health
            measured["online"] = scores.as_dict()
        else:
            assert self._clips is not None
            with torch.no_grad():
                health = feature_health(target(self._clips.to(device)).last.float())
        self._history.append((self.training.done, health))
        measured["health"] = health.as_dict()
        if alarm := find_collapse(self._history):
            measured["alarm"] = alarm
        self.results = measured
        return measured

    def _write(self, entry: dict[str, Any]) -> None:
        if self._outputs and len(entry) > 1:
            journal, display = self._outputs
            journal.write(entry)
            display.update(entry)


def read_unreadable(folder: Path) -> list[tuple[str, str]]:
    """Return path and reason of every undecodable file so far; an unfinished line is removed."""
    path = folder / UNREADABLE_FILE
    lines = complete_lines(path)
    keep_lines(path, lines)
    return [(entry["path"], entry["reason"]) for entry in map(json.loads, lines)]
