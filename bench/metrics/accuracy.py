"""Top-1, top-5 and mean per-class accuracy from integer counts over rows.

Counts are summed and divided once, so results do not depend on the batch size or the number of
processes. Ties between probabilities go to the lowest class index.
"""

from __future__ import annotations

import numpy as np
import torch

from bench.errors import BenchError
from bench.types import BoolArray, IntArray

UNSCORED = -1


def label_ranks(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the rank of each label (0 is best) among its row's classes.

    `[..., B, C]` and `[B]` give int64 `[..., B]`, so all heads `[K, B, C]` are ranked at once. A
    label of probability 0 has rank C, behind all classes: without a vote it is not among the first.

    Raises:
        BenchError: probabilities that are not finite, since a NaN cannot be ranked.
    """
    _refuse_not_finite(probabilities)
    labels = labels.to(probabilities.device)
    index = labels.expand(probabilities.shape[:-1]).unsqueeze(-1)
    label_probability = probabilities.gather(-1, index)
    classes = torch.arange(probabilities.shape[-1], device=probabilities.device)
    ahead = (probabilities > label_probability) | (
        (probabilities == label_probability) & (classes < labels.unsqueeze(-1))
    )
    has_votes = label_probability.squeeze(-1) > 0
    return torch.where(has_votes, ahead.sum(dim=-1), len(classes))


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

    `predicted` and `labels` are int64 `[rows]`; an unreadable row has `predicted` -1 (`UNSCORED`)
    and counts as wrong. `top5_hits` marks the rows whose label is among the first five.

    Keys: `top1`; `top5` from six classes on (it is meaningless for fewer); `mean_per_class` over
    the classes with rows; `top1_lower` and `top1_upper`, the accuracy over the `num_expected`
    published rows (or the given rows, if more) if all unscored rows were wrong, or right; `chance`
    = 1 / classes; `majority` = share of the most frequent label.

    Raises:
        BenchError: there are no rows, or `top5_hits` is missing although needed.
    """
    if len(labels) == 0:
        raise BenchError("there are no rows to score: the score split is empty.")
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
            f"{int(bad.sum())} of {bad.numel()} rows have probabilities that are not finite; check"
            " the features of the encoder and the learning rates of the probe."
        )
