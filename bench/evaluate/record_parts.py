"""The parts of a record that every fit has, whatever the source of its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.manifest import Manifest
from bench.encoders.functional_check import functional_check
from bench.evaluate.fit_and_score import Scored
from bench.evaluate.prepare import Job, PreparedRun
from bench.evaluate.probe_files import FACTS, save_fitted
from bench.files import file_sha256
from bench.metrics.accuracy import UNSCORED, label_ranks, predict, report
from bench.records.metrics import Bounds, MetricsPart
from bench.records.record import (
    Artifact,
    CardPart,
    CheckPart,
    EncoderPart,
    PlanPart,
    ProbePart,
    SelectionPart,
)
from bench.records.run_id import plain
from bench.types import IntArray, Probe


@dataclass(frozen=True, kw_only=True)
class Origin:
    """How the features of a run were made, for its record.

    `dtype` is that of stored features; `provenance` is saved with the fitted probe.
    """

    encoder: EncoderPart
    plan: PlanPart
    precision: str
    dtype: str
    provenance: Mapping[str, Any]


def origin_of(prepared: PreparedRun) -> Origin:
    """Describe the encoder of a run and its clips."""
    encoder, plan = prepared.score.encoder, prepared.score.recipe.plan
    spec, check = encoder.spec, functional_check(encoder)
    digest = prepared.score.weights_digest
    warnings = () if spec.is_floor else check.warnings  # a floor has random weights by design
    part = EncoderPart(
        spec=prepared.config.encoder,
        name=spec.name,
        source=spec.source,
        weights_sha256=digest if spec.num_parameters else None,
        num_parameters=spec.num_parameters,
        width=spec.width,
        num_frames=spec.num_frames,
        image_size=spec.image_size,
        is_floor=spec.is_floor,
        notes=(*encoder.notes, *warnings),
        takes=spec.takes,
        depth=spec.depth,
        clips_per_call=spec.clips_per_call,
        card=CardPart(**asdict(spec.card)),
        check=CheckPart(**asdict(check)),
    )
    provenance = {
        "classes": list(prepared.task.classes),
        "protocol": prepared.protocol.name,
        "task": prepared.task.name,
        "encoder": spec.name,
        "encoder_sha256": digest,
    }
    return Origin(
        encoder=part,
        plan=PlanPart(fit=str(prepared.fit.recipe.plan), score=str(plan), sampler=plan.sampler),
        precision=prepared.score.precision,
        dtype=prepared.score.dtype,
        provenance=provenance,
    )


def probe_part(job: Job, scored: Scored, *, head_order: str | None = None) -> ProbePart:
    """Describe the sweep and the reported head, under the probe's registered name.

    `head_order` says how the classes of a released probe were ordered.
    """
    probe, selected, on_score = job.probe, scored.selected, scored.selected.score_split_scores
    facts = job.probe_facts
    rule = "released probe, no fit" if job.weights else job.protocol.selection
    return ProbePart(
        name=job.config.probe,
        reads=probe.reads,
        settings=facts["settings"],
        heads=tuple(facts["heads"]),
        selected=selected.head,
        selection=SelectionPart(
            rule=rule,
            holdout_rows=selected.holdout_rows,
            holdout_scores=selected.holdout_scores,
            score_split_scores=on_score,
            score_split_fit=("kept" if selected.refit else "all") if on_score else None,
        ),
        log=plain(selected.fitted.log),
        released_sha256=file_sha256(job.weights) if job.weights else None,
        head_order=head_order,
    )


def metrics_part(
    probabilities: Any, manifest: Manifest, rows: IntArray, *, skip: bool = False
) -> MetricsPart:
    """Compute metrics from the `probabilities` of the scored `rows`.

    Every other row counts as wrong or, with `skip`, only in the bounds.
    """
    scores, labels = torch.from_numpy(probabilities), torch.from_numpy(manifest.labels[rows])
    predicted = np.full(len(manifest), UNSCORED, dtype=np.int64)
    predicted[rows] = predict(scores).numpy()
    hits = np.zeros(len(manifest), dtype=np.bool_)
    hits[rows] = (label_ranks(scores, labels) < 5).numpy()
    expected = manifest.expected if manifest.expected is not None else len(manifest)
    kept = rows if skip else np.arange(len(manifest))
    values: dict[str, Any] = report(
        predicted[kept],
        manifest.labels[kept],
        hits[kept],
        num_classes=probabilities.shape[1],
        num_expected=expected,
    )
    bounds = Bounds(low=values.pop("top1_lower"), high=values.pop("top1_upper"))
    return MetricsPart(
        **{"top5": None, **values},
        correct=int((predicted == manifest.labels).sum()),
        scored=len(rows),
        expected=expected,
        bounds=bounds,
    )


def save_probe(
    probe: Probe, scored: Scored, folder: Path, record_id: str, facts: Mapping[str, Any]
) -> Artifact:
    """Save the fitted probe next to the record, replacing an earlier one."""
    place = folder / f"{record_id}-probe"
    head = probe.heads[scored.selected.head].settings
    settings = {**probe.settings, **{key: [value] for key, value in head.items()}}
    path = save_fitted(place, probe.name, plain(settings), scored.selected.fitted, facts)
    return Artifact(path=f"{place.name}/{FACTS}", sha256=file_sha256(path))
