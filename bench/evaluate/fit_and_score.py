"""Fit a probe, score it once, and count: from feature sources to probabilities and metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from bench.data.manifest import Manifest
from bench.errors import UsageError
from bench.evaluate.choose_head import HOLDOUT_BATCH, Selected, choose_head, cut_to_head, hold_out
from bench.metrics.head_scores import HeadScores, by_head
from bench.protocols import EvaluationProtocol
from bench.types import FeatureSource, Fitted, Probe, Progress

SCORE_BATCH = {"vector": 256, "tokens": 16}  # fixed, so that no user's setting moves a number

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """What a fit and one look at the score split gave; `probabilities` is float32 `[rows, C]`."""

    selected: Selected
    probabilities: Probabilities
    fit_seconds: float
    score_seconds: float


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

    `honest` fits all heads but a tenth of the rows, chooses on that tenth and fits the chosen head
    anew on all rows. In the pass over the scored rows all heads of the first fit are counted too:
    that decides nothing, and shows what choosing there would have added. `best_on_score` keeps
    the head of one fit on all rows that is best on the scored ones, as V-JEPA 2 does: its score is
    too high by what luck adds to the best of so many. A probe with one head is fitted once.

    Raises:
        UsageError: what `check_heads`, `hold_out` and `cut_to_head` raise, or the fit.
    """
    check_heads(probe, protocol)
    begin = time.perf_counter()
    is_sweep = len(probe.heads) > 1
    is_honest = is_sweep and protocol.selection == "honest"
    kept, held_out = hold_out(fit, seed) if is_honest else (None, None)
    source = fit if kept is None else fit.subset(kept)
    fitted = probe.fit(source, seed=seed, device=device, progress=progress)
    selected, beside = Selected(fitted=fitted, head=0), None
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
            beside = fitted, HeadScores(score.labels)
    elif is_sweep:
        one_of = cut_to_head(probe, fitted)
        head, scores = choose_head(probe, fitted, score, device, SCORE_BATCH[score.reads])
        selected = Selected(fitted=one_of(head), head=head, score_split_scores=scores)
    middle = time.perf_counter()
    probabilities = predict(selected.fitted, score, device, progress, beside=beside)
    if beside is not None:
        own = by_head(beside[1].values(), beside[0], probe.heads)
        selected = replace(selected, score_split_scores=own)
    return Scored(
        selected=selected,
        probabilities=probabilities,
        fit_seconds=middle - begin,
        score_seconds=time.perf_counter() - middle,
    )


def predict(
    fitted: Fitted,
    source: FeatureSource,
    device: torch.device,
    progress: Progress,
    *,
    beside: tuple[Fitted, HeadScores] | None = None,
) -> Probabilities:
    """Return the class probabilities of the first head for every row, float32 `[rows, C]`.

    All heads of a second fit, `beside` it, are counted in the same pass.
    """
    made: Probabilities | None = None
    progress.start("score", len(source))
    for batch in source.epoch(0, batch_size=SCORE_BATCH[source.reads]):
        x = batch.x.to(device)
        scores = fitted.probabilities(x)[0].float().cpu().numpy()
        if beside is not None:
            beside[1].add(beside[0].probabilities(x), batch)
        if made is None:
            made = np.zeros((len(source), scores.shape[1]), dtype=np.float32)
        made[batch.row.numpy()] = scores
        progress.advance(len(batch.row))
    progress.stop()
    if made is None:
        raise UsageError("the score split holds no readable row.")
    return made


def check_heads(probe: Probe, protocol: EvaluationProtocol) -> None:
    """Refuse a sweep where the protocol reports one head."""
    if protocol.selection == "single" and len(probe.heads) > 1:
        raise UsageError(
            f"{protocol.name} reports one head, but {probe.name} has {len(probe.heads)}: set its"
            " options to one value each, or use --protocol honest@1."
        )


def check_label_kind(probe: Probe, manifest: Manifest) -> None:
    """Let a probe that has a `check_labels` refuse the labels of the training rows at once."""
    check = getattr(probe, "check_labels", None)
    if check is not None:
        check(manifest.labels)


def has_answers(source: FeatureSource) -> bool:
    """Whether rows have labels to count; the boxes of a detector have none."""
    return source.labels.ndim == 1 or bool(source.labels.any())
