"""Fit a probe, score it once, and count: from feature sources to probabilities and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from bench.data.manifest import Manifest
from bench.errors import UsageError
from bench.evaluate.choose_head import Selected, fit_best_on_score, fit_honest, fit_single
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
    """Fit `probe` as the protocol selects heads, then score the one chosen head once.

    In the same pass all heads of the fit that it was chosen from are counted on the scored rows:
    that decides nothing, and shows what choosing there would have added.
    """
    check_heads(probe, protocol)
    choose: Callable[..., Selected]
    choose = fit_honest if protocol.selection == "honest" else fit_single
    if protocol.selection == "best_on_score":
        choose = partial(fit_best_on_score, score=score, batch_size=SCORE_BATCH[score.reads])
    begin = time.perf_counter()
    selected = choose(probe, fit, seed=seed, device=device, progress=progress)
    middle = time.perf_counter()
    trial, scores = selected.trial, HeadScores(score.labels)
    beside = None if trial is None or not _has_answers(score) else (trial, scores)
    probabilities = predict(selected.fitted, score, device, progress, beside=beside)
    if beside is not None:
        own = by_head(scores.values(), beside[0], probe.heads)
        selected = replace(selected, score_split_scores=own, trial=None)
    return Scored(
        selected=selected,
        probabilities=probabilities,
        fit_seconds=middle - begin,
        score_seconds=time.perf_counter() - middle,
    )


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


def _has_answers(source: FeatureSource) -> bool:
    """Whether rows have labels to count; the boxes of a detector have none."""
    return source.labels.ndim == 1 or bool(source.labels.any())


def _check_classes(probabilities: Probabilities, source: FeatureSource) -> None:
    if probabilities.shape[1] != source.num_classes:
        raise UsageError(
            f"the probe file tells {probabilities.shape[1]} classes apart, but the task has"
            f" {source.num_classes}: name the task that it was trained for."
        )
