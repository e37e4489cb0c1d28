"""Put a run's facts and its predictions together into the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.config import RunConfig
from bench.data.boxes.regions import Regions
from bench.data.manifest import Task
from bench.evaluate.fit_and_score import Scored
from bench.evaluate.head_order import Reordered
from bench.evaluate.prepare import Job
from bench.evaluate.record_parts import Origin, metrics_part, probe_part, save_probe
from bench.evaluate.split_features import Mode, RunFeatures, Split
from bench.files import file_sha256
from bench.metrics.detections import ScoredBoxes
from bench.records.box_predictions import frame_map_part, write_scored_boxes, write_truth
from bench.records.environment import stamp
from bench.records.metrics import FrameMapPart, MetricsPart
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
from bench.records.run_id import RunIdentity, config_facts, plain, probe_facts, protocol_digest


def identity(job: Job, feeds: RunFeatures) -> str:
    """Return the id of the run: a digest of all that decides its number."""
    reads, released = job.probe.reads, job.weights is not None
    return RunIdentity(
        config=config_facts(job.config),
        feature_keys=(None if released else feeds.fit.keys[reads], feeds.score.keys[reads]),
        data_digests=(None if released else job.task.fit.digest, job.task.score.digest),
        protocol_digest=protocol_digest(job.protocol),
        probe=probe_facts(job.probe),
        released_sha256=file_sha256(job.weights) if job.weights else None,
        head_order=_head_order(job, feeds),
        mode=_mode(job, feeds),
        files=job.task.files,
    ).id


def assemble(
    job: Job, feeds: RunFeatures, scored: Scored, *, seconds: float, suspect: str | None = None
) -> tuple[Record, Path]:
    """Write predictions, probe and record of a finished run; return the record and its file.

    `suspect` says why its number is not to be trusted.
    """
    machine, number = feeds.machine, identity(job, feeds)
    folder = machine.home / "records"
    if machine.overwrite:  # a run killed below is then not on record, rather than with other files
        (folder / f"{number}.json").unlink(missing_ok=True)
    metrics, files = _scores(job, feeds.score, scored, folder, number)
    origin, environment = feeds.origin(), stamp(job.device)
    released = job.weights is not None
    reasons = [*([suspect] if suspect else []), *_reasons(job.config, environment)]
    result = Record(
        id=number,
        status="suspect" if suspect else "not_reportable" if reasons else "complete",
        reasons=tuple(reasons),
        created=utc_now(),
        config=config_facts(job.config),
        task=_task_part(job.task, released=released),
        protocol=ProtocolPart(
            name=job.protocol.name,
            digest=protocol_digest(job.protocol),
            deviations=tuple(job.deviations),
        ),
        encoder=origin.encoder,
        plan=origin.plan,
        data=DataPart(
            fit=None if released else split_part(feeds.fit),
            score=split_part(feeds.score),
        ),
        features=_features_part(job, feeds, origin),
        train_labels=None if released else _train_labels(job.task, feeds.fit),
        probe=probe_part(job, scored, head_order=_head_order(job, feeds)),
        metrics=metrics,
        timing=_timing(feeds, scored, seconds),
        environment=environment,
        artifacts=ArtifactsPart(
            **files, probe=save_probe(job.probe, scored, folder, number, origin.provenance)
        ),
    )
    result = sealed(result)
    return result, write_record(result, folder, overwrite=machine.overwrite)


def _head_order(job: Job, feeds: RunFeatures) -> str | None:
    """Say what decides the order of a released head's classes; None if it is the task's."""
    if isinstance(job.released, Reordered):
        return f"names {job.released.order.digest}"
    if job.learn_order:
        return f"fit {feeds.fit.manifest.digest} {feeds.fit.keys[job.probe.reads]}"
    return None


def _scores(
    job: Job, split: Split, scored: Scored, folder: Path, number: str
) -> tuple[MetricsPart | FrameMapPart, dict[str, Artifact]]:
    """Count, and write what was counted; return the files by their names in the record."""
    manifest, rows, missing, truth = split.manifest, split.rows, split.missing, job.task.truth
    assert rows is not None
    skip = job.config.on_unreadable == "skip"
    told = {"record": number, "task": job.task.name, "split": manifest.split}
    place = folder / f"{number}.parquet"
    if truth is not None:
        boxes = ScoredBoxes.of(manifest, rows, scored.probabilities, truth)
        files = {
            "predictions": write_scored_boxes(
                place, manifest, boxes, frozenset(missing), facts=told
            ),
            "truth": write_truth(folder / f"{number}-truth.parquet", truth, facts=told),
        }
        return frame_map_part(boxes, truth, skip=skip), files
    probabilities = np.zeros((len(manifest), scored.probabilities.shape[1]), dtype=np.float32)
    probabilities[rows] = scored.probabilities
    was_scored = np.zeros(len(manifest), dtype=np.bool_)
    was_scored[rows] = True
    predictions = write_predictions(
        place, manifest, probabilities, was_scored, frozenset(missing), facts=told
    )
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


def _features_part(job: Job, feeds: RunFeatures, origin: Origin) -> FeaturesPart:
    reads, released = job.probe.reads, job.weights is not None
    counts = [split.counts for split in _read(job, feeds)]
    mode = _mode(job, feeds)
    return FeaturesPart(
        fit_key=None if released else feeds.fit.keys[reads],
        score_key=feeds.score.keys[reads],
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


def _read(job: Job, feeds: RunFeatures) -> list[Split]:
    """Return the splits that are in the number: a released probe is not fitted."""
    return [feeds.score] if job.weights else [feeds.fit, feeds.score]


def _mode(job: Job, feeds: RunFeatures) -> Mode:
    """Say whether any of the run's features are computed live."""
    modes = {split.modes[job.probe.reads] for split in _read(job, feeds)}
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


def _timing(feeds: RunFeatures, scored: Scored, seconds: float) -> TimingPart:
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


def _reasons(config: RunConfig, environment: Mapping[str, Any]) -> list[str]:
    """Say why a run is not reportable; empty if it is."""
    reasons = []
    if config.limit is not None:
        reasons.append(f"limited to {config.limit} rows a split")
    if environment.get("git_dirty"):
        reasons.append("the code differs from its commit")
    return reasons
