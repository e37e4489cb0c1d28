"""Shared by decoding processes: a single thread, a deadline, and an explanation of crashes."""

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

DEADLINE_SECONDS = 600  # per row; far more than an intact file takes on a slow disk


def explained(manifest: Manifest) -> AbstractContextManager[None]:
    """Turn the death of a process that decodes `manifest` into a helpful error."""
    return deaths_explained(
        f"{manifest.name} {manifest.split}",
        "run again with fewer --workers or a smaller --batch-size; finished features are saved",
    )


@contextmanager
def deaths_explained(what: str, advice: str) -> Iterator[None]:
    """Turn the death of a decoding process into an error that ends with `advice`.

    torch may raise it on any line of the reading process, whatever that is doing, so a training
    loop belongs inside.

    Raises:
        BenchError: a worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        # torch does not always report the signal that ended a process.
        raise BenchError(
            f"{what}: a decoding process died ({str(error).strip()}) The usual reason is lack of"
            " memory (in a container, too small a /dev/shm), or a file on which a decoder hung for"
            f" {DEADLINE_SECONDS} s (`bench check` finds it; replace it): {advice}."
        ) from error


def read_ahead(
    loader: Iterable[T | BenchError], died: Callable[[], AbstractContextManager[None]]
) -> Iterator[T]:
    """Yield the results of a loader's processes and raise the errors that they return.

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
        del source  # ends the processes, even if the traceback of an error holds this frame


def unchanged(batch: Any) -> Any:
    """Return a batch as it is, which a loader would otherwise turn into tensors."""
    return batch


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread, as in a worker process: torch's resizing rounds differently with several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def deadline() -> Iterator[None]:
    """Kill a worker process that takes too long to decode one row.

    A hanging decoder holds the GIL, so the signal keeps its default action: death.
    """
    if get_worker_info() is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
