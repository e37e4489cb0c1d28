"""Evaluate configurations in six steps, from names to records.

1 resolve (names, options, weights)  2 check (task, manifests)  3 features  4 fit  5 score
6 record. Runs on the same encoder and task share one pass of decoding and encoding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.config import Machine, RunConfig
from bench.data.discover.label_map import LabelMap
from bench.errors import UsageError, known
from bench.evaluate.fit_and_score import check_heads, check_label_kind, fit_and_score
from bench.evaluate.head_order import (
    Reordered,
    in_named_order,
    parse_head_classes,
    read_head_order,
)
from bench.evaluate.permuted_labels import check_labels, permuted_labels
from bench.evaluate.prepare import Job, PreparedRun, build_probe, prepare
from bench.evaluate.released_head import for_learning_head_order, learn_head_order, score_released
from bench.evaluate.split_features import RunFeatures
from bench.evaluate.write_record import assemble, identity
from bench.features.store import feature_folder
from bench.files import is_read_only
from bench.launch.work_claims import sweep
from bench.preflight.probe_contract import try_fit
from bench.preflight.settle import settled
from bench.records.record import Record
from bench.records.record_files import read_record
from bench.types import Fitted, Progress, Reads


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A record and its file; `kept` if it existed before and nothing was computed."""

    record: Record
    path: Path
    kept: bool


def evaluate(runs: Iterable[tuple[Job, RunFeatures]]) -> Iterator[Outcome]:
    """Fit, score and record every run of `prepared_runs` that has no record yet.

    Raises:
        BenchError: any step fails.
    """
    for job, features in runs:
        begin = time.perf_counter()
        path, reads = record_path(job, features), job.probe.reads
        overwrite = features.machine.overwrite
        if path.exists() and not overwrite:
            yield Outcome(record=read_record(path), path=path, kept=True)
            continue
        if is_read_only(path.parent):
            raise UsageError(
                f"{features.machine.home} is read-only and has no record of this run; choose a"
                " writable folder with --home."
            )
        features.begin_run(reads)
        score = features.source(features.score, reads)
        if job.released is not None:
            released = _in_task_order(job, features)
            scored = score_released(released, score, device=job.device, progress=features.progress)
        else:
            scored = fit_and_score(
                job.probe,
                job.protocol,
                features.source(features.fit, reads),
                score,
                seed=job.config.seed,
                device=job.device,
                progress=features.progress,
            )
        keep = job.config.on_permuted_labels == "keep"
        found = check_labels(scored.probabilities, score.labels, features.score.manifest, keep=keep)
        suspect = permuted_labels(found, features.score.manifest) if found and found.alarm else None
        if path.exists() and not overwrite:  # another process was faster: keep its files
            yield Outcome(record=read_record(path), path=path, kept=True)
            continue
        seconds = time.perf_counter() - begin
        record, path = assemble(job, features, scored, seconds=seconds, suspect=suspect)
        yield Outcome(record=record, path=path, kept=False)


def evaluate_runs(
    configs: Sequence[RunConfig], machine: Machine, progress: Progress
) -> Iterator[Outcome]:
    """Evaluate configurations and yield their records, from a script or a notebook.

    Raises:
        UsageError: an unknown name or option, found before anything is computed.
        BenchError: any step fails.
    """
    return evaluate(prepared_runs(configs, machine, progress))


def prepared_runs(
    configs: Sequence[RunConfig],
    machine: Machine,
    progress: Progress,
    *,
    probe_weights: Path | None = None,
    head_classes: str | None = None,
) -> Iterator[tuple[Job, RunFeatures]]:
    """Open encoders, tasks and probes for `evaluate`; runs share features where possible.

    `probe_weights` is a released probe file, scored without fitting; `head_classes` gives the
    order of its classes (see `parse_head_classes`).

    Raises:
        UsageError: an unknown name or option, found before anything is computed.
        BenchError: any step fails.
    """
    order = parse_head_classes(head_classes) if head_classes is not None else None
    if order is not None and probe_weights is None:
        raise UsageError(
            f"--head-classes {head_classes} is for a released head: give its file with"
            " --probe-weights FILE."
        )
    sweep(machine.home)
    for group in grouped([settled(one, machine) for one in configs]):
        prepared = prepare(group[0], machine)
        if isinstance(order, int):
            prepared = for_learning_head_order(prepared, order)
        jobs = [make_job(prepared, config, probe_weights, order) for config in group]
        reads: list[Reads] = sorted({job.probe.reads for job in jobs})
        features = RunFeatures(prepared, machine, reads, progress)
        yield from ((job, features) for job in jobs)


def store_features(
    config: RunConfig, machine: Machine, reads: Sequence[str], progress: Progress
) -> list[Path]:
    """Extract and store the features of both splits; return their folders.

    Raises:
        UsageError: features that differ in every epoch cannot be stored.
        BenchError: any step fails.
    """
    sweep(machine.home)
    prepared = prepare(config, machine)
    readouts: list[Reads] = [known("readout", r, ("vector", "tokens")) for r in reads]  # type: ignore[misc]
    features = RunFeatures(prepared, machine, readouts, progress)
    folders = []
    for split in (features.fit, features.score):
        if "live" in split.modes.values():
            raise UsageError(
                f"protocol {prepared.protocol.name} draws new views in every epoch: set how many"
                " draws per training sample to store with --draws."
            )
        features.open(split)
        folders += [feature_folder(machine.home, key) for key in split.keys.values()]
    return folders


def make_job(
    prepared: PreparedRun,
    config: RunConfig,
    weights: Path | None = None,
    head_classes: Path | int | None = None,
) -> Job:
    """Build a probe and check it before anything is decoded."""
    probe, deviations = build_probe(prepared, config)
    released = None
    if weights is None:
        check_heads(probe, prepared.protocol)
        check_label_kind(probe, prepared.task.fit)
        try_fit(
            config.probe,
            probe,
            width=prepared.score.encoder.spec.width,
            num_classes=len(prepared.task.classes),
            many_labels=prepared.task.fit.has_many_labels,
        )
    else:
        released = probe.read_released(weights)
        labels = LabelMap(names=prepared.task.classes, source=prepared.task.name)
        if isinstance(head_classes, Path):
            released = Reordered(fitted=released, order=read_head_order(head_classes, labels))
        elif head_classes is None:
            released = in_named_order(released, labels, str(weights.with_name("config.json")))
    return Job(
        config=config,
        task=prepared.task,
        protocol=prepared.protocol,
        probe=probe,
        device=prepared.score.device,
        deviations=[*prepared.deviations, *deviations],
        weights=weights,
        released=released,
        learn_order=isinstance(head_classes, int),
    )


def record_path(job: Job, features: RunFeatures) -> Path:
    """Return the path of a job's record, whether or not it exists."""
    return features.machine.home / "records" / f"{identity(job, features)}.json"


def _in_task_order(job: Job, features: RunFeatures) -> Fitted:
    """Return a released probe with its classes in the task's order."""
    assert job.released is not None
    if not job.learn_order:
        return job.released
    order = learn_head_order(
        job.released,
        features.source(features.fit, job.probe.reads),
        features.fit.manifest,
        device=job.device,
        progress=features.progress,
    )
    return Reordered(fitted=job.released, order=order)


def grouped(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Group runs that differ only in the probe, in order of first appearance."""
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        shared = asdict(replace(config, probe="", probe_options={}))
        groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(config)
    return list(groups.values())
