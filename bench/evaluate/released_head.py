"""Score a released head without fitting, and learn the order of its classes if unknown."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from bench.data.manifest import Manifest
from bench.data.splits import permuted
from bench.errors import UsageError
from bench.evaluate.choose_head import Selected
from bench.evaluate.fit_and_score import Probabilities, Scored, predict
from bench.evaluate.head_order import HeadOrder, learned_order
from bench.evaluate.prepare import PreparedRun
from bench.metrics.accuracy import predict as top_class
from bench.types import FeatureSource, Fitted, Progress


def for_learning_head_order(prepared: PreparedRun, rows_per_class: int) -> PreparedRun:
    """Keep a few training rows per class, read with the views of the score split.

    Raises:
        UsageError: rows are boxes, or may have several labels.
    """
    fit = prepared.task.fit
    _require_clips(fit)
    rows = permuted(fit.labels, draw=0, ids=fit.ids).shots(rows_per_class)
    task = replace(prepared.task, fit=fit.subset(rows))
    return replace(prepared, task=task, fit=prepared.score.of(task.fit))


def learn_head_order(
    fitted: Fitted,
    source: FeatureSource,
    manifest: Manifest,
    *,
    device: torch.device,
    progress: Progress,
) -> HeadOrder:
    """Learn which column of a head is which class, from features of training rows.

    Raises:
        UsageError: the number of classes is not the task's, the order is unclear, or rows are boxes
            or may have several labels.
    """
    _require_clips(manifest)
    probabilities = predict(fitted, source, device, progress)
    _check_classes(probabilities, source)
    predicted = top_class(torch.from_numpy(probabilities)).numpy()
    return learned_order(predicted, source.labels, manifest.classes)


def score_released(
    fitted: Fitted, source: FeatureSource, *, device: torch.device, progress: Progress
) -> Scored:
    """Score a probe from a file without fitting it.

    Raises:
        UsageError: the number of classes is not that of the task.
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
            "--head-classes fit needs rows with one label each, but rows of"
            f" {manifest.name} are boxes or may have several; give the names in the head's order"
            " (--head-classes FILE)."
        )


def _check_classes(probabilities: Probabilities, source: FeatureSource) -> None:
    if probabilities.shape[1] != source.num_classes:
        raise UsageError(
            f"the probe file has {probabilities.shape[1]} classes, but the task has"
            f" {source.num_classes}: name the task that the probe was trained for."
        )
