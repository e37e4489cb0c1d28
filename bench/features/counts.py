"""What a run did, counted: the record's answer to "how often was a video decoded"."""

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
    """Running counts of decoding and encoding; the one mutable object that a run hands down.

    `decoded` counts videos or images that were opened and read (once per draw), `encoder_calls`
    forward passes, `rows_read_from_store` rows that were asked for and found finished,
    `repeated_frames` frames that stand in for frames a short video does not have, `decoders` the
    readable rows by decoder (`pyav (decord)`: PyAV, since decord refused the file). Of boxes, up to
    eight neighbouring key frames are read at once and `decoded` once; `boxes_outside` are those
    that the view does not show, read at its edge. `seconds` is wall time of this process: waiting
    for pixels (`decode`), the encoder and the readout (`encode`) and writing (`write`).
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
        """Yield what `source` yields, counting it as decoded and its wait as `decode`."""
        while True:
            with self.timed("decode"):
                found = next(source, None)
            if found is None:
                return
            self.decoded += 1
            yield found
