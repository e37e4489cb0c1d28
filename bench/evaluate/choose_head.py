"""Choose one head of a sweep without looking at the labels of the scored rows.

Every probe follows DINOv2's logistic regression (arXiv 2304.07193, appendix B.3): fit all heads on
nine tenths of the training rows, take the best on the last tenth, refit it on all rows. Rows of one
video are correlated, so grouped rows are held out group by group. V-JEPA 2's rule, the best head on
the scored rows themselves, is here to compare with published numbers and is always marked as such.
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
HOLDOUT_BATCH = 1024  # rows per scoring call of a probe without a batch size


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A fitted probe with one head, and how that head was chosen.

    `head` is its index in the probe's `heads`. `holdout_scores` has one fraction per head (None:
    dropped during the fit) and is empty if there was nothing to choose: the accuracy on the
    held-out rows or, for rows with several labels, the mean average precision over the classes
    with a positive there. `score_split_scores` are the same on the scored rows. A head chosen on
    held-out rows was refitted on all rows (`refit`).
    """

    fitted: Fitted
    head: int
    holdout_scores: tuple[float | None, ...] = ()
    holdout_rows: int = 0
    refit: bool = False
    score_split_scores: tuple[float | None, ...] = ()


def hold_out(source: FeatureSource, seed: int) -> tuple[IntArray, IntArray]:
    """Return the rows to fit on and the tenth to choose a head on.

    That is a tenth of each class or, if the source has `groups`, a tenth of the (unsplit) groups.

    Raises:
        UsageError: too few training rows, rows of a single group, or no held-out row with a label.
    """
    labels, groups = source.labels, source.groups
    has_many_labels = labels.ndim == 2
    if groups is None and not has_many_labels:
        kept, held_out = stratified_holdout(labels, fraction=HOLDOUT_FRACTION, seed=seed)
        if len(held_out) == 0:
            raise UsageError(
                f"{len(source)} training rows are too few to hold out a tenth: every class needs"
                " two rows. Use more rows, or set each probe option to a single value."
            )
        return kept, held_out
    if groups is None:
        groups = np.arange(len(source), dtype=np.int64)
    kept, held_out = group_holdout(groups, fraction=HOLDOUT_FRACTION, seed=seed)
    if len(held_out) == 0:
        raise UsageError(
            f"all {len(source):,} training rows come from one video, so holding some out would"
            " leak it. Use rows of more videos, or set each probe option to a single value."
        )
    if has_many_labels and not labels[held_out].any():
        raise UsageError(
            f"none of the {len(held_out):,} training rows held out to choose a head has a label."
            " Use more rows, or set each probe option to a single value."
        )
    return kept, held_out


def choose_head(
    probe: Probe, fitted: Fitted, source: FeatureSource, device: torch.device, batch_size: int
) -> tuple[int, tuple[float | None, ...]]:
    """Return the best head on these rows (the first on ties) and one score per head of the probe.

    Heads that the fit dropped have None.
    """
    counted = HeadScores(source.labels)
    for batch in source.epoch(0, batch_size=batch_size):
        counted.add(fitted.probabilities(batch.x.to(device)), batch)
    scores = by_head(counted.values(), fitted, probe.heads)
    return scores.index(max(score for score in scores if score is not None)), scores


def cut_to_head(probe: Probe, fitted: Fitted) -> Callable[[int], Fitted]:
    """Return a function that reduces a fit of all heads to one head of the probe.

    Raises:
        UsageError: the fitted probe has no method `only`.
    """
    only: Callable[[int], Fitted] | None = getattr(fitted, "only", None)
    if only is None:
        raise UsageError(
            f"probe {probe.name!r} fits {len(probe.heads)} heads that cannot be separated later (no"
            " method `only`): give each setting a single value, or use protocol honest@1."
        )
    found = [kept.settings for kept in fitted.heads]
    return lambda head: only(found.index(probe.heads[head].settings))
