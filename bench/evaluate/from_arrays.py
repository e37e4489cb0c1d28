"""Fit probes on features computed elsewhere: arrays in, a record out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench import registry
from bench.config import Machine, RunConfig
from bench.data.manifest import Manifest, Task
from bench.encoders.weights.checkpoints import shortened
from bench.errors import DataError
from bench.evaluate.evaluate import Outcome, evaluate
from bench.evaluate.prepare import Job, pick_device
from bench.evaluate.record_parts import Origin
from bench.evaluate.split_features import RunFeatures, Split
from bench.features.arrays import ArraySource, read_npz
from bench.files import file_sha256
from bench.preflight.probe_contract import require_probe, try_fit
from bench.protocols import EvaluationProtocol
from bench.records.record import EncoderPart, PlanPart
from bench.types import ClipPlan, FeatureSource, Probe, Progress, Reads

UNKNOWN = "unknown"
NO_CLIPS = ClipPlan(num_frames=1, num_clips=1, num_views=1, stride=0)  # nothing is decoded


def probe_arrays(
    config: RunConfig, machine: Machine, train: Path, score: Path, progress: Progress
) -> Outcome:
    """Fit the probe of `config` on the features in `train` and score those in `score`.

    Both .npz files hold `x` (`[N, D]` or `[N, L, D]`) and `y` (int `[N]`).

    Raises:
        UsageError: an unknown probe, protocol or option.
        DataError: files that cannot be read, or do not match each other or the probe.
    """
    protocol: EvaluationProtocol = registry.build("protocols", config.protocol, {})
    fixed = protocol.fixed_options("", "video", config.probe)
    options = {**fixed, **config.probe_options}
    if registry.needs(registry.find("probes", config.probe), "num_heads"):
        options.setdefault("num_heads", 1)
    probe: Probe = registry.build("probes", config.probe, options)
    require_probe(config.probe, probe)
    features = ArrayFeatures(probe, protocol, (train, score), machine, progress)
    source = features.source(features.fit, probe.reads)
    try_fit(
        config.probe, probe, width=source.width, num_classes=source.num_classes, many_labels=False
    )
    task = Task(
        name=score.stem,
        title=score.stem,
        fit=features.fit.manifest,
        score=features.score.manifest,
        fit_plan=NO_CLIPS,
        score_plan=NO_CLIPS,
    )
    job = Job(
        config=config,
        task=task,
        protocol=protocol,
        probe=probe,
        device=pick_device(machine.device),
    )
    [outcome] = evaluate([(job, features)])
    return outcome


class ArrayFeatures(RunFeatures):
    """Features of both splits, read from two files."""

    def __init__(
        self,
        probe: Probe,
        protocol: EvaluationProtocol,
        files: tuple[Path, Path],
        machine: Machine,
        progress: Progress,
    ) -> None:
        self.machine, self.progress = machine, progress
        self._protocol, self._train = protocol, files[0]
        self._sources = _sources(probe, *files)
        self.fit, self.score = (
            Split(
                manifest=(manifest := _rows(path, source)),
                keys={probe.reads: file_sha256(path)},
                modes={probe.reads: "stored"},
                rows=manifest.root_rows,
            )
            for path, source in zip(files, self._sources, strict=True)
        )

    def origin(self) -> Origin:
        """What is known about the features; the rest is `unknown`."""
        encoder = EncoderPart(
            spec="arrays",
            name=f"arrays:{self._train.stem}",
            source=str(self._train),
            weights_sha256=None,
            num_parameters=0,
            width=self._sources[0].width,
            num_frames=1,
            image_size=1,
            is_floor=False,
            notes=("features from elsewhere: how they were made is not on record",),
        )
        return Origin(
            encoder=encoder,
            plan=PlanPart(fit=UNKNOWN, score=UNKNOWN, sampler=UNKNOWN),
            precision=UNKNOWN,
            dtype="float32",
            provenance={"protocol": self._protocol.name},
        )

    def begin_run(self, reads: Reads) -> None:
        """Count every row as read from the store."""
        for split in (self.fit, self.score):
            split.counts.rows_read_from_store = len(split.manifest)

    def source(self, split: Split, reads: Reads) -> FeatureSource:
        """Return the features of a split."""
        return self._sources[0 if split is self.fit else 1]


def _sources(probe: Probe, train: Path, score: Path) -> tuple[ArraySource, ArraySource]:
    (x, y), (score_x, score_y) = read_npz(train), read_npz(score)
    classes = int(max(y.max(), score_y.max())) + 1
    fit, scored = ArraySource(x, y, classes), ArraySource(score_x, score_y, classes)
    for path, source in ((train, fit), (score, scored)):
        if source.reads != probe.reads:
            shape = "[N, D]" if probe.reads == "vector" else "[N, L, D]"
            raise DataError(
                f"{path} has {source.reads} features, but probe {probe.name} reads"
                f" {probe.reads}: x must be {shape}."
            )
    if fit.width != scored.width:
        raise DataError(
            f"feature widths differ: {fit.width} in {train}, {scored.width} in {score}."
        )
    is_new = ~np.isin(score_y, y)
    if is_new.any():
        labels = shortened(str(label) for label in np.unique(score_y[is_new]))
        raise DataError(
            f"{score} has labels that {train} lacks: {labels} ({int(is_new.sum())} rows); remove"
            " these rows, or train on these classes too."
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
