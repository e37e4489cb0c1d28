"""Decoding in child processes that can be killed, so that a file on which a decoder hangs, crashes
or takes all memory is one undecodable file, not the end of a job on 240,000.

Some decoders hang in native code on damaged files, holding the GIL, so that neither a thread nor a
signal handler can run; only killing the process helps. Children are forked from a server that has
no threads and no GPU, end with their parent however it ends, and are kept for the next job.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, util
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from bench.data.decode.mapped_answers import received_mapped, send_mapped
from bench.data.media.media import Media, place
from bench.errors import BenchError, UnreadableMedia

DEADLINE_SECONDS = 60.0  # per file
MEMORY_BYTES = 8 << 30  # that a child may allocate beyond what its libraries take
FILES_PER_CHILD = 2000  # then a fresh one: some decoders never free their memory
PRELOADED = "bench.data.loader"  # imported once for all children

# A module-level function, the medium that is its first argument, and its other arguments by name.
Call = tuple[Callable[..., Any], Media, Mapping[str, Any]]

_idle: deque[Child] = deque()
_started: set[Child] = set()
_starting = threading.Lock()


class Child:
    """A process that answers calls in their order, each within `deadline` seconds.

    It is started by the first call.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._process: Any = None
        self._connection: Any = None
        self._num_sent = 0
        self._folder = ""  # where the process works
        self.pending: deque[tuple[int, Call]] = deque()  # sent, with a number, and not yet answered
        self._since = 0.0  # when the first of them was begun, as far as is known
        self._tried_twice: Call | None = None
        self._is_ended = False

    @property
    def connection(self) -> Any:
        """What to wait on for an answer."""
        return self._connection

    @property
    def is_full(self) -> bool:
        """Whether it must answer everything first, because a fresh process takes its place."""
        return self._num_sent >= FILES_PER_CHILD and bool(self.pending)

    def send(self, call: Call, number: int = 0) -> None:
        """Ask for `function(medium, **arguments)`."""
        if not self.pending:
            elsewhere = self._folder != _working_directory()  # relative paths mean other files
            if self._process is None or elsewhere or self._num_sent >= FILES_PER_CHILD:
                self.stop()
                self._start()
            self._since = time.monotonic()
        if self._is_ended:  # maybe while the process was started
            self.stop()
            raise BenchError("decoding was interrupted.")
        self.pending.append((number, call))
        self._num_sent += 1
        with suppress(OSError):  # a dead child is noticed when receiving
            self._connection.send(call)

    def seconds_left(self, waiting_since: float) -> float:
        """Return how long to wait for the first call, if someone has waited since then."""
        return max(0.0, max(self._since, waiting_since) + self.deadline - time.monotonic())

    def receive(self, seconds: float) -> Any:
        """Return the answer to the first call, or the error that it raised; wait `seconds` for it.

        An `UnreadableMedia` is also the answer of a child that was silent or died; a new child has
        the other calls. If it was killed, maybe for lack of memory, the call is tried once more.
        """
        _, call = self.pending[0]
        if not self._connection.poll(seconds):
            return self._given_up(f"no answer from the decoder within {self.deadline:g} s")
        try:
            answer, error = received_mapped(self._connection)
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            if code == -signal.SIGKILL and self._tried_twice is not call and not self._is_ended:
                self._tried_twice = call
                self._send_again()
                return self.receive(self.deadline)
            return self._given_up(f"the decoder crashed ({_death(code)})")
        self.pending.popleft()
        self._since = time.monotonic()
        if isinstance(error, MemoryError):
            allowed = f"{MEMORY_BYTES / 2**30:g} GiB"
            return _refused(call[1], f"decoding it takes more than {allowed} of memory")
        return answer if error is None else error

    def _given_up(self, reason: str) -> UnreadableMedia:
        _, (_, medium, _) = self.pending.popleft()
        self._send_again()
        return _refused(medium, reason)

    def _send_again(self) -> None:
        """Give what is pending to a new process."""
        pending = list(self.pending)
        self.stop()
        for number, call in pending:
            self.send(call, number)

    def stop(self) -> None:
        """Kill the process and forget its calls."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = None
        self.pending.clear()

    def end(self) -> None:
        """Kill the process for a thread that waits for it, which finds it dead."""
        self._is_ended = True
        process = self._process
        if process is not None:
            process.kill()

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([PRELOADED])
        with _starting, _without_script():
            self._connection, theirs = context.Pipe()
            self._folder = _working_directory()
            given = (theirs, MEMORY_BYTES, self._folder)
            process = context.Process(target=_serve, args=given, daemon=True)
            process.start()
        self._process = process
        theirs.close()
        if not _started:  # before multiprocessing asks its processes to end, which these ignore
            util.Finalize(None, _stop_all, exitpriority=100)
        _started.add(self)
        self._num_sent = 0
        with suppress(EOFError, OSError):  # a child that cannot start is noticed at the first file
            self._connection.recv()


@contextmanager
def borrowed(count: int) -> Iterator[list[Child]]:
    """Lend `count` children, which are kept afterwards unless they still have something to do."""
    children = [_idle.pop() if _idle else Child(DEADLINE_SECONDS) for _ in range(count)]
    try:
        for child in children:
            child.deadline = DEADLINE_SECONDS
        yield children
    finally:
        for child in children:
            if child.pending:
                child.stop()
            _idle.append(child)


class DecodingChildren:
    """Children that run `decode` (a module-level function) for the threads of a check.

    `seconds` is the time limit per medium.
    """

    def __init__(
        self, decode: Callable[..., Any], *, workers: int, seconds: float | None = None
    ) -> None:
        self._decode = decode
        seconds = DEADLINE_SECONDS if seconds is None else seconds
        self._children = [Child(seconds) for _ in range(workers)]
        self._free: SimpleQueue[Child] = SimpleQueue()
        for child in self._children:
            self._free.put(child)

    def __enter__(self) -> DecodingChildren:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.stop()

    def end(self) -> None:
        """Kill the children, so that threads that wait for them end at once."""
        for child in self._children:
            child.end()

    def decode(self, medium: Media, **settings: Any) -> Any:
        """Return `decode(medium, **settings)` from an idle child, waiting for one if necessary.

        Raises:
            UnreadableMedia: `decode` raised it, took too long, or crashed its process.
            BenchError: another error raised by `decode`.
        """
        child = self._free.get()
        try:
            child.send((self._decode, medium, settings))
            answer = child.receive(child.deadline)
        finally:
            self._free.put(child)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _working_directory() -> str:
    with suppress(FileNotFoundError):  # it was removed
        return str(Path.cwd())
    return ""


def _serve(connection: Connection, memory_bytes: int, folder: str) -> None:
    """Answer calls with (answer, None) or (None, error), until the parent is gone."""
    import torch  # preloaded

    with suppress(OSError):
        os.chdir(folder)
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent gets them too, and ends this one
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent()
    _limit_memory(memory_bytes)
    torch.set_num_threads(1)  # its resizing rounds differently with several
    connection.send("ready")  # imports do not count as decoding
    while True:
        try:
            function, medium, settings = connection.recv()
        except (EOFError, OSError):  # the latter if the parent was killed
            return
        outcome: tuple[Any, Exception | None]
        try:
            outcome = function(medium, **settings), None
        except Exception as error:  # raised in the parent, which knows what to do about it
            outcome = None, _sendable(error)
        send_mapped(connection, outcome)


def _sendable(error: Exception) -> Exception:
    """Return an error that arrives in another process; an unexpected one brings its traceback."""
    if isinstance(error, (BenchError, OSError, MemoryError)):
        return error.with_traceback(None)
    return RuntimeError("".join(traceback.format_exception(error)))


def _end_with_parent() -> None:
    """Let the system kill this process if the fork server ends, as it does with the parent."""
    if sys.platform == "linux":
        death_of_parent = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(death_of_parent, signal.SIGKILL)


def allow_memory(num_bytes: int) -> None:
    """Let this process take `num_bytes` more than it was allowed."""
    limit, most = resource.getrlimit(resource.RLIMIT_DATA)
    if limit != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (limit + num_bytes, most))


def _limit_memory(num_bytes: int) -> None:
    """Refuse this process more than `num_bytes` beyond what it has, and make it the first to go."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text(encoding="ascii")
    [held] = [line.split()[1] for line in status.splitlines() if line.startswith("VmData:")]
    limit = int(held) * 1024 + num_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


@contextmanager
def _without_script() -> Iterator[None]:
    """Keep a child from running the user's script again, which it does not need."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "SIGKILL; the usual reason is lack of memory: try fewer --workers"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _refused(medium: Media, reason: str) -> UnreadableMedia:
    return UnreadableMedia(
        f"{medium} cannot be decoded: {reason}; fetch {place(medium).name} again."
    )


def _forget_children() -> None:
    """Leave the fork server and its children to the process that this one was forked from."""
    _idle.clear()
    _started.clear()
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
    server._forkserver_pid = server._forkserver_fd = server._forkserver_alive_fd = None


def _stop_all() -> None:
    _idle.clear()
    for child in list(_started):
        child.stop()


os.register_at_fork(after_in_child=_forget_children)
