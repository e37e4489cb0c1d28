"""What a run tells while it goes on: losses, speed, health, and an alarm when features collapse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch

from bench.launch.distributed import gather_objects, mean_over_ranks
from bench.pretrain.display import Display
from bench.pretrain.health import collapse, feature_health, health_history
from bench.pretrain.journal import Journal, keep_lines, read_journal, whole_lines
from bench.pretrain.online import OnlineProbe
from bench.pretrain.training import Stepped, Training

UNREADABLE_FILE = "unreadable.jsonl"
HEALTH_CLIPS = 32  # where no labelled set is watched


class Observer:
    """Collects the steps of a run and writes an entry every `log_every` of them.

    A context manager that all processes enter; the first one writes and shows.
    """

    def __init__(self, training: Training) -> None:
        job, world = training.job, training.world
        self.job, self.world, self.training = job, world, training
        self._steps: list[Stepped] = []
        self._last_loss: torch.Tensor | None = None
        self._named = {path for path, _ in read_unreadable(job.out)}
        held = read_journal(job.out) if training.done else []
        self._history = health_history(e for e in held if e["step"] <= training.done)
        last = next((entry for entry in reversed(held) if entry.get("health")), dict[str, Any]())
        self.results = {k: v for k, v in last.items() if k in ("health", "online", "alarm")}
        # A sharded encoder needs all processes to be called; a copy on the first one does not.
        self._measures = world.is_main or training.engine.kind == "fsdp2"
        self._online: OnlineProbe | None = None
        self._clips: torch.Tensor | None = None
        if self._measures and job.watch:
            self._online = OnlineProbe(job.watch, architecture=job.recipe.encoder, data=job.data)
        elif self._measures:
            self._clips = training.first_clips(HEALTH_CLIPS)
        self._shown: tuple[Journal, Display] | None = None
        if world.is_main:
            self._shown = Journal(job.out, step=training.done), Display(job.recipe.name)

    def __enter__(self) -> Self:
        if self._shown:
            self._shown[1].__enter__()
        if not self.training.done:
            self._write({"step": 0, **self._measured()})
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            journal, display = self._shown
            journal.close()
            display.__exit__()

    @property
    def loss(self) -> float:
        """Loss of the last step on this process, 0 before the first one."""
        return 0.0 if self._last_loss is None else self._last_loss.item()

    def observe(self, step: Stepped) -> None:
        """Take note of a step; log when it is time."""
        self._steps.append(step)
        self._last_loss = step.report.loss
        number, job = self.training.done, self.job
        if number % job.log_every == 0 or number == job.last_step:
            entry = {"step": number, **self._trained()}
            if number % job.watch_every == 0 or number == job.last_step:
                entry |= self._measured()
            self._write(entry)
            self._steps.clear()

    def name_unreadable(self) -> None:
        """Write down each file that could not be decoded, at its first time, on any process."""
        here = {path: reason for step in self._steps for path, reason in step.unreadable}
        found = [pair for known in gather_objects(self.world, here) for pair in known.items()]
        new = {path: reason for path, reason in found if path not in self._named}
        self._named |= new.keys()
        if new and self.world.is_main:
            with (self.job.out / UNREADABLE_FILE).open("a", encoding="utf-8") as file:
                for path, reason in new.items():
                    file.write(json.dumps({"path": path, "reason": reason}) + "\n")

    def _trained(self) -> dict[str, Any]:
        """Means over the steps since the last entry, over all processes."""
        steps, recipe = self._steps, self.job.recipe
        last = steps[-1]
        losses = [step.report.loss for step in steps], [step.report.std_loss for step in steps]
        loss, std_loss = (
            mean_over_ranks(self.world, torch.stack(values).mean()).item() for values in losses
        )
        self.name_unreadable()
        seconds = sum(step.seconds for step in steps)
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
            "unreadable": len(self._named),
            **_memory(self.world.device),
        }

    def _mean_of_ranks(self, sizes: list[float]) -> list[float]:
        means = mean_over_ranks(self.world, torch.tensor(sizes))
        return [round(size, 1) for size in means.tolist()]

    def _measured(self) -> dict[str, Any]:
        """Health of the target encoder, and the probes on the watched set, if there is one."""
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
        if alarm := collapse(self._history):
            measured["alarm"] = alarm
        self.results = measured
        return measured

    def _write(self, entry: dict[str, Any]) -> None:
        if self._shown and len(entry) > 1:
            journal, display = self._shown
            journal.write(entry)
            display.update(entry)


def read_unreadable(folder: Path) -> list[tuple[str, str]]:
    """Return path and reason of every file that the run in `folder` could not decode so far.

    A last line without its end, as a killed writer leaves it, is left out and removed.
    """
    path = folder / UNREADABLE_FILE
    lines = whole_lines(path)
    keep_lines(path, lines)
    return [(entry["path"], entry["reason"]) for entry in map(json.loads, lines)]


def _memory(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    return {"memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
