"""Choose one head of a sweep without ever looking at the labels that are scored.

The rule of DINOv2's logistic regression (arXiv 2304.07193, appendix B.3) for every probe: fit all
heads on nine tenths of the training rows, take the best on the last tenth, fit it anew on all.
Rows of one video are alike: where rows come in groups, whole groups are held out.

The rule of V-JEPA 2, the best head on the scored rows themselves, is here for comparison with what
was published so; what it chose is marked wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bench.data.splits import group_holdout, stratified_holdout
from bench.errors import UsageError
from bench.metrics.head_scores import HeadScores, by_head
from bench.types import FeatureSource, Fitted, IntArray, Probe

HOLDOUT_FRACTION = 0.1
HOLDOUT_BATCH = 1024  # rows per scoring call of a probe that names no batch size of its own


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A fitted probe with one head, and how that head was chosen.

    `head` is its index in the probe's `heads`. `holdout_scores` has one fraction per head (None:
    the head was dropped in the fit) and is empty where there was nothing to choose: the accuracy
    on the held-out rows or, of rows with several labels, the mean average precision over the
    classes that have a positive there. `score_split_scores` are the same on the rows that are
    scored. A head chosen on held-out rows was fitted anew on all rows (`refit`).
    """

    fitted: Fitted
    head: int
    holdout_scores: tuple[float | None, ...] = ()
    holdout_rows: int = 0
    refit: bool = False
    score_split_scores: tuple[float | None, ...] = ()


def hold_out(source: FeatureSource, seed: int) -> tuple[IntArray, IntArray]:
    """Return the rows to fit on and the tenth to choose a head by.

    The tenth is one of each class or, where the source has `groups`, one of the groups, none of
    which is split.

    Raises:
        UsageError: there are too few training rows to hold some out, they are of one group, or
            none that is held out has a label.
    """
    labels, groups = source.labels, source.groups
    has_many_labels = labels.ndim == 2
    if groups is None and not has_many_labels:
        kept, held_out = stratified_holdout(labels, fraction=HOLDOUT_FRACTION, seed=seed)
        if len(held_out) == 0:
            raise UsageError(
                f"{len(source)} training rows are too few to hold a tenth of them out: a class"
                " needs two rows. Give more rows, or set the probe's options to one value each."
            )
        return kept, held_out
    if groups is None:
        groups = np.arange(len(source), dtype=np.int64)
    kept, held_out = group_holdout(groups, fraction=HOLDOUT_FRACTION, seed=seed)
    if len(held_out) == 0:
        raise UsageError(
            f"the {len(source):,} training rows are all of one video, so that none can be held out"
            " without its like being trained on. Give rows of more videos, or set the probe's"
            " options to one value each."
        )
    if has_many_labels and not labels[held_out].any():
        raise UsageError(
            f"none of the {len(held_out):,} training rows that were held out to choose a head has a"
            " label. Give more rows, or set the probe's options to one value each."
        )
    return kept, held_out


def choose_head(
    probe: Probe, fitted: Fitted, source: FeatureSource, device: torch.device, batch_size: int
) -> tuple[int, tuple[float | None, ...]]:
    """Return the head that is best on these rows, the first of equal ones, and all scores.

    There is one per head of the probe, None for those that the fit dropped.
    """
    counted = HeadScores(source.labels)
    for batch in source.epoch(0, batch_size=batch_size):
        counted.add(fitted.probabilities(batch.x.to(device)), batch)
    scores = by_head(counted.values(), fitted, probe.heads)
    return scores.index(max(score for score in scores if score is not None)), scores


def cut_to_head(probe: Probe, fitted: Fitted) -> Callable[[int], Fitted]:
    """Return what cuts a fit of all heads down to one head of the probe.

    Raises:
        UsageError: what this probe fits cannot be cut down.
    """
    only: Callable[[int], Fitted] | None = getattr(fitted, "only", None)
    if only is None:
        raise UsageError(
            f"probe {probe.name!r} fits {len(probe.heads)} heads that cannot be told apart later"
            " (they have no method `only`): give its settings one value each, or choose among them"
            " with protocol honest@1."
        )
    found = [kept.settings for kept in fitted.heads]
    return lambda head: only(found.index(probe.heads[head].settings))
