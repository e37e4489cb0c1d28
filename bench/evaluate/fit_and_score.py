"""Fit a probe and score it once: from feature sources to probabilities."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from bench.data.manifest import Manifest
from bench.encoders.true_fp32 import true_fp32
from bench.errors import UsageError
from bench.evaluate.choose_head import HOLDOUT_BATCH, Selected, choose_head, cut_to_head, hold_out
from bench.metrics.head_scores import HeadScores, by_head
from bench.protocols import EvaluationProtocol
from bench.types import FeatureSource, Fitted, Probe, Progress

SCORE_BATCH = {"vector": 256, "tokens": 16}  # fixed, so that no setting changes a number

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A fitted probe and its float32 `[rows, C]` `probabilities` on the score split."""

    selected: Selected
    probabilities: Probabilities
    fit_seconds: float
    score_seconds: float


@true_fp32()
def fit_and_score(
    probe: Probe,
    protocol: EvaluationProtocol,
    fit: FeatureSource,
    score: FeatureSource,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Scored:
    """Fit `probe`, choose a head as the protocol selects heads, then score that head once.

    `honest` fits all heads on nine tenths of the rows, chooses on the last tenth and refits the
    chosen head on all rows. The pass over the scored rows also scores all heads of the first fit,
    which decides nothing but shows what choosing there would have added. `best_on_score` fits on
    all rows and keeps the head that is best on the scored ones, as V-JEPA 2 does, so its score is
    optimistically biased. A probe with one head is fitted once.

    Raises:
        UsageError: from `check_heads`, `hold_out`, `cut_to_head` or the fit.
    """
    check_heads(probe, protocol)
    begin = time.perf_counter()
    is_sweep = len(probe.heads) > 1
    is_honest = is_sweep and protocol.selection == "honest"
    kept, held_out = hold_out(fit, seed) if is_honest else (None, None)
    source = fit if kept is None else fit.subset(kept)
    fitted = probe.fit(source, seed=seed, device=device, progress=progress)
    selected, all_heads = Selected(fitted=fitted, head=0), None
    if held_out is not None:
        batch_size = int(probe.settings.get("batch_size", HOLDOUT_BATCH))
        head, scores = choose_head(probe, fitted, fit.subset(held_out), device, batch_size)
        selected = Selected(
            fitted=probe.only(head).fit(fit, seed=seed, device=device, progress=progress),
            head=head,
            holdout_scores=scores,
            holdout_rows=len(held_out),
            refit=True,
        )
        if has_answers(score):
            all_heads = fitted, HeadScores(score.labels)
    elif is_sweep:
        one_of = cut_to_head(probe, fitted)
        head, scores = choose_head(probe, fitted, score, device, SCORE_BATCH[score.reads])
        selected = Selected(fitted=one_of(head), head=head, score_split_scores=scores)
    middle = time.perf_counter()
    probabilities = predict(selected.fitted, score, device, progress, all_heads=all_heads)
    if all_heads is not None:
        scores = by_head(all_heads[1].values(), all_heads[0], probe.heads)
        selected = replace(selected, score_split_scores=scores)
    return Scored(
        selected=selected,
        probabilities=probabilities,
        fit_seconds=middle - begin,
        score_seconds=time.perf_counter() - middle,
    )


@true_fp32()
def predict(
    fitted: Fitted,
    source: FeatureSource,
    device: torch.device,
    progress: Progress,
    *,
    all_heads: tuple[Fitted, HeadScores] | None = None,
) -> Probabilities:
    """Return the class probabilities of the first head for every row, float32 `[rows, C]`.

    `all_heads`, the fit of a whole sweep, is scored in the same pass.
    """
    probabilities: Probabilities | None = None
    progress.start("score", len(source))
    for batch in source.epoch(0, batch_size=SCORE_BATCH[source.reads]):
        x = batch.x.to(device)
        scores = fitted.probabilities(x)[0].float().cpu().numpy()
        if all_heads is not None:
            all_heads[1].add(all_heads[0].probabilities(x), batch)
        if probabilities is None:
            probabilities = np.zeros((len(source), scores.shape[1]), dtype=np.float32)
        probabilities[batch.row.numpy()] = scores
        progress.advance(len(batch.row))
    progress.stop()
    if probabilities is None:
        raise UsageError("the score split has no readable rows.")
    return probabilities


def check_heads(probe: Probe, protocol: EvaluationProtocol) -> None:
    """Reject a sweep if the protocol reports a single head."""
    if protocol.selection == "single" and len(probe.heads) > 1:
        raise UsageError(
            f"{protocol.name} reports one head, but {probe.name} has {len(probe.heads)}: set each"
            " option to a single value, or use --protocol honest@1."
        )


def check_label_kind(probe: Probe, manifest: Manifest) -> None:
    """Call a probe's optional `check_labels`, so that it can reject the training labels early."""
    check = getattr(probe, "check_labels", None)
    if check is not None:
        check(manifest.labels)


def has_answers(source: FeatureSource) -> bool:
    """Whether rows have labels; the boxes of a detector have none."""
    return source.labels.ndim == 1 or bool(source.labels.any())
