"""Put a run's facts and its predictions together into the record."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.config import Machine, RunConfig
from bench.environment import stamp
from bench.feeds import Feeds, Split
from bench.metrics.accuracy import UNSCORED, label_ranks, predict, report
from bench.probe_files import FACTS, save_fitted
from bench.records import file_sha256, write_predictions, write_record
from bench.result import (
    Artifact,
    ArtifactsPart,
    Bounds,
    DataPart,
    EncoderPart,
    FeaturesPart,
    MetricsPart,
    PlanPart,
    ProbePart,
    ProtocolPart,
    Result,
    SelectionPart,
    SplitPart,
    TaskPart,
    TimingPart,
    TrainLabelsPart,
    result_id,
    utc_now,
)
from bench.score import Scored
from bench.stage import Stage
from bench.types import EvaluationProtocol, IntArray, Manifest, Probe


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """Everything that is known of a run before it is fitted."""

    stage: Stage
    probe: Probe
    feeds: Feeds
    probe_weights: Path | None = None


def identity(facts: Facts) -> str:
    """Return the id of the run: a digest of all that decides its number."""
    stage, feeds, probe = facts.stage, facts.feeds, facts.probe
    weights = file_sha256(facts.probe_weights) if facts.probe_weights else None
    fit_key = None if weights else feeds.fit.sets[probe.reads].digest
    return result_id(
        config=config_facts(stage.config),
        feature_keys=[fit_key, feeds.score.sets[probe.reads].digest],
        data_digests=[None if weights else stage.task.fit.digest, stage.task.score.digest],
        protocol_digest=protocol_digest(stage.protocol),
        probe=plain({"settings": probe.settings, "heads": [h.settings for h in probe.heads]}),
        released_sha256=weights,
    )


def assemble(
    facts: Facts, scored: Scored, machine: Machine, *, seconds: float
) -> tuple[Result, Path]:
    """Write predictions, probe and record of a finished run; return the record and its file."""
    stage, feeds = facts.stage, facts.feeds
    number, folder = identity(facts), machine.home / "records"
    manifest, rows = feeds.score.manifest, feeds.score.rows
    assert rows is not None
    probabilities = np.zeros((len(manifest), scored.probabilities.shape[1]), dtype=np.float32)
    probabilities[rows] = scored.probabilities
    was_scored = np.zeros(len(manifest), dtype=np.bool_)
    was_scored[rows] = True
    predictions = write_predictions(
        folder / f"{number}.parquet", manifest, probabilities, was_scored
    )
    released = facts.probe_weights is not None
    environment = stamp(stage.device)
    reasons = _reasons(stage.config, environment)
    result = Result(
        id=number,
        status="not_reportable" if reasons else "complete",
        reasons=tuple(reasons),
        created=utc_now(),
        config=config_facts(stage.config),
        task=_task_part(stage, released=released),
        protocol=ProtocolPart(
            name=stage.protocol.name,
            digest=protocol_digest(stage.protocol),
            deviations=tuple(stage.deviations),
        ),
        encoder=_encoder_part(stage),
        plan=PlanPart(
            fit=str(stage.fit_recipe.plan),
            score=str(stage.score_recipe.plan),
            sampler=stage.score_recipe.plan.sampler,
        ),
        data=DataPart(
            fit=None if released else split_part(feeds.fit),
            score=split_part(feeds.score),
        ),
        features=_features_part(facts, released=released),
        train_labels=None if released else _train_labels(stage, feeds.fit),
        probe=probe_part(facts.probe, stage.protocol, scored, released=facts.probe_weights),
        metrics=metrics_part(scored.probabilities, manifest, rows),
        timing=_timing(feeds, scored, seconds),
        environment=environment,
        artifacts=ArtifactsPart(
            predictions=predictions,
            probe=save_probe(facts.probe, scored, folder, number, _provenance(stage)),
        ),
    )
    return result, write_record(result, folder, overwrite=machine.overwrite)


def config_facts(config: RunConfig) -> dict[str, Any]:
    """Return a configuration as JSON values from which the same run can be made again."""
    facts: dict[str, Any] = plain(asdict(config))
    return facts


def protocol_digest(protocol: EvaluationProtocol) -> str:
    """Return the SHA-256 of everything a protocol fixes."""
    return hashlib.sha256(json.dumps(plain(asdict(protocol)), sort_keys=True).encode()).hexdigest()


def split_part(split: Split) -> SplitPart:
    """Account for every listed row of an opened split."""
    assert split.rows is not None
    return SplitPart(
        digest=split.manifest.digest,
        listed=len(split.manifest),
        expected=split.manifest.expected,
        used=len(split.rows),
        unreadable=split.unreadable,
    )


def probe_part(
    probe: Probe, protocol: EvaluationProtocol, scored: Scored, *, released: Path | None = None
) -> ProbePart:
    """Describe the sweep and the head that was reported; `released` is a probe file not fitted."""
    selected = scored.selected
    rule = "released probe, no fit" if released else protocol.selection
    return ProbePart(
        name=probe.name,
        reads=probe.reads,
        settings=plain(probe.settings),
        heads=tuple(plain(head.settings) for head in probe.heads),
        selected=selected.head,
        selection=SelectionPart(
            rule=rule,
            holdout_rows=selected.holdout_rows,
            holdout_accuracies=selected.holdout_accuracies,
        ),
        log=plain(selected.fitted.log),
        released_sha256=file_sha256(released) if released else None,
    )


def metrics_part(probabilities: Any, manifest: Manifest, rows: IntArray) -> MetricsPart:
    """Count; `probabilities` are those of the scored `rows`, every other row is wrong."""
    scores, labels = torch.from_numpy(probabilities), torch.from_numpy(manifest.labels[rows])
    predicted = np.full(len(manifest), UNSCORED, dtype=np.int64)
    predicted[rows] = predict(scores).numpy()
    hits = np.zeros(len(manifest), dtype=np.bool_)
    hits[rows] = (label_ranks(scores, labels) < 5).numpy()
    expected = manifest.expected if manifest.expected is not None else len(manifest)
    values = report(
        predicted, manifest.labels, hits, num_classes=probabilities.shape[1], num_expected=expected
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
    shutil.rmtree(place, ignore_errors=True)
    head = probe.heads[scored.selected.head].settings
    settings = {**probe.settings, **{key: [value] for key, value in head.items()}}
    path = save_fitted(place, probe.name, plain(settings), scored.selected.fitted, facts)
    return Artifact(path=f"{place.name}/{FACTS}", sha256=file_sha256(path))


def _task_part(stage: Stage, *, released: bool) -> TaskPart:
    task = stage.task
    return TaskPart(
        name=task.name,
        title=task.title,
        kind=task.kind,
        fit_split=None if released else task.fit.split,
        score_split=task.score.split,
        metric=task.metric,
        num_classes=len(task.classes),
        options=plain(task.options),
    )


def _encoder_part(stage: Stage) -> EncoderPart:
    spec = stage.encoder.spec
    return EncoderPart(
        spec=stage.config.encoder,
        name=spec.name,
        source=spec.source,
        weights_sha256=stage.weights_digest if spec.num_parameters else None,
        num_parameters=spec.num_parameters,
        width=spec.width,
        num_frames=spec.num_frames,
        image_size=spec.image_size,
        is_floor=spec.is_floor,
        notes=stage.encoder.notes,
    )


def _features_part(facts: Facts, *, released: bool) -> FeaturesPart:
    feeds, reads = facts.feeds, facts.probe.reads
    splits = [feeds.score] if released else [feeds.fit, feeds.score]
    decoders: dict[str, int] = {}
    for split in splits:
        for name, count in split.counts.decoders.items():
            decoders[name] = decoders.get(name, 0) + count
    return FeaturesPart(
        fit_key=None if released else feeds.fit.sets[reads].digest,
        score_key=feeds.score.sets[reads].digest,
        mode="live" if any(split.mode == "live" for split in splits) else "stored",
        dtype=facts.stage.config.dtype,
        precision=facts.stage.precision,
        decoders=decoders,
        repeated_frames=sum(split.counts.repeated_frames for split in splits),
        decoded=sum(split.counts.decoded for split in splits),
        encoder_calls=sum(split.counts.encoder_calls for split in splits),
        rows_from_store=sum(split.counts.rows_read_from_store for split in splits),
    )


def _train_labels(stage: Stage, fit: Split) -> TrainLabelsPart:
    assert fit.rows is not None
    options = stage.task.options
    return TrainLabelsPart(
        fraction=float(options.get("fraction", 1.0)),
        draw=int(options.get("draw", 0)),
        used=len(fit.rows),
    )


def _timing(feeds: Feeds, scored: Scored, seconds: float) -> TimingPart:
    spent = {
        step: sum(split.counts.seconds.get(step, 0.0) for split in (feeds.fit, feeds.score))
        for step in ("decode", "encode")
    }
    return TimingPart(
        decode_seconds=spent["decode"],
        encode_seconds=spent["encode"],
        fit_seconds=scored.fit_seconds,
        score_seconds=scored.score_seconds,
        total_seconds=seconds,
    )


def _provenance(stage: Stage) -> dict[str, Any]:
    return {
        "classes": list(stage.task.classes),
        "protocol": stage.protocol.name,
        "task": stage.task.name,
        "encoder": stage.encoder.spec.name,
        "encoder_sha256": stage.weights_digest,
    }


def _reasons(config: RunConfig, environment: Mapping[str, Any]) -> list[str]:
    """Say why a run is not reportable; empty if it is."""
    reasons = []
    if config.limit is not None:
        reasons.append(f"limited to {config.limit} rows a split")
    if environment.get("git_dirty"):
        reasons.append("the code differs from its commit")
    return reasons


def plain(value: Any) -> Any:
    """Turn tuples, paths and numpy numbers into what JSON gives back."""
    return json.loads(json.dumps(value, default=_spell))


def _spell(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
