"""The pretraining loop: from lists of videos to checkpoints, resumable after a kill at any step.

A run folder holds

    recipe.json                       recipe, lists and seed: what the weights depend on
    latest.pth.tar                    the full state, in the released layout, for `--resume`
    encoders/step_000090000/          the target encoder alone, for `bench run --encoder`
    log.jsonl, tensorboard/           losses, schedules, health and throughput
    in_use.lock                       while a run is alive: its process and host
    unreadable.jsonl                  every file that could not be decoded, once, with the reason
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bench.launch.distributed import any_rank, join
from bench.pretrain.claim import holding
from bench.pretrain.job import PretrainJob
from bench.pretrain.observer import Observer
from bench.pretrain.training import Training

log = logging.getLogger(__name__)


def pretrain(job: PretrainJob) -> Path:
    """Train until the last step and return the folder of the resulting encoder.

    A finished run is left unchanged.

    Raises:
        UsageError: the run folder holds another run, or the recipe does not fit the machine.
        DataError: lists or videos cannot be read.
        BenchError: the loss is not a finite number.
        SystemExit: 143 after SIGTERM or 130 after SIGINT, with the checkpoint written.
    """
    with join(job.device) as world, _stop_signals() as signals, holding(job.out) as hold:
        if world.is_main:
            hold()
        training = Training(job, world)
        if training.done == job.last_step and training.encoder_folder.is_dir():
            return training.encoder_folder
        observer = Observer(training)
        if world.is_main:
            hold()
        training.claim()
        with observer:
            while training.done < job.last_step and not any_rank(world, bool(signals)):
                observer.observe(training.step())
                ended = training.done == job.last_step
                # The encoder first: a run killed in between repeats this step and saves both.
                if job.encoder_every and training.done % job.encoder_every == 0 and not ended:
                    training.save_encoder(observer.results)
                if ended or training.done % job.save_every == 0:
                    _save(training, observer)
            stopped = training.done < job.last_step
            if stopped:
                if world.is_main:
                    log.warning("stopping: saving step %d; continue with --resume", training.done)
                _save(training, observer)
            else:
                folder = training.save_encoder(observer.results)
        # If a process exits early, the launcher ends the one that is still writing.
        any_rank(world, flag=True)
        if stopped:
            raise SystemExit(128 + (signals[-1] if signals else signal.SIGTERM))
        return folder


def _save(training: Training, observer: Observer) -> None:
    # Steps in a checkpoint are never repeated, so their unreadable files are logged first.
    observer.log_unreadable()
    training.save(observer.loss)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM so that the step can end; a second SIGINT exits at once."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        # Launchers repeat SIGTERM to processes that are still saving.
        if received and number == signal.SIGINT:
            raise SystemExit(128 + number)
        received.append(number)

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
