"""The parts of a record that every fit has, wherever its features came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from bench.data.manifest import Manifest
from bench.evaluate.choose_head import Selected
from bench.evaluate.fit_and_score import Scored
from bench.evaluate.probe_files import FACTS, save_fitted
from bench.files import file_sha256
from bench.metrics.accuracy import UNSCORED, label_ranks, predict, report
from bench.protocols import EvaluationProtocol
from bench.records.metrics import Bounds, MetricsPart
from bench.records.record import Artifact, ProbePart, SelectionPart
from bench.records.run_id import plain
from bench.types import IntArray, Probe


def probe_part(
    name: str,
    probe: Probe,
    protocol: EvaluationProtocol,
    scored: Scored,
    *,
    released: Path | None = None,
    head_order: str | None = None,
) -> ProbePart:
    """Describe the sweep and the head that was reported.

    `name` is the one the probe is registered by, which may be made from another. `released` is a
    probe file not fitted, `head_order` what its classes were put in order by.
    """
    selected = scored.selected
    rule = "released probe, no fit" if released else protocol.selection
    return ProbePart(
        name=name,
        reads=probe.reads,
        settings=plain(probe.settings),
        heads=tuple(plain(head.settings) for head in probe.heads),
        selected=selected.head,
        selection=SelectionPart(
            rule=rule,
            holdout_rows=selected.holdout_rows,
            holdout_scores=selected.holdout_scores,
            score_split_scores=selected.score_split_scores,
            score_split_fit=_score_split_fit(selected),
        ),
        log=plain(selected.fitted.log),
        released_sha256=file_sha256(released) if released else None,
        head_order=head_order,
    )


def _score_split_fit(selected: Selected) -> Literal["all", "kept"] | None:
    """Say on which training rows the heads were fitted that were scored on the score split."""
    if not selected.score_split_scores:
        return None
    return "kept" if selected.refit else "all"


def metrics_part(
    probabilities: Any, manifest: Manifest, rows: IntArray, *, skip: bool = False
) -> MetricsPart:
    """Count; `probabilities` are those of the scored `rows`.

    Every other row is wrong, or with `skip` no part of the accuracies (but of their bounds).
    """
    scores, labels = torch.from_numpy(probabilities), torch.from_numpy(manifest.labels[rows])
    predicted = np.full(len(manifest), UNSCORED, dtype=np.int64)
    predicted[rows] = predict(scores).numpy()
    hits = np.zeros(len(manifest), dtype=np.bool_)
    hits[rows] = (label_ranks(scores, labels) < 5).numpy()
    expected = manifest.expected if manifest.expected is not None else len(manifest)
    kept = rows if skip else np.arange(len(manifest))
    values = report(
        predicted[kept],
        manifest.labels[kept],
        hits[kept],
        num_classes=probabilities.shape[1],
        num_expected=expected,
    )
    return MetricsPart(
        top1=values["top1"],
        top5=values.get("top5"),
        mean_per_class=values["mean_per_class"],
        correct=int((predicted == manifest.labels).sum()),
        scored=len(rows),
        expected=expected,
        bounds=Bounds(low=values["top1_lower"], high=values["top1_upper"]),
        chance=values["chance"],
        majority=values["majority"],
    )


def save_probe(
    probe: Probe, scored: Scored, folder: Path, number: str, facts: Mapping[str, Any]
) -> Artifact:
    """Keep the fitted probe beside the record, whole: one written earlier is replaced."""
    place = folder / f"{number}-probe"
    head = probe.heads[scored.selected.head].settings
    settings = {**probe.settings, **{key: [value] for key, value in head.items()}}
    path = save_fitted(place, probe.name, plain(settings), scored.selected.fitted, facts)
    return Artifact(path=f"{place.name}/{FACTS}", sha256=file_sha256(path))
