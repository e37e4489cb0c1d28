"""Choose one head of a sweep without ever looking at the labels that are scored.

The rule of DINOv2's logistic regression (arXiv 2304.07193, appendix B.3) for every probe: fit all
heads on nine tenths of the training rows, take the best on the last tenth, fit it anew on all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.data.splits import stratified_holdout
from bench.errors import UsageError
from bench.types import FeatureSource, Fitted, Probe, Progress

HOLDOUT_FRACTION = 0.1
VECTOR_BATCH = 1024  # rows per scoring call of a probe that names no batch size of its own


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A fitted probe with one head, and how that head was chosen.

    `head` is its index in the probe's `heads`. `holdout_accuracies` has one fraction per head
    (None: the head was dropped in the fit) and is empty where there was nothing to choose;
    `holdout_log` is the log of the fit that chose.
    """

    fitted: Fitted
    head: int
    holdout_accuracies: tuple[float | None, ...] = ()
    holdout_rows: int = 0
    refit: bool = False
    holdout_log: Mapping[str, Any] = field(default_factory=dict)


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
    """Choose a head on a stratified tenth of the training rows and refit it alone on all of them.

    Ties go to the first head. A probe with one head is fitted at once on all rows.

    Raises:
        UsageError: there are too few training rows to hold some out.
    """
    if len(probe.heads) == 1:
        return fit_single(probe, source, seed=seed, device=device, progress=progress)
    kept, held_out = stratified_holdout(source.labels, fraction=HOLDOUT_FRACTION, seed=seed)
    if len(held_out) == 0:
        raise UsageError(
            f"{len(source)} training rows are too few to hold a tenth of them out: a class needs"
            " two rows. Give more rows, or set the probe's options to one value each."
        )
    trial = probe.fit(source.subset(kept), seed=seed, device=device, progress=progress)
    correct = _correct_by_head(probe, trial, source.subset(held_out), device)
    best = max(count for count in correct if count is not None)
    head = correct.index(best)
    fitted = probe.only(head).fit(source, seed=seed, device=device, progress=progress)
    return Selected(
        fitted=fitted,
        head=head,
        holdout_accuracies=tuple(c if c is None else c / len(held_out) for c in correct),
        holdout_rows=len(held_out),
        refit=True,
        holdout_log=trial.log,
    )


def _correct_by_head(
    probe: Probe, fitted: Fitted, source: FeatureSource, device: torch.device
) -> list[int | None]:
    counts = torch.zeros(len(fitted.heads), dtype=torch.int64)
    batch_size = int(probe.settings.get("batch_size", VECTOR_BATCH))
    for batch in source.epoch(0, batch_size=batch_size):
        guesses_KB = fitted.probabilities(batch.x.to(device)).argmax(dim=-1).cpu()
        counts += (guesses_KB == batch.y.cpu()).sum(dim=1)
    # A head that was dropped in the fit is missing among the fitted ones.
    found = [head.settings for head in fitted.heads]
    return [
        int(counts[found.index(head.settings)]) if head.settings in found else None
        for head in probe.heads
    ]
