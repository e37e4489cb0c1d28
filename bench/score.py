"""Fit a probe, score it once, and count: from feature sources to probabilities and metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bench.errors import UsageError
from bench.protocols import EvaluationProtocol
from bench.selection import Selected, fit_honest, fit_single
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
    """Fit `probe` as the protocol selects heads, then score the one chosen head once."""
    check_heads(probe, protocol)
    choose = fit_honest if protocol.selection == "honest" else fit_single
    begin = time.perf_counter()
    selected = choose(probe, fit, seed=seed, device=device, progress=progress)
    middle = time.perf_counter()
    probabilities = predict(selected.fitted, score, device, progress)
    return Scored(
        selected=selected,
        probabilities=probabilities,
        fit_seconds=middle - begin,
        score_seconds=time.perf_counter() - middle,
    )


def score_released(
    fitted: Fitted, source: FeatureSource, *, device: torch.device, progress: Progress
) -> Scored:
    """Score a probe from a file as it is.

    Raises:
        UsageError: it tells another number of classes apart than the task has.
    """
    begin = time.perf_counter()
    probabilities = predict(fitted, source, device, progress)
    if probabilities.shape[1] != source.num_classes:
        raise UsageError(
            f"the probe file tells {probabilities.shape[1]} classes apart, but the task has"
            f" {source.num_classes}: name the task that it was trained for."
        )
    return Scored(
        selected=Selected(fitted=fitted, head=0),
        probabilities=probabilities,
        fit_seconds=0.0,
        score_seconds=time.perf_counter() - begin,
    )


def check_heads(probe: Probe, protocol: EvaluationProtocol) -> None:
    """Refuse a sweep where the protocol reports one head."""
    if protocol.selection == "single" and len(probe.heads) > 1:
        raise UsageError(
            f"{protocol.name} reports one head, but {probe.name} has {len(probe.heads)}: set its"
            " options to one value each, or use --protocol honest@1."
        )


def predict(
    fitted: Fitted, source: FeatureSource, device: torch.device, progress: Progress
) -> Probabilities:
    """Return the class probabilities of the first head for every row, float32 `[rows, C]`."""
    made: Probabilities | None = None
    progress.start("score", len(source))
    for batch in source.epoch(0, batch_size=SCORE_BATCH[source.reads]):
        scores = fitted.probabilities(batch.x.to(device))[0].float().cpu().numpy()
        if made is None:
            made = np.zeros((len(source), scores.shape[1]), dtype=np.float32)
        made[batch.row.numpy()] = scores
        progress.advance(len(batch.row))
    progress.stop()
    if made is None:
        raise UsageError("the score split holds no readable row.")
    return made
