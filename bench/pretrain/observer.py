"""What a run tells while it goes on: losses, speed, health, and an alarm when features collapse."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bench.files import write_whole
from bench.launch.distributed import World, gather_objects, mean_over_ranks
from bench.pretrain.display import Display
from bench.pretrain.health import Health, collapse, feature_health, health_history
from bench.pretrain.job import PretrainJob
from bench.pretrain.journal import Journal, SilentJournal, read_journal
from bench.pretrain.online import OnlineProbe
from bench.pretrain.training import Stepped, Training

UNREADABLE_FILE = "unreadable.jsonl"
HEALTH_CLIPS = 32  # where no labelled set is watched


class Observer:
    """Collects the steps of a run and writes an entry every `log_every` of them.

    A context manager that all processes enter; the first one writes and shows.
    """

    def __init__(self, job: PretrainJob, world: World, training: Training) -> None:
        self.job, self.world, self.training = job, world, training
        self._steps: list[Stepped] = []
        self._last_loss: torch.Tensor | None = None
        self._named = {path for path, _ in read_unreadable(job.out)}
        held = read_journal(job.out) if training.done else []
        history = health_history(entry for entry in held if entry["step"] <= training.done)
        self._history: list[tuple[int, Health]] = history
        measured = [entry for entry in held if entry.get("health")]
        kept = ("health", "online", "alarm")
        self.results = {k: v for k, v in (measured or [{}])[-1].items() if k in kept}
        # A sharded encoder needs all processes to be called; a copy on the first one does not.
        self._measures = world.is_main or training.engine.kind == "fsdp2"
        self._online: OnlineProbe | None = None
        self._clips: torch.Tensor | None = None
        if self._measures and job.watch:
            self._online = OnlineProbe(job.watch, architecture=job.recipe.encoder, data=job.data)
        elif self._measures:
            self._clips = training.first_clips(HEALTH_CLIPS)
        main = world.is_main
        self._journal = Journal(job.out, step=training.done) if main else SilentJournal()
        self._display = Display(job.recipe.name) if main else None

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.__enter__()
        if not self.training.done:
            self._write({"step": 0, **self._measured()})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._journal.close()
        if self._display is not None:
            self._display.__exit__(kind, error, trace)

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
        new = {
            path: reason
            for found in gather_objects(self.world, here)
            for path, reason in found.items()
            if path not in self._named
        }
        self._named |= new.keys()
        if new and self.world.is_main:
            lines = [json.dumps({"path": path, "reason": new[path]}) + "\n" for path in new]
            with (self.job.out / UNREADABLE_FILE).open("a", encoding="utf-8") as file:
                file.writelines(lines)

    def _trained(self) -> dict[str, Any]:
        """Means over the steps since the last entry, over all processes."""
        steps, recipe = self._steps, self.job.recipe
        last = steps[-1]
        losses = torch.stack([step.report.loss for step in steps])
        std_losses = torch.stack([step.report.std_loss for step in steps])
        loss, std_loss = (
            mean_over_ranks(self.world, values.mean()).item() for values in (losses, std_losses)
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
        return [
            round(size, 1) for size in mean_over_ranks(self.world, torch.tensor(sizes)).tolist()
        ]

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
        self.results = dict(measured)
        return measured

    def _write(self, entry: dict[str, Any]) -> None:
        if len(entry) > 1:
            self._journal.write(entry)
            if self._display is not None:
                self._display.update(entry)


def read_unreadable(folder: Path) -> list[tuple[str, str]]:
    """Return path and reason of every file that the run in `folder` could not decode so far.

    A last line without its end, as a killed writer leaves it, is left out and removed.
    """
    path = folder / UNREADABLE_FILE
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_whole(path, whole.encode())
    entries = [json.loads(line) for line in whole.splitlines()]
    return [(entry["path"], entry["reason"]) for entry in entries]


def _memory(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    return {"memory_gb": torch.cuda.max_memory_allocated(device) / 1e9}
