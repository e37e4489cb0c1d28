"""Choose one head of a sweep without ever looking at the labels that are scored.

The rule of DINOv2's logistic regression (arXiv 2304.07193, appendix B.3) for every probe: fit all
heads on nine tenths of the training rows, take the best on the last tenth, fit it anew on all.
Rows of one video are alike: where rows come in groups, whole groups are held out.

The rule of V-JEPA 2, the best head on the scored rows themselves, is here for comparison with what
was published so; what it chose is marked wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.data.splits import group_holdout, stratified_holdout
from bench.errors import UsageError
from bench.metrics.head_scores import HeadScores, by_head
from bench.types import FeatureSource, Fitted, IntArray, Probe, Progress

HOLDOUT_FRACTION = 0.1
VECTOR_BATCH = 1024  # rows per scoring call of a probe that names no batch size of its own


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A fitted probe with one head, and how that head was chosen.

    `head` is its index in the probe's `heads`. `holdout_scores` has one fraction per head (None:
    the head was dropped in the fit) and is empty where there was nothing to choose: the accuracy
    on the held-out rows or, of rows with several labels, the mean average precision over the
    classes that have a positive there. `holdout_log` is the log of the fit that chose.
    `score_split_scores` are the same on the rows that are scored, where these chose the head.
    `trial` is the fit that the head was chosen from, without the held-out rows.
    """

    fitted: Fitted
    head: int
    holdout_scores: tuple[float | None, ...] = ()
    holdout_rows: int = 0
    refit: bool = False
    holdout_log: Mapping[str, Any] = field(default_factory=dict)
    score_split_scores: tuple[float | None, ...] = ()
    trial: Fitted | None = None


def fit_single(
    probe: Probe,
    source: FeatureSource,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Selected:
    """Fit a probe that has one head on all training rows.

    Raises:
        UsageError: the probe is a sweep.
    """
    if len(probe.heads) != 1:
        raise UsageError(
            f"probe {probe.name!r} has {len(probe.heads)} heads and the protocol reports one: give"
            " its settings one value each, or choose honestly among them with protocol honest@1."
        )
    fitted = probe.fit(source, seed=seed, device=device, progress=progress)
    return Selected(fitted=fitted, head=0)


def fit_honest(
    probe: Probe,
    source: FeatureSource,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Selected:
    """Choose a head on a tenth of the training rows and refit it alone on all of them.

    The tenth is one of each class or, where the source has `groups`, one of the groups, none of
    which is split. Ties go to the first head. A probe with one head is fitted at once on all rows.

    Raises:
        UsageError: there are too few training rows to hold some out, they are of one group, or
            none that is held out has a label.
    """
    if len(probe.heads) == 1:
        return fit_single(probe, source, seed=seed, device=device, progress=progress)
    kept, held_out = _holdout(source, seed)
    trial = probe.fit(source.subset(kept), seed=seed, device=device, progress=progress)
    held = source.subset(held_out)
    scores = _scores_by_head(probe, trial, held, device, _batch_size(probe))
    head = scores.index(max(score for score in scores if score is not None))
    fitted = probe.only(head).fit(source, seed=seed, device=device, progress=progress)
    return Selected(
        fitted=fitted,
        head=head,
        holdout_scores=scores,
        holdout_rows=len(held_out),
        refit=True,
        holdout_log=trial.log,
        trial=trial,
    )


def fit_best_on_score(
    probe: Probe,
    source: FeatureSource,
    score: FeatureSource,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Selected:
    """Fit all heads on all training rows and keep the best on the scored ones, as V-JEPA 2 does.

    Its score is too high by what luck adds to the best of so many. Ties go to the first head. The
    score split is read once for this, `batch_size` rows at a time. A probe with one head is fitted
    alone.

    Raises:
        UsageError: what this probe fits cannot be cut down to one head, or the fit raises it.
    """
    fitted = probe.fit(source, seed=seed, device=device, progress=progress)
    if len(probe.heads) == 1:
        return Selected(fitted=fitted, head=0)
    only = getattr(fitted, "only", None)
    if only is None:
        raise UsageError(
            f"probe {probe.name!r} fits {len(probe.heads)} heads that cannot be told apart later"
            " (they have no method `only`): give its settings one value each, or choose among them"
            " with protocol honest@1."
        )
    scores = _scores_by_head(probe, fitted, score, device, batch_size)
    head = scores.index(max(value for value in scores if value is not None))
    found = [kept.settings for kept in fitted.heads]
    return Selected(
        fitted=only(found.index(probe.heads[head].settings)),
        head=head,
        score_split_scores=scores,
    )


def _holdout(source: FeatureSource, seed: int) -> tuple[IntArray, IntArray]:
    """Return the rows to fit on and those to choose by."""
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


def _scores_by_head(
    probe: Probe, fitted: Fitted, source: FeatureSource, device: torch.device, batch_size: int
) -> tuple[float | None, ...]:
    """Return the score of every head of the probe, None for those that the fit dropped."""
    scores = HeadScores(source.labels)
    for batch in source.epoch(0, batch_size=batch_size):
        scores.add(fitted.probabilities(batch.x.to(device)), batch)
    return by_head(scores.values(), fitted, probe.heads)


def _batch_size(probe: Probe) -> int:
    return int(probe.settings.get("batch_size", VECTOR_BATCH))
