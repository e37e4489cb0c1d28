"""Fit probes on features from elsewhere: arrays in, a record out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import registry
from bench.assemble import (
    config_facts,
    metrics_part,
    plain,
    probe_part,
    protocol_digest,
    save_probe,
)
from bench.config import Machine, RunConfig
from bench.environment import stamp
from bench.errors import DataError
from bench.features.arrays import ArraySource, read_npz
from bench.records import file_sha256, write_predictions, write_record
from bench.result import (
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
    result_id,
    utc_now,
)
from bench.run import Outcome
from bench.score import Scored, fit_and_score
from bench.stage import pick_device
from bench.types import EvaluationProtocol, Manifest, Probe, Progress


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
    fixed = protocol.probe_options.get("video", {}).get(config.probe, {})
    options = {**fixed, **config.probe_options}
    if "num_heads" in registry.find("probes", config.probe).options:
        options.setdefault("num_heads", 1)
    probe: Probe = registry.build("probes", config.probe, options)
    fit_source, score_source = _sources(probe, train, score)
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
    files = _Files(
        train=train, score=score, fit=_rows(train, fit_source), scored=_rows(score, score_source)
    )
    result = _record(config, protocol, probe, scored, files, machine.home / "records", fit_source)
    result = result.model_copy(
        update={
            "environment": stamp(device),
            "timing": TimingPart(
                decode_seconds=0,
                encode_seconds=0,
                fit_seconds=scored.fit_seconds,
                score_seconds=scored.score_seconds,
                total_seconds=time.perf_counter() - begin,
            ),
        }
    )
    path = write_record(result, machine.home / "records", overwrite=machine.overwrite)
    return Outcome(result=result, path=path, kept=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Files:
    """The two files and what their rows are called."""

    train: Path
    score: Path
    fit: Manifest
    scored: Manifest


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
    return fit, scored


def _rows(path: Path, source: ArraySource) -> Manifest:
    ids = [str(row) for row in range(len(source))]
    return Manifest(
        name=path.stem,
        split=path.stem,
        kind="video",
        ids=ids,
        paths=[path] * len(ids),
        labels=source.labels,
        classes=[str(label) for label in range(source.num_classes)],
    )


def _record(
    config: RunConfig,
    protocol: EvaluationProtocol,
    probe: Probe,
    scored: Scored,
    files: _Files,
    folder: Path,
    source: ArraySource,
) -> Result:
    """Describe a run whose features came from elsewhere; what is not known says so."""
    keys = (file_sha256(files.train), file_sha256(files.score))
    rows = np.arange(len(files.scored), dtype=np.int64)
    number = result_id(
        config=config_facts(config),
        feature_keys=keys,
        data_digests=[files.fit.digest, files.scored.digest],
        protocol_digest=protocol_digest(protocol),
        probe=plain({"settings": probe.settings, "heads": [h.settings for h in probe.heads]}),
    )
    predictions = write_predictions(
        folder / f"{number}.parquet",
        files.scored,
        scored.probabilities,
        np.ones(len(rows), dtype=np.bool_),
    )
    saved = save_probe(probe, scored, folder, number, {"protocol": protocol.name})
    unknown = "unknown"
    zero = dict.fromkeys(("repeated_frames", "decoded", "encoder_calls"), 0)
    return Result(
        id=number,
        status="complete",
        reasons=(),
        created=utc_now(),
        config=config_facts(config),
        task=TaskPart(
            name=files.score.stem,
            title=files.score.stem,
            kind="video",
            fit_split=files.fit.split,
            score_split=files.scored.split,
            metric="top1",
            num_classes=source.num_classes,
            options={},
        ),
        protocol=ProtocolPart(name=protocol.name, digest=protocol_digest(protocol), deviations=()),
        encoder=EncoderPart(
            spec="arrays",
            name=f"arrays:{files.train.stem}",
            source=str(files.train),
            weights_sha256=None,
            num_parameters=0,
            width=source.width,
            num_frames=1,
            image_size=1,
            is_floor=False,
            notes=("features from elsewhere: how they were made is not on record",),
        ),
        plan=PlanPart(fit=unknown, score=unknown, sampler=unknown),
        data=DataPart(fit=_split(files.fit), score=_split(files.scored)),
        features=FeaturesPart(
            fit_key=keys[0],
            score_key=keys[1],
            mode="stored",
            dtype="float32",
            precision=unknown,
            decoders={},
            rows_from_store=len(files.fit) + len(files.scored),
            **zero,
        ),
        train_labels=TrainLabelsPart(fraction=1.0, draw=0, used=len(files.fit)),
        probe=probe_part(probe, protocol, scored),
        metrics=metrics_part(scored.probabilities, files.scored, rows),
        timing=TimingPart(
            decode_seconds=0, encode_seconds=0, fit_seconds=0, score_seconds=0, total_seconds=0
        ),
        environment={},
        artifacts=ArtifactsPart(predictions=predictions, probe=saved),
    )


def _split(manifest: Manifest) -> SplitPart:
    listed = len(manifest)
    return SplitPart(
        digest=manifest.digest, listed=listed, expected=None, used=listed, unreadable={}
    )
