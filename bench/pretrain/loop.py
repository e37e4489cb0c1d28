"""The pretraining loop: from lists of videos to checkpoints, killed and resumed at any step.

A run folder holds

    recipe.json                       recipe, lists and seed: what the weights depend on
    latest.pth.tar                    everything, in the released layout; `--resume` goes on here
    encoders/step_000090000/          the target encoder alone, for `bench run --encoder`
    log.jsonl, tensorboard/           losses, schedules, health and throughput
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
from bench.pretrain.clip_stream import explained
from bench.pretrain.job import PretrainJob
from bench.pretrain.observer import Observer
from bench.pretrain.training import Training

log = logging.getLogger(__name__)


def pretrain(job: PretrainJob) -> Path:
    """Train until the last step and return the folder of the encoder that came out.

    A run that has made its last step already is left as it is.

    Raises:
        UsageError: the run folder holds another run, or the machine does not fit the recipe.
        DataError: lists or videos that cannot be read.
        BenchError: the loss is not a finite number.
        SystemExit: 143 after SIGTERM or 130 after SIGINT, with the checkpoint written.
    """
    with join(job.device) as world, _stop_signals() as signals, explained():
        training = Training(job, world)
        if training.done == job.last_step and training.encoder_folder.is_dir():
            return training.encoder_folder
        observer = Observer(training)
        training.claim()
        with observer:
            while training.done < job.last_step and not any_rank(world, bool(signals)):
                observer.observe(training.step())
                ended = training.done == job.last_step
                # The encoder first: a run that is killed between the two makes this step again,
                # and both.
                if job.encoder_every and training.done % job.encoder_every == 0 and not ended:
                    training.save_encoder(observer.results)
                if ended or training.done % job.save_every == 0:
                    _save(training, observer)
            stopped = training.done < job.last_step
            if stopped:
                if world.is_main:
                    log.warning("stopping: saving step %d; --resume goes on", training.done)
                _save(training, observer)
            else:
                folder = training.save_encoder(observer.results)
        # A process that leaves early makes the launcher end the one that still writes.
        any_rank(world, flag=True)
        if stopped:
            raise SystemExit(128 + (signals[-1] if signals else signal.SIGTERM))
        return folder


def _save(training: Training, observer: Observer) -> None:
    # Steps that a checkpoint holds are never made again, so what they met is written down before.
    observer.name_unreadable()
    training.save(observer.loss)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM, so that the step under way ends; a second SIGINT ends at once."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        # Launchers repeat SIGTERM to processes that are still saving.
        if noted and number == signal.SIGINT:
            raise SystemExit(128 + number)
        noted.append(number)

    before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
