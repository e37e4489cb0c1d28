"""Fit probes on features from elsewhere: arrays in, a record out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from bench import registry
from bench.config import Machine, RunConfig
from bench.data.manifest import Manifest
from bench.encoders.weights.checkpoints import shortened
from bench.errors import DataError
from bench.evaluate.evaluate import Outcome
from bench.evaluate.fit_and_score import Scored, fit_and_score
from bench.evaluate.permuted_labels import check_labels, permuted_labels
from bench.evaluate.prepare import pick_device
from bench.evaluate.record_parts import metrics_part, probe_part, save_probe
from bench.evaluate.write_record import _reasons
from bench.features.arrays import ArraySource, read_npz
from bench.files import file_sha256
from bench.protocols import EvaluationProtocol
from bench.records.environment import stamp
from bench.records.record import (
    ArtifactsPart,
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
from bench.records.record_files import read_record, write_predictions, write_record
from bench.records.run_id import config_facts, probe_facts, protocol_digest, result_id
from bench.types import Probe, Progress

UNKNOWN = "unknown"


def probe_arrays(
    config: RunConfig, machine: Machine, train: Path, score: Path, progress: Progress
) -> Outcome:
    """Fit the probe of `config` on the features in `train` and score those in `score`.

    Both .npz files hold `x` (`[N, D]` or `[N, L, D]`) and `y` (int `[N]`).

    Raises:
        UsageError: an unknown probe, protocol or option.
        DataError: files that cannot be read, or that do not fit together or the probe.
    """
    begin = time.perf_counter()
    protocol: EvaluationProtocol = registry.build("protocols", config.protocol, {})
    fixed = protocol.fixed_options("", "video", config.probe)
    options = {**fixed, **config.probe_options}
    if registry.needs(registry.find("probes", config.probe), "num_heads"):
        options.setdefault("num_heads", 1)
    probe: Probe = registry.build("probes", config.probe, options)
    fit_source, score_source = _sources(probe, train, score)
    files = _Files(
        train=train,
        score=score,
        fit=_rows(train, fit_source),
        scored=_rows(score, score_source),
        width=fit_source.width,
    )
    number = _identity(config, protocol, probe, files)
    path = machine.home / "records" / f"{number}.json"
    if path.exists():
        return Outcome(result=read_record(path), path=path, kept=True)
    device = pick_device(machine.device)
    scored = fit_and_score(
        probe,
        protocol,
        fit_source,
        score_source,
        seed=config.seed,
        device=device,
        progress=progress,
    )
    keep = config.on_permuted_labels == "keep"
    found = check_labels(scored.probabilities, score_source.labels, files.scored, keep=keep)
    timing = TimingPart(
        decode_seconds=0,
        encode_seconds=0,
        fit_seconds=scored.fit_seconds,
        score_seconds=scored.score_seconds,
        total_seconds=time.perf_counter() - begin,
    )
    result = _record(
        number,
        config,
        protocol,
        probe,
        scored,
        files,
        path.parent,
        timing=timing,
        environment=stamp(device),
        suspect=permuted_labels(found, files.scored) if found and found.alarm else None,
    )
    result = sealed(result)
    return Outcome(result=result, path=write_record(result, path.parent), kept=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Files:
    """The two files, what their rows are called, and the width of the features."""

    train: Path
    score: Path
    fit: Manifest
    scored: Manifest
    width: int


def _sources(probe: Probe, train: Path, score: Path) -> tuple[ArraySource, ArraySource]:
    (x, y), (score_x, score_y) = read_npz(train), read_npz(score)
    classes = int(max(y.max(), score_y.max())) + 1
    fit, scored = ArraySource(x, y, classes), ArraySource(score_x, score_y, classes)
    for path, source in ((train, fit), (score, scored)):
        if source.reads != probe.reads:
            shape = "[N, D]" if probe.reads == "vector" else "[N, L, D]"
            raise DataError(
                f"{path} holds {source.reads} features, but probe {probe.name} reads"
                f" {probe.reads}: x must be {shape}."
            )
    if fit.width != scored.width:
        raise DataError(f"{train} has features of width {fit.width}, {score} of {scored.width}.")
    is_new = ~np.isin(score_y, y)
    if is_new.any():
        labels = shortened(str(label) for label in np.unique(score_y[is_new]))
        raise DataError(
            f"{score} has labels that {train} lacks: {labels} (in {int(is_new.sum())} rows); a"
            " probe cannot know classes that it never saw: leave them out, or train on them too."
        )
    return fit, scored


def _rows(path: Path, source: ArraySource) -> Manifest:
    ids = [str(row) for row in range(len(source))]
    return Manifest(
        name=path.stem,
        split=path.stem,
        kind="video",
        ids=ids,
        media=[path] * len(ids),
        labels=source.labels,
        classes=[str(label) for label in range(source.num_classes)],
    )


def _identity(config: RunConfig, protocol: EvaluationProtocol, probe: Probe, files: _Files) -> str:
    return result_id(
        config=config_facts(config),
        feature_keys=(file_sha256(files.train), file_sha256(files.score)),
        data_digests=[files.fit.digest, files.scored.digest],
        protocol_digest=protocol_digest(protocol),
        probe=probe_facts(probe),
    )


def _record(
    number: str,
    config: RunConfig,
    protocol: EvaluationProtocol,
    probe: Probe,
    scored: Scored,
    files: _Files,
    folder: Path,
    *,
    timing: TimingPart,
    environment: dict[str, JsonValue],
    suspect: str | None,
) -> Result:
    """Describe a run whose features came from elsewhere; what is not known says so."""
    rows = np.arange(len(files.scored), dtype=np.int64)
    predictions = write_predictions(
        folder / f"{number}.parquet",
        files.scored,
        scored.probabilities,
        np.ones(len(rows), dtype=np.bool_),
        facts={"record": number, "task": files.score.stem, "split": files.scored.split},
    )
    saved = save_probe(probe, scored, folder, number, {"protocol": protocol.name})
    reasons = [*([suspect] if suspect else []), *_reasons(config, environment)]
    return Result(
        id=number,
        status="suspect" if suspect else "not_reportable" if reasons else "complete",
        reasons=tuple(reasons),
        created=utc_now(),
        config=config_facts(config),
        task=_task_part(files),
        protocol=ProtocolPart(name=protocol.name, digest=protocol_digest(protocol), deviations=()),
        encoder=_encoder_part(files),
        plan=PlanPart(fit=UNKNOWN, score=UNKNOWN, sampler=UNKNOWN),
        data=DataPart(fit=_split(files.fit), score=_split(files.scored)),
        features=_features_part(files),
        train_labels=TrainLabelsPart(fraction=1.0, draw=0, used=len(files.fit)),
        probe=probe_part(config.probe, probe, protocol, scored),
        metrics=metrics_part(scored.probabilities, files.scored, rows),
        timing=timing,
        environment=environment,
        artifacts=ArtifactsPart(predictions=predictions, probe=saved),
    )


def _task_part(files: _Files) -> TaskPart:
    return TaskPart(
        name=files.score.stem,
        title=files.score.stem,
        kind="video",
        fit_split=files.fit.split,
        score_split=files.scored.split,
        metric="top1",
        num_classes=len(files.fit.classes),
        options={},
    )


def _encoder_part(files: _Files) -> EncoderPart:
    return EncoderPart(
        spec="arrays",
        name=f"arrays:{files.train.stem}",
        source=str(files.train),
        weights_sha256=None,
        num_parameters=0,
        width=files.width,
        num_frames=1,
        image_size=1,
        is_floor=False,
        notes=("features from elsewhere: how they were made is not on record",),
    )


def _features_part(files: _Files) -> FeaturesPart:
    return FeaturesPart(
        fit_key=file_sha256(files.train),
        score_key=file_sha256(files.score),
        mode="stored",
        dtype="float32",
        precision=UNKNOWN,
        decoders={},
        repeated_frames=0,
        decoded=0,
        encoder_calls=0,
        rows_from_store=len(files.fit) + len(files.scored),
    )


def _split(manifest: Manifest) -> SplitPart:
    listed = len(manifest)
    return SplitPart(digest=manifest.digest, listed=listed, expected=None, used=listed)
