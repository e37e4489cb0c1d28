"""Fit probes on features computed elsewhere: arrays in, a record out."""

from __future__ import annotations

from collections.abc import Sequence
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
        *self._sources, classes = _sources(probe, *files)
        notes: tuple[tuple[str, ...], ...] = (), _copies(*self._sources)
        self.fit, self.score = (
            Split(
                manifest=(manifest := _rows(path, source, classes, of_file)),
                keys={probe.reads: file_sha256(path)},
                modes={probe.reads: "stored"},
                rows=manifest.root_rows,
            )
            for path, source, of_file in zip(files, self._sources, notes, strict=True)
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


def _sources(
    probe: Probe, train: Path, score: Path
) -> tuple[ArraySource, ArraySource, Sequence[str]]:
    """Return the features of both files and the names of their classes."""
    (x, y), (score_x, score_y) = read_npz(train), read_npz(score)
    ids, labels = np.unique(y, return_inverse=True)  # the classes are the labels that occur
    is_new = ~np.isin(score_y, ids)
    if is_new.any():
        new = shortened(str(label) for label in np.unique(score_y[is_new]))
        raise DataError(
            f"{score} has labels that {train} lacks: {new} ({int(is_new.sum())} rows); remove"
            " these rows, or train on these classes too."
        )
    fit = ArraySource(x, labels, len(ids))
    scored = ArraySource(score_x, np.searchsorted(ids, score_y), len(ids))
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
    return fit, scored, [str(label) for label in ids.tolist()]


def _copies(fit: ArraySource, scored: ArraySource) -> tuple[str, ...]:
    """Return a sentence on the scored rows whose features are those of a training row, if any."""
    known = set(fit.row_digests())
    found = [row for row, digest in enumerate(scored.row_digests()) if digest in known]
    if not found:
        return ()
    named = shortened(map(str, found))
    return (
        f"{len(found)} of {len(scored)} scored rows have the features of a training row: {named}",
    )


def _rows(
    path: Path, source: ArraySource, classes: Sequence[str], notes: tuple[str, ...]
) -> Manifest:
    ids = [str(row) for row in range(len(source))]
    return Manifest(
        name=path.stem,
        split=path.stem,
        kind="video",
        ids=ids,
        media=[path] * len(ids),
        labels=source.labels,
        classes=classes,
        notes=notes,
    )
