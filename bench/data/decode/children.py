"""Decoding in child processes that can be killed, so that a file on which a decoder hangs or
crashes is one undecodable file, not the end of a check of 240,000.

Some decoders hang in native code on damaged files, holding the GIL, so that neither a thread nor a
signal handler can run; only killing the process helps.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from bench.data.media.media import Media, place
from bench.errors import BenchError, UnreadableMedia

DEADLINE_SECONDS = 60.0
FILES_PER_CHILD = 2000  # then a fresh one: some decoders never free their memory

Decode = Callable[..., Any]  # (medium, settings by name); its result is sent back


class DecodingChildren:
    """A pool of processes that run `decode` (a module-level function), shared by several threads.

    `seconds` is the time limit per medium. The module of `decode` is imported once for all.
    """

    def __init__(self, decode: Decode, *, workers: int, seconds: float = DEADLINE_SECONDS) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([decode.__module__])
        self._children = [_Child(context, decode) for _ in range(workers)]
        self._seconds = seconds
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for child in self._children:
            self._idle.put(child)

    def __enter__(self) -> DecodingChildren:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.stop()

    def decode(self, medium: Media, **settings: Any) -> Any:
        """Return `decode(medium, **settings)` from an idle child, waiting for one if necessary.

        Raises:
            UnreadableMedia: `decode` raised it, took too long, or crashed its process.
            BenchError: another error raised by `decode`.
        """
        child = self._idle.get()
        try:
            return child.decode(medium, settings, self._seconds)
        finally:
            self._idle.put(child)


class _Child:
    """One process, started on first use and again after it had to be killed."""

    def __init__(self, context: Any, decode: Decode) -> None:
        self._context, self._decode = context, decode
        self._process: Any = None
        self._connection: Any = None
        self._num_decoded = 0

    def decode(self, medium: Media, settings: Mapping[str, Any], seconds: float) -> Any:
        if self._process is None or self._num_decoded >= FILES_PER_CHILD:
            self.stop()
            self._start()
        self._num_decoded += 1
        with suppress(OSError):  # a dead child is noticed when receiving
            self._connection.send((medium, settings))
        if not self._connection.poll(seconds):
            self.stop()
            raise _refused(medium, f"no answer from the decoder within {seconds:g} s")
        try:
            answer, error = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            self.stop()
            death = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise _refused(medium, f"the decoder crashed ({death})") from None
        if error is not None:
            raise error
        return answer

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = None

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(theirs, self._decode), daemon=True
        )
        self._process.start()
        theirs.close()
        self._num_decoded = 0
        with suppress(EOFError, OSError):  # a child that cannot start is noticed at the first file
            self._connection.recv()


def _serve(connection: Connection, decode: Decode) -> None:
    """Decode what is received, send (answer, None) or (None, error), until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and stops its children
    connection.send("ready")  # imports do not count as decoding
    while True:
        try:
            medium, settings = connection.recv()
        except (EOFError, OSError):  # the latter if the parent was killed
            return
        try:
            answer = decode(medium, **settings)
        except (BenchError, OSError) as error:
            connection.send((None, error))
        else:
            connection.send((answer, None))


def _refused(medium: Media, reason: str) -> UnreadableMedia:
    return UnreadableMedia(
        f"{medium} cannot be decoded: {reason}; fetch {place(medium).name} again."
    )
