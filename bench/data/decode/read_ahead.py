"""Calls answered ahead of time by child processes, in the order of the calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any

from bench.data.decode.children import Call, Child, borrowed
from bench.errors import UnreadableMedia

# The call to try instead of one whose medium cannot be read, or None to give it up.
Again = Callable[[Call, UnreadableMedia], Call | None]


def read_ahead(
    calls: Iterable[Call], *, workers: int, ahead: int, again: Again | None = None
) -> Generator[Any, None, None]:
    """Yield the answer to each call, or its `UnreadableMedia`, in their order.

    `workers` processes answer them, and at most `ahead` calls are answered or under way before they
    are asked for; with 0 workers, one process has one call at a time. A call that takes longer
    than `DEADLINE_SECONDS`, crashes its process or takes too much memory is unreadable.

    Raises:
        Exception: any other error that a call raised.
    """
    ahead = max(ahead, workers) if workers else 1
    todo = enumerate(calls)
    answers: dict[int, Any] = {}
    num_sent = num_given = 0
    with borrowed(max(1, workers)) as children:
        while True:
            free = [child for child in children if not child.is_full]
            if num_sent < num_given + ahead and free and (item := next(todo, None)):
                number, call = item
                min(free, key=lambda child: len(child.pending)).send(call, number)
                num_sent += 1
            elif num_given in answers:
                yield answers.pop(num_given)
                num_given += 1
            elif num_given < num_sent:
                for number, answer in _answered(children, again):
                    answers[number] = answer
            else:
                return


def _answered(children: list[Child], again: Again | None) -> Iterator[tuple[int, Any]]:
    """Wait for answers, and give up a child that is silent for too long."""
    begin = time.monotonic()
    busy = {child.connection: child for child in children if child.pending}
    wait(list(busy), min(child.seconds_left(begin) for child in busy.values()))
    for child in busy.values():
        left = child.seconds_left(begin)
        if left and not child.connection.poll():
            continue
        number, call = child.pending[0]
        answer = child.receive(left)
        if isinstance(answer, UnreadableMedia):
            other = again(call, answer) if again else None
            if other is not None:
                child.send(other, number)
                continue
        elif isinstance(answer, Exception):
            raise answer
        yield number, answer
