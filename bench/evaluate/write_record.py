"""Put a run's facts and its predictions together into the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.config import Machine, RunConfig
from bench.data.boxes.regions import Regions
from bench.encoders.functional_check import functional_check
from bench.evaluate.fit_and_score import Scored
from bench.evaluate.prepare import Stage
from bench.evaluate.record_parts import metrics_part, probe_part, save_probe
from bench.evaluate.split_features import Feeds, Mode, Split
from bench.files import file_sha256
from bench.metrics.detections import ScoredBoxes
from bench.records.box_predictions import frame_map_part, write_scored_boxes, write_truth
from bench.records.environment import stamp
from bench.records.metrics import FrameMapPart, MetricsPart
from bench.records.record import (
    Artifact,
    ArtifactsPart,
    CardPart,
    CheckPart,
    DataPart,
    EncoderPart,
    FeaturesPart,
    PlanPart,
    ProtocolPart,
    Result,
    SplitPart,
    TaskPart,
    TimingPart,
    TrainLabelsPart,
    sealed,
    utc_now,
)
from bench.records.record_files import write_predictions, write_record
from bench.records.run_id import config_facts, plain, probe_facts, protocol_digest, result_id
from bench.types import Probe


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """Everything that is known of a run before it is fitted.

    `head_order` says what decides the order of a released head's classes, if it is not the task's.
    """

    stage: Stage
    probe: Probe
    feeds: Feeds
    probe_weights: Path | None = None
    head_order: str | None = None


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
        probe=probe_facts(probe),
        released_sha256=weights,
        head_order=facts.head_order,
        mode=_mode(facts),
        files=stage.task.files,
    )


def assemble(
    facts: Facts, scored: Scored, machine: Machine, *, seconds: float, suspect: str | None = None
) -> tuple[Result, Path]:
    """Write predictions, probe and record of a finished run; return the record and its file.

    `suspect` says why its number is not to be trusted.
    """
    stage, feeds = facts.stage, facts.feeds
    number, folder = identity(facts), machine.home / "records"
    if machine.overwrite:  # a run killed below is then not on record, rather than with other files
        (folder / f"{number}.json").unlink(missing_ok=True)
    metrics, files = _scores(facts, scored, folder, number)
    released = facts.probe_weights is not None
    environment = stamp(stage.device)
    reasons = [*([suspect] if suspect else []), *_reasons(stage.config, environment)]
    result = Result(
        id=number,
        status="suspect" if suspect else "not_reportable" if reasons else "complete",
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
        probe=probe_part(
            stage.config.probe,
            facts.probe,
            stage.protocol,
            scored,
            released=facts.probe_weights,
            head_order=facts.head_order,
        ),
        metrics=metrics,
        timing=_timing(feeds, scored, seconds),
        environment=environment,
        artifacts=ArtifactsPart(
            **files, probe=save_probe(facts.probe, scored, folder, number, _provenance(stage))
        ),
    )
    result = sealed(result)
    return result, write_record(result, folder, overwrite=machine.overwrite)


def _scores(
    facts: Facts, scored: Scored, folder: Path, number: str
) -> tuple[MetricsPart | FrameMapPart, dict[str, Artifact]]:
    """Count, and write what was counted; return the files by their names in the record."""
    split, truth = facts.feeds.score, facts.stage.task.truth
    manifest, rows, missing = split.manifest, split.rows, frozenset(split.missing)
    assert rows is not None
    skip = facts.stage.config.on_unreadable == "skip"
    told = {"record": number, "task": facts.stage.task.name, "split": manifest.split}
    place = folder / f"{number}.parquet"
    if truth is not None:
        boxes = ScoredBoxes.of(manifest, rows, scored.probabilities, truth)
        files = {
            "predictions": write_scored_boxes(place, manifest, boxes, missing, facts=told),
            "truth": write_truth(folder / f"{number}-truth.parquet", truth, facts=told),
        }
        return frame_map_part(boxes, truth, skip=skip), files
    probabilities = np.zeros((len(manifest), scored.probabilities.shape[1]), dtype=np.float32)
    probabilities[rows] = scored.probabilities
    was_scored = np.zeros(len(manifest), dtype=np.bool_)
    was_scored[rows] = True
    predictions = write_predictions(place, manifest, probabilities, was_scored, missing, facts=told)
    metrics = metrics_part(scored.probabilities, manifest, rows, skip=skip)
    return metrics, {"predictions": predictions}


def split_part(split: Split) -> SplitPart:
    """Account for every listed row of an opened split."""
    assert split.rows is not None
    return SplitPart(
        digest=split.manifest.digest,
        listed=len(split.manifest),
        expected=split.manifest.expected,
        used=len(split.rows),
        missing=split.missing,
        undecodable=split.undecodable,
        excluded=dict(split.manifest.excluded),
        layout=split.manifest.layout,
        boxes=_boxes(split.manifest.regions),
    )


def _boxes(regions: Regions | None) -> dict[str, Any]:
    """Say where the boxes of a split come from, and how many they are."""
    if regions is None:
        return {}
    return {
        **plain(regions.facts),
        "boxes": len(regions),
        "key_frames": len(np.unique(regions.clip)),
        "videos": len(np.unique(regions.video)),
    }


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
        unit=task.unit,
        files=dict(task.files),
    )


def _encoder_part(stage: Stage) -> EncoderPart:
    spec = stage.encoder.spec
    check = functional_check(stage.encoder)
    warnings = () if spec.is_floor else check.warnings  # random weights are what a floor is
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
        notes=(*stage.encoder.notes, *warnings),
        takes=spec.takes,
        depth=spec.depth,
        clips_per_call=spec.clips_per_call,
        card=CardPart(**asdict(spec.card)),
        check=CheckPart(**asdict(check)),
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
        mode=_mode(facts),
        dtype=facts.stage.config.dtype if _mode(facts) == "stored" else "float32",
        precision=facts.stage.precision,
        decoders=decoders,
        repeated_frames=sum(split.counts.repeated_frames for split in splits),
        boxes_outside=sum(split.counts.boxes_outside for split in splits),
        decoded=sum(split.counts.decoded for split in splits),
        encoder_calls=sum(split.counts.encoder_calls for split in splits),
        rows_from_store=sum(split.counts.rows_read_from_store for split in splits),
    )


def _mode(facts: Facts) -> Mode:
    """Say whether any of the run's features are computed live."""
    feeds, reads = facts.feeds, facts.probe.reads
    splits = [feeds.score] if facts.probe_weights else [feeds.fit, feeds.score]
    return "live" if any(split.modes[reads] == "live" for split in splits) else "stored"


def _train_labels(stage: Stage, fit: Split) -> TrainLabelsPart:
    assert fit.rows is not None
    options = stage.task.options
    return TrainLabelsPart(
        fraction=float(options.get("fraction", 1.0)),
        draw=int(options.get("draw", 0)),
        used=len(fit.rows),
        shots=options.get("shots"),
        subset_sha256=options.get("subset_sha256"),
        rule=options.get("rule", ""),
        least=options.get("least"),
        most=options.get("most"),
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
