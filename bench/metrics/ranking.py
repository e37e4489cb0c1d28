"""Ranges of ranks: models without a significant difference share ranks.

Every pair of models is tested, with p-values adjusted for their number (Holm). The best rank of a
model is 1 + the number of significantly better models, its worst the number of models minus that of
significantly worse ones.
"""

from __future__ import annotations

import numpy as np

from bench.metrics.mcnemar import mcnemar
from bench.metrics.paired import holm
from bench.types import BoolArray, FloatArray

ALPHA = 0.05
ROWS_AT_A_TIME = 4096

Places = list[tuple[int, int]]


def places(correct_MN: BoolArray) -> Places:
    """Return the best and worst rank of M models from their right answers on the same N rows."""
    num_models, num_rows = correct_MN.shape
    both = np.zeros((num_models, num_models), dtype=np.int64)  # rows that both get right
    for start in range(0, num_rows, ROWS_AT_A_TIME):
        block = correct_MN[:, start : start + ROWS_AT_A_TIME].astype(np.float32)
        both += (block @ block.T).astype(np.int64)  # whole numbers far below 2**24
    correct = np.diagonal(both)
    only = correct[:, None] - both  # [i, j]: right only for i
    first, second = np.triu_indices(len(correct), k=1)
    ps = mcnemar(only[first, second], only[second, first])
    return places_of_ps(correct.astype(np.float64), holm(ps))


def places_of_ps(values_M: FloatArray, adjusted: FloatArray) -> Places:
    """Return the best and worst ranks of M numbers from the adjusted p-values of all their pairs.

    Pairs are in the order of `numpy.triu_indices`.
    """
    num_models = len(values_M)
    first, second = np.triu_indices(num_models, k=1)
    apart = adjusted < ALPHA
    first, second = first[apart], second[apart]
    is_first = values_M[first] > values_M[second]
    worse = np.where(is_first, second, first)
    better = np.where(is_first, first, second)
    above = np.bincount(worse, minlength=num_models)  # how many beat this one
    below = np.bincount(better, minlength=num_models)
    return list(zip((1 + above).tolist(), (num_models - below).tolist(), strict=True))
