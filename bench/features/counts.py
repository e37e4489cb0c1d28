"""Counters of a run's work, such as how often videos were decoded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass(kw_only=True)
class Counts:
    """Running counts of decoding and encoding; the one mutable object that a run passes down.

    `decoded` counts decoded videos or images (once per draw; for boxes, up to eight neighbouring
    key frames count once), `encoder_calls` forward passes, `rows_read_from_store` rows that were
    stored already, `repeated_frames` the padding of short videos, `decoders` the readable rows by
    decoder (`pyav (decord)`: PyAV after decord failed), `boxes_outside` boxes outside the view,
    read at its edge. `seconds` is wall time of this process: waiting for pixels (`decode`), encoder
    and readout (`encode`), and writing (`write`).
    """

    decoded: int = 0
    encoder_calls: int = 0
    rows_read_from_store: int = 0
    repeated_frames: int = 0
    boxes_outside: int = 0
    decoders: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of the block to `seconds[stage]`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def decoding(self, source: Iterator[T]) -> Iterator[T]:
        """Yield from `source`, counting items as decoded and waiting time as `decode`."""
        while True:
            with self.timed("decode"):
                found = next(source, None)
            if found is None:
                return
            self.decoded += 1
            yield found
