"""Fit a probe, score it once, and count: from feature sources to probabilities and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from bench.data.splits import stratified_shots
from bench.errors import DataError, UsageError
from bench.head_order import HeadOrder, learned_order
from bench.metrics.accuracy import predict as top_class
from bench.metrics.head_scores import HeadScores, by_head
from bench.metrics.relabelling import Relabelling, find_relabelling
from bench.protocols import EvaluationProtocol
from bench.selection import Selected, fit_best_on_score, fit_honest, fit_single
from bench.stage import Stage
from bench.types import FeatureSource, Fitted, IntArray, Manifest, Probe, Progress

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


class PermutedLabels(DataError):  # noqa: N818 (it names a state of the data)
    """Predictions that agree with a relabelling far better than with the labels as given."""


def check_labels(
    probabilities: Probabilities, labels: IntArray, manifest: Manifest, *, keep: bool
) -> Relabelling | None:
    """Look whether the labels of the scored rows seem to be permuted.

    `probabilities` are `[rows, C]`, `labels` int64 `[rows]`; `manifest` names the split. With
    `keep` an alarm is for the caller to put on record (`permuted_labels` says it in words). Where
    rows may have several labels there is no such test, and None is returned.

    Raises:
        PermutedLabels: they agree with a relabelling far better than with the labels.
    """
    if labels.ndim > 1:
        return None
    predicted = top_class(torch.from_numpy(probabilities)).numpy()
    found = find_relabelling(predicted, labels, probabilities.shape[1])
    if found.alarm and not keep:
        raise PermutedLabels(
            f"{permuted_labels(found, manifest)} Check the order of the classes: the label map"
            " (--set task.classes=FILE), or the order of a released head (--head-classes FILE). To"
            " keep the labels, say --set on_permuted_labels=keep, which marks the record as"
            " suspect."
        )
    return found


def permuted_labels(found: Relabelling, manifest: Manifest) -> str:
    """Say in a sentence how labels disagree with predictions, with both numbers and examples."""
    names = manifest.classes
    moved = ""
    if found.moved_rows < found.rows:
        moved = (
            f" (in the rows of moved classes {_share(found.moved_as_given, found.moved_rows)} as"
            f" given, {_share(found.moved_relabelled, found.moved_rows)} relabelled)"
        )
    examples = "; ".join(
        f"{names[move.label]!r} is predicted as {names[move.predicted_as]!r} in {move.relabelled}"
        f" of {move.rows} rows, as itself in {move.as_given}"
        for move in found.moves[:3]
    )
    return (
        f"{manifest.name} {manifest.split}: the labels look permuted. Predictions agree with"
        f" {_share(found.as_given, found.rows)} of the labels as given, and with"
        f" {_share(found.relabelled, found.rows)} when {found.num_moved} of {len(names)} classes"
        f" change places{moved}; {examples}."
    )


def for_learning_head_order(stage: Stage, rows_per_class: int) -> Stage:
    """Return the stage with a few training rows a class, seen as rows are that are scored.

    Raises:
        UsageError: rows are boxes, or may have several labels.
    """
    fit = stage.task.fit
    _require_clips(fit)
    rows = stratified_shots(fit.labels, rows_per_class, draw=0, ids=fit.ids)
    task = replace(stage.task, fit=fit.subset(rows))
    return replace(stage, task=task, fit_recipe=stage.score_recipe, draws=0)


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


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} % ({count:,} of {total:,})"
