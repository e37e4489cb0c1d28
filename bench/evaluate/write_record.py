"""Assemble the record of a run from its facts and predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data.boxes.regions import Regions
from bench.data.manifest import Task
from bench.evaluate.fit_and_score import Scored
from bench.evaluate.head_order import Reordered
from bench.evaluate.prepare import Job, departures
from bench.evaluate.record_parts import Origin, metrics_part, probe_part, save_probe
from bench.evaluate.split_features import Mode, RunFeatures, Split
from bench.files import file_sha256
from bench.metrics.accuracy import predict
from bench.metrics.detections import ScoredBoxes
from bench.records.box_predictions import frame_map_part, write_scored_boxes, write_truth
from bench.records.doubts import constant, not_above_chance, not_reportable
from bench.records.environment import stamp
from bench.records.metrics import FrameMapPart, Metrics, MetricsPart
from bench.records.record import (
    Artifact,
    ArtifactsPart,
    DataPart,
    FeaturesPart,
    ProtocolPart,
    Record,
    SplitPart,
    TaskPart,
    TimingPart,
    TrainLabelsPart,
    sealed,
    utc_now,
)
from bench.records.record_files import write_predictions, write_record
from bench.records.run_id import RunIdentity, config_facts, plain, protocol_digest
from bench.types import Reads


def identity(job: Job, features: RunFeatures) -> str:
    """Return the id of the run, a digest of everything that decides its number."""
    reads, released = job.probe.reads, job.weights is not None
    return RunIdentity(
        config=config_facts(job.config),
        feature_keys=(None if released else features.fit.keys[reads], features.score.keys[reads]),
        data_digests=(None if released else job.task.fit.digest, job.task.score.digest),
        protocol_digest=protocol_digest(job.protocol),
        probe=job.probe_facts,
        released_sha256=file_sha256(job.weights) if job.weights else None,
        head_order=_head_order(job, features),
        mode=_mode(job, features),
        files=job.task.files,
    ).id


def assemble(
    job: Job, features: RunFeatures, scored: Scored, *, seconds: float, suspect: str | None = None
) -> tuple[Record, Path]:
    """Write predictions, probe and record of a finished run; return the record and its file.

    `suspect` is a reason not to trust its number; a number that gives one by itself is suspect too.
    """
    machine, record_id = features.machine, identity(job, features)
    folder = machine.home / "records"
    if machine.overwrite:  # if the run is killed below, no record is left with another run's files
        (folder / f"{record_id}.json").unlink(missing_ok=True)
    metrics, files = _scores(job, features.score, scored, folder, record_id)
    origin, environment = features.origin(), stamp(job.device)
    released = job.weights is not None
    doubts = [suspect, *_doubts(job, features.score, scored, metrics, origin)]
    found = [doubt for doubt in doubts if doubt]
    reasons = (*found, *not_reportable(config_facts(job.config), environment))
    record = Record(
        id=record_id,
        status="suspect" if found else "not_reportable" if reasons else "complete",
        reasons=reasons,
        created=utc_now(),
        config=config_facts(job.config),
        task=_task_part(job.task, released=released),
        protocol=ProtocolPart(
            name=job.protocol.name,
            digest=protocol_digest(job.protocol),
            deviations=tuple(job.deviations),
            departures=departures(job.config, job.task, job.protocol),
        ),
        encoder=origin.encoder,
        plan=origin.plan,
        data=DataPart(
            fit=None if released else split_part(features.fit, job.probe.reads),
            score=split_part(
                features.score, job.probe.reads, () if released else features.in_training()
            ),
        ),
        features=_features_part(job, features, origin),
        train_labels=None if released else _train_labels(job.task, features.fit),
        probe=probe_part(job, scored, head_order=_head_order(job, features)),
        metrics=metrics,
        timing=_timing(features, scored, seconds),
        environment=environment,
        artifacts=ArtifactsPart(
            **files, probe=save_probe(job.probe, scored, folder, record_id, origin.provenance)
        ),
    )
    record = sealed(record)
    return record, write_record(record, folder, overwrite=machine.overwrite)


def _head_order(job: Job, features: RunFeatures) -> str | None:
    """Describe what decides the order of a released head's classes; None if it is the task's."""
    if isinstance(job.released, Reordered):
        return f"names {job.released.order.digest}"
    if job.learn_order:
        return f"fit {features.fit.manifest.digest} {features.fit.keys[job.probe.reads]}"
    return None


def _scores(
    job: Job, split: Split, scored: Scored, folder: Path, record_id: str
) -> tuple[MetricsPart | FrameMapPart, dict[str, Artifact]]:
    """Compute metrics and write predictions; return both, the files by their record names."""
    manifest, rows, missing, truth = split.manifest, split.rows, split.missing, job.task.truth
    assert rows is not None
    skip = job.config.on_unreadable == "skip"
    facts = {"record": record_id, "task": job.task.name, "split": manifest.split}
    place = folder / f"{record_id}.parquet"
    if truth is not None:
        boxes = ScoredBoxes.of(manifest, rows, scored.probabilities, truth)
        files = {
            "predictions": write_scored_boxes(
                place, manifest, boxes, frozenset(missing), facts=facts
            ),
            "truth": write_truth(folder / f"{record_id}-truth.parquet", truth, facts=facts),
        }
        return frame_map_part(boxes, truth, skip=skip), files
    probabilities = np.zeros((len(manifest), scored.probabilities.shape[1]), dtype=np.float32)
    probabilities[rows] = scored.probabilities
    was_scored = np.zeros(len(manifest), dtype=np.bool_)
    was_scored[rows] = True
    predictions = write_predictions(
        place, manifest, probabilities, was_scored, frozenset(missing), facts=facts
    )
    metrics = metrics_part(scored.probabilities, manifest, rows, skip=skip)
    return metrics, {"predictions": predictions}


def split_part(split: Split, reads: Reads, notes: tuple[str, ...] = ()) -> SplitPart:
    """Account for every listed row of an opened split whose features are those of a readout."""
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
        notes=(*split.manifest.notes, *notes, *filter(None, [split.too_large.get(reads)])),
    )


def _boxes(regions: Regions | None) -> dict[str, Any]:
    """Describe the source and the number of the boxes of a split."""
    if regions is None:
        return {}
    return {
        **plain(regions.facts),
        "boxes": len(regions),
        "key_frames": len(np.unique(regions.clip)),
        "videos": len(np.unique(regions.video)),
    }


def _task_part(task: Task, *, released: bool) -> TaskPart:
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


def _features_part(job: Job, features: RunFeatures, origin: Origin) -> FeaturesPart:
    reads, released = job.probe.reads, job.weights is not None
    counts = [split.counts for split in _read(job, features)]
    mode = _mode(job, features)
    return FeaturesPart(
        fit_key=None if released else features.fit.keys[reads],
        score_key=features.score.keys[reads],
        mode=mode,
        dtype=origin.dtype if mode == "stored" else "float32",
        precision=origin.precision,
        decoders=dict(sum((one.decoders for one in counts), Counter())),
        repeated_frames=sum(one.repeated_frames for one in counts),
        boxes_outside=sum(one.boxes_outside for one in counts),
        decoded=sum(one.decoded for one in counts),
        encoder_calls=sum(one.encoder_calls for one in counts),
        rows_from_store=sum(one.rows_read_from_store for one in counts),
    )


def _read(job: Job, features: RunFeatures) -> list[Split]:
    """Return the splits that decide the number: a released probe is not fitted."""
    return [features.score] if job.weights else [features.fit, features.score]


def _mode(job: Job, features: RunFeatures) -> Mode:
    """Return `live` if any of the run's features are computed live."""
    modes = {split.modes[job.probe.reads] for split in _read(job, features)}
    return "live" if "live" in modes else "stored"


def _train_labels(task: Task, fit: Split) -> TrainLabelsPart:
    assert fit.rows is not None
    options = task.options
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


def _timing(features: RunFeatures, scored: Scored, seconds: float) -> TimingPart:
    spent = {
        step: sum(split.counts.seconds.get(step, 0.0) for split in (features.fit, features.score))
        for step in ("decode", "encode")
    }
    return TimingPart(
        decode_seconds=spent["decode"],
        encode_seconds=spent["encode"],
        fit_seconds=scored.fit_seconds,
        score_seconds=scored.score_seconds,
        total_seconds=seconds,
    )


def _doubts(
    job: Job, split: Split, scored: Scored, metrics: Metrics, origin: Origin
) -> Iterator[str | None]:
    """Yield what speaks against a number by itself, by the rules of `bench verify`."""
    manifest, rows = split.manifest, split.rows
    assert rows is not None
    total = len(rows) if job.config.on_unreadable == "skip" else len(manifest)
    yield not_above_chance(metrics, total, is_floor=origin.encoder.is_floor)
    if isinstance(metrics, MetricsPart):
        predicted = predict(torch.from_numpy(scored.probabilities)).numpy()
        yield constant(predicted, manifest.labels[rows])
