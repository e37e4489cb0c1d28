"""Top-1, top-5 and mean per-class accuracy from integer counts over rows.

Counts are added and divided once, so that a value does not move with the batch size or the number
of processes. Equal probabilities are ordered by class index, lowest first.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.errors import BenchError
from bench.types import BoolArray, IntArray

UNSCORED = -1


def label_ranks(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the rank of each label (0 is best) among its row's classes.

    `[..., B, C]` and `[B]` give int64 `[..., B]`, so that all heads `[K, B, C]` are ranked at once.

    Raises:
        BenchError: probabilities that are not finite, for a NaN is above and below nothing.
    """
    _refuse_not_finite(probabilities)
    labels = labels.to(probabilities.device)
    index = labels.expand(probabilities.shape[:-1]).unsqueeze(-1)
    own = probabilities.gather(-1, index)
    classes = torch.arange(probabilities.shape[-1], device=probabilities.device)
    ahead = (probabilities > own) | ((probabilities == own) & (classes < labels.unsqueeze(-1)))
    return ahead.sum(dim=-1)


def predict(probabilities: torch.Tensor) -> torch.Tensor:
    """Return the most probable class, the lowest index on ties: `[..., B, C]` to `[..., B]`.

    Raises:
        BenchError: probabilities that are not finite.
    """
    _refuse_not_finite(probabilities)
    best = probabilities == probabilities.amax(dim=-1, keepdim=True)
    return best.to(torch.uint8).argmax(dim=-1)


def report(
    predicted: IntArray,
    labels: IntArray,
    top5_hits: BoolArray | None,
    *,
    num_classes: int,
    num_expected: int,
) -> dict[str, float]:
    """Return the accuracies of a split as fractions 0-1.

    `predicted` and `labels` are int64 `[rows]`; a row that could not be read has `predicted` -1
    (`UNSCORED`) and counts as wrong. `top5_hits` says where the label was among the first five.

    Keys: `top1`; `top5` from six classes on (of fewer it says little or nothing);
    `mean_per_class` over the classes that have rows; `top1_lower` and `top1_upper`, the accuracy
    over the `num_expected` published rows (or the rows given, if more) if all unscored rows were
    wrong, or right; `chance` = 1 / classes; `majority` = share of the most frequent label.

    Raises:
        BenchError: there is no row, or `top5_hits` lacks where it is needed.
    """
    if len(labels) == 0:
        raise BenchError("there is no row to score: the score split is empty.")
    if num_classes >= 6 and top5_hits is None:
        raise BenchError(f"top5 of {num_classes} classes needs the top-5 hits of every row.")
    right = predicted == labels
    correct, scored = int(right.sum()), int((predicted != UNSCORED).sum())
    expected = max(num_expected, len(labels))
    sizes = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[right], minlength=num_classes)
    present = sizes > 0
    values = {"top1": correct / len(labels)}
    if num_classes >= 6 and top5_hits is not None:
        values["top5"] = int((top5_hits & (predicted != UNSCORED)).sum()) / len(labels)
    return {
        **values,
        "mean_per_class": float(np.mean(hits[present] / sizes[present])),
        "top1_lower": correct / expected,
        "top1_upper": (correct + expected - scored) / expected,
        "chance": 1 / num_classes,
        "majority": int(sizes.max()) / len(labels),
    }


def _refuse_not_finite(probabilities: torch.Tensor) -> None:
    bad = ~torch.isfinite(probabilities).all(dim=-1)
    if bool(bad.any()):
        raise BenchError(
            f"{int(bad.sum())} of {bad.numel()} rows have probabilities that are not finite; look"
            " at the features of the encoder and at the learning rates of the probe."
        )
