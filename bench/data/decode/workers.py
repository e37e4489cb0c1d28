"""What processes that decode have in common: one thread, a deadline, an explained death."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import torch
from torch.utils.data import get_worker_info

from bench.data.manifest import Manifest
from bench.errors import BenchError

T = TypeVar("T")

DEADLINE_SECONDS = 600  # for one row; far more than a sound file takes on a slow disk


def explained(manifest: Manifest) -> AbstractContextManager[None]:
    """Turn the death of a process that decodes `manifest` into a sentence."""
    return deaths_explained(
        f"{manifest.name} {manifest.split}",
        "run again with fewer --workers or a smaller --batch-size; finished features are kept",
    )


@contextmanager
def deaths_explained(what: str, advice: str) -> Iterator[None]:
    """Turn the death of a decoding process into a sentence that ends in `advice`.

    torch may raise it at any line of the process that reads, whatever that does at the moment: a
    training loop belongs inside.

    Raises:
        BenchError: a worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        # torch does not always tell the signal that ended a process.
        raise BenchError(
            f"{what}: a decoding process died ({str(error).strip()}) Out of memory is the usual"
            " reason (in a container, too small a /dev/shm), or a file on which a decoder hung for"
            f" {DEADLINE_SECONDS} s (`bench check` finds it; replace it): {advice}."
        ) from error


def read_ahead(
    loader: Iterable[T | BenchError], died: Callable[[], AbstractContextManager[None]]
) -> Iterator[T]:
    """Yield what a loader's processes made; raise the errors that they return.

    `died` explains the death of a process.
    """
    source = iter(loader)
    try:
        while True:
            with died():
                found = next(source, None)
            if found is None:
                return
            if isinstance(found, BenchError):
                raise found
            yield found
    finally:
        del source  # ends the processes, even where the traceback of an error holds this frame


def unchanged(batch: Any) -> Any:
    """Return what a data set made, which a loader would else turn into tensors."""
    return batch


@contextmanager
def one_thread() -> Iterator[None]:
    """Work as a worker process does: torch's resizing rounds differently with several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def deadline() -> Iterator[None]:
    """End a worker process that decodes one row for too long.

    A decoder that hangs holds Python's lock, so the signal is left to its default: death.
    """
    if get_worker_info() is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
