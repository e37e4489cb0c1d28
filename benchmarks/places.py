"""Places of a column: all pairs of models tested at once, against a plain loop over pairs.

    python -m benchmarks.places [--models 200] [--rows 20000]

Both give the same places. The plain loop counts the discordant rows of each pair and asks
statsmodels for McNemar's test, and Holm's correction comes from there too.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

from bench.metrics.mcnemar import EXACT_UP_TO
from bench.metrics.ranking import Places, places
from bench.types import BoolArray


def plain_places(right: BoolArray) -> Places:
    """Test pair by pair."""
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.multitest import multipletests

    pairs = list(itertools.combinations(range(len(right)), 2))
    ps = []
    for a, b in pairs:
        only_a, only_b = int((right[a] & ~right[b]).sum()), int((right[b] & ~right[a]).sum())
        exact = only_a + only_b <= EXACT_UP_TO
        counts = [[0, only_a], [only_b, 0]]
        ps.append(mcnemar(counts, exact=exact, correction=False).pvalue)
    apart = multipletests(ps, alpha=0.05, method="holm")[0]
    best, worst = [1] * len(right), [len(right)] * len(right)
    for (a, b), is_apart in zip(pairs, apart, strict=True):
        if is_apart:
            better, other = (a, b) if right[a].sum() > right[b].sum() else (b, a)
            best[other] += 1
            worst[better] -= 1
    return list(zip(best, worst, strict=True))


def main() -> None:
    """Print seconds of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rows", type=int, default=20_000)
    given = parser.parse_args()
    generator = np.random.default_rng(0)
    hard = generator.random(given.rows)
    skill = generator.uniform(0.3, 0.8, given.models)[:, None]
    right = 0.5 * hard + 0.5 * generator.random((given.models, given.rows)) < skill
    begin = time.perf_counter()
    ours = places(right)
    middle = time.perf_counter()
    plain = plain_places(right)
    end = time.perf_counter()
    assert ours == plain
    print(
        f"{given.models} models x {given.rows:,} rows: {middle - begin:.2f} s,"
        f" pair by pair {end - middle:.2f} s, ratio {(end - middle) / (middle - begin):.0f}"
    )


if __name__ == "__main__":
    main()
