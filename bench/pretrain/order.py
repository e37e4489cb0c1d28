"""Which row is read at which position of a training run: a pure function of seed and position.

Positions count clips from the start of training, over all processes, so that a run resumes at any
position and with any number of processes.

Departures from the released code (arXiv 2404.08471): without weights a pass is a permutation in
both, but theirs is padded to whole batches of all processes; here passes are joined without padding
or dropping. With weights V-JEPA's sampler still reads every row once per pass, so weights only
change the order; here, as in V-JEPA 2, rows are drawn with replacement in proportion to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.types import IntArray

# Last number of the seeds of a pass and of a replacement row, unique among the run's streams.
PASS, REPLACEMENT = 2, 3


class Order:
    """The rows of lists with `sizes` in training order.

    Pass p is positions p * N to (p + 1) * N - 1 of N rows in total. Without `weights` it has every
    row once; with them, N draws of a list by weight and then of a row of it, uniformly. Caches the
    last pass, 8 bytes per row.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, seed: int) -> None:
        assert sizes and min(sizes) > 0, sizes
        assert weights is None or (len(weights) == len(sizes) and min(weights) > 0), weights
        self._arguments = (tuple(sizes), None if weights is None else tuple(weights), seed)
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        shares = self._sizes if weights is None else np.asarray(weights, dtype=np.float64)
        self._bounds = np.cumsum(shares / shares.sum())
        self._is_weighted = weights is not None
        self._seed = seed
        self._num_rows = int(self._sizes.sum())
        self._cached: tuple[int, IntArray] | None = None

    def __reduce__(self) -> tuple[type[Order], tuple[object, ...]]:
        """Pickle without the cached pass."""
        return Order, self._arguments

    def rows(self, positions: IntArray) -> IntArray:
        """Return the row at each position, int64 `[positions]`, counted over all lists."""
        positions = np.asarray(positions, dtype=np.int64)
        passes, places = np.divmod(positions, self._num_rows)
        rows = np.empty_like(positions)
        for number in np.unique(passes).tolist():
            here = passes == number
            rows[here] = self._pass(number)[places[here]]
        return rows

    def replacement(self, position: int, attempt: int) -> int:
        """Return the row to read after `attempt` unreadable ones at this position.

        It is drawn from all rows by the weights, as released.
        """
        rng = np.random.default_rng((self._seed, position, attempt, REPLACEMENT))
        return int(self._draw(rng, 1)[0])

    def _pass(self, number: int) -> IntArray:
        if self._cached is None or self._cached[0] != number:
            rng, num = np.random.default_rng((self._seed, number, 0, PASS)), self._num_rows
            rows = self._draw(rng, num) if self._is_weighted else rng.permutation(num)
            self._cached = number, rows
        return self._cached[1]

    def _draw(self, rng: np.random.Generator, count: int) -> IntArray:
        lists = np.searchsorted(self._bounds, rng.random(count), side="right")
        lists = np.minimum(lists, len(self._bounds) - 1)  # the last bound may be slightly below 1
        return self._starts[lists] + rng.integers(self._sizes[lists])
