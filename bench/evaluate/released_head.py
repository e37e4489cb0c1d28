"""Score a released head as it is, and learn the order of its classes where that is not known."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from bench.data.manifest import Manifest
from bench.data.splits import stratified_shots
from bench.errors import UsageError
from bench.evaluate.choose_head import Selected
from bench.evaluate.fit_and_score import Probabilities, Scored, predict
from bench.evaluate.head_order import HeadOrder, learned_order
from bench.evaluate.prepare import PreparedRun
from bench.metrics.accuracy import predict as top_class
from bench.types import FeatureSource, Fitted, Progress


def for_learning_head_order(stage: PreparedRun, rows_per_class: int) -> PreparedRun:
    """Return the stage with a few training rows a class, seen as rows are that are scored.

    Raises:
        UsageError: rows are boxes, or may have several labels.
    """
    fit = stage.task.fit
    _require_clips(fit)
    rows = stratified_shots(fit.labels, rows_per_class, draw=0, ids=fit.ids)
    task = replace(stage.task, fit=fit.subset(rows))
    return replace(stage, task=task, fit=stage.score.of(task.fit))


def learn_head_order(
    fitted: Fitted,
    source: FeatureSource,
    manifest: Manifest,
    *,
    device: torch.device,
    progress: Progress,
) -> HeadOrder:
    """Learn which column of a head tells which class, from features of training rows.

    Raises:
        UsageError: another number of classes than the task's, the order is not clear, or rows are
            boxes or may have several labels.
    """
    _require_clips(manifest)
    probabilities = predict(fitted, source, device, progress)
    _check_classes(probabilities, source)
    predicted = top_class(torch.from_numpy(probabilities)).numpy()
    return learned_order(predicted, source.labels, manifest.classes)


def score_released(
    fitted: Fitted, source: FeatureSource, *, device: torch.device, progress: Progress
) -> Scored:
    """Score a probe from a file as it is.

    Raises:
        UsageError: it tells another number of classes apart than the task has.
    """
    begin = time.perf_counter()
    probabilities = predict(fitted, source, device, progress)
    _check_classes(probabilities, source)
    return Scored(
        selected=Selected(fitted=fitted, head=0),
        probabilities=probabilities,
        fit_seconds=0.0,
        score_seconds=time.perf_counter() - begin,
    )


def _require_clips(manifest: Manifest) -> None:
    if manifest.regions is not None or manifest.has_many_labels:
        raise UsageError(
            "--head-classes fit learns the order of a head's classes from rows of one label each,"
            f" and rows of {manifest.name} are boxes or may have several; give the names in the"
            " head's order (--head-classes FILE)."
        )


def _check_classes(probabilities: Probabilities, source: FeatureSource) -> None:
    if probabilities.shape[1] != source.num_classes:
        raise UsageError(
            f"the probe file tells {probabilities.shape[1]} classes apart, but the task has"
            f" {source.num_classes}: name the task that it was trained for."
        )
