"""Evaluate: from configurations to records, in six steps.

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
from bench.evaluate.head_order import Reordered, parse_head_classes, read_head_order
from bench.evaluate.permuted_labels import check_labels, permuted_labels
from bench.evaluate.prepare import Job, PreparedRun, build_probe, prepare
from bench.evaluate.released_head import for_learning_head_order, learn_head_order, score_released
from bench.evaluate.split_features import RunFeatures
from bench.evaluate.write_record import assemble, identity
from bench.features.store import feature_folder
from bench.preflight.probe_contract import try_fit
from bench.preflight.settle import settled
from bench.records.record import Record
from bench.records.record_files import read_record
from bench.types import Fitted, Progress, Reads


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One record and its file; `kept` says that it was there already and nothing was computed."""

    result: Record
    path: Path
    kept: bool


def evaluate(runs: Iterable[tuple[Job, RunFeatures]]) -> Iterator[Outcome]:
    """Fit, score and record every run of `prepared_runs`; one on record is not run again.

    Raises:
        BenchError: what the steps raise.
    """
    for job, feeds in runs:
        begin = time.perf_counter()
        path, reads, overwrite = record_path(job, feeds), job.probe.reads, feeds.machine.overwrite
        if path.exists() and not overwrite:
            yield Outcome(result=read_record(path), path=path, kept=True)
            continue
        feeds.begin_run(reads)
        score = feeds.source(feeds.score, reads)
        if job.released is not None:
            released = _in_task_order(job, feeds)
            scored = score_released(released, score, device=job.device, progress=feeds.progress)
        else:
            scored = fit_and_score(
                job.probe,
                job.protocol,
                feeds.source(feeds.fit, reads),
                score,
                seed=job.config.seed,
                device=job.device,
                progress=feeds.progress,
            )
        keep = job.config.on_permuted_labels == "keep"
        found = check_labels(scored.probabilities, score.labels, feeds.score.manifest, keep=keep)
        suspect = permuted_labels(found, feeds.score.manifest) if found and found.alarm else None
        if path.exists() and not overwrite:  # another process was faster: its files stay
            yield Outcome(result=read_record(path), path=path, kept=True)
            continue
        seconds = time.perf_counter() - begin
        result, path = assemble(job, feeds, scored, seconds=seconds, suspect=suspect)
        yield Outcome(result=result, path=path, kept=False)


def prepared_runs(
    configs: Sequence[RunConfig],
    machine: Machine,
    progress: Progress,
    *,
    probe_weights: Path | None = None,
    head_classes: str | None = None,
) -> Iterator[tuple[Job, RunFeatures]]:
    """Open encoders, tasks and probes for `evaluate`; what can share features does.

    `probe_weights` is a released probe file that is scored as it is, without any fitting;
    `head_classes` says where the order of its classes comes from (see `parse_head_classes`).

    Raises:
        UsageError: an unknown name or option, found before anything is computed.
        BenchError: what the steps raise.
    """
    order = parse_head_classes(head_classes) if head_classes is not None else None
    if order is not None and probe_weights is None:
        raise UsageError(
            f"--head-classes {head_classes} tells the order of a released head: give its file with"
            " --probe-weights FILE."
        )
    for group in grouped([settled(one, machine) for one in configs]):
        stage = prepare(group[0], machine)
        if isinstance(order, int):
            stage = for_learning_head_order(stage, order)
        jobs = [make_job(stage, config, probe_weights, order) for config in group]
        reads: list[Reads] = sorted({job.probe.reads for job in jobs})
        feeds = RunFeatures(stage, machine, reads, progress)
        yield from ((job, feeds) for job in jobs)


def store_features(
    config: RunConfig, machine: Machine, reads: Sequence[str], progress: Progress
) -> list[Path]:
    """Extract and store the features of both splits; return their folders.

    Raises:
        UsageError: features that differ in every epoch cannot be stored.
        BenchError: what the steps raise.
    """
    stage = prepare(config, machine)
    wanted: list[Reads] = [known("readout", r, ("vector", "tokens")) for r in reads]  # type: ignore[misc]
    feeds = RunFeatures(stage, machine, wanted, progress)
    folders = []
    for split in (feeds.fit, feeds.score):
        if "live" in split.modes.values():
            raise UsageError(
                f"protocol {stage.protocol.name} draws afresh in every epoch: say how many draws"
                " of a training sample to store with --draws."
            )
        feeds.open(split)
        folders += [feature_folder(machine.home, key) for key in split.keys.values()]
    return folders


def make_job(
    stage: PreparedRun,
    config: RunConfig,
    weights: Path | None = None,
    head_classes: Path | int | None = None,
) -> Job:
    """Build a probe and look at all that can be wrong with it before anything is decoded."""
    probe, deviations = build_probe(stage, config)
    released = None
    if weights is None:
        check_heads(probe, stage.protocol)
        check_label_kind(probe, stage.task.fit)
        try_fit(
            config.probe,
            probe,
            width=stage.score.encoder.spec.width,
            num_classes=len(stage.task.classes),
            many_labels=stage.task.fit.has_many_labels,
        )
    else:
        released = probe.read_released(weights)
        if isinstance(head_classes, Path):
            labels = LabelMap(names=stage.task.classes, source=stage.task.name)
            released = Reordered(fitted=released, order=read_head_order(head_classes, labels))
    return Job(
        config=config,
        task=stage.task,
        protocol=stage.protocol,
        probe=probe,
        device=stage.score.device,
        deviations=[*stage.deviations, *deviations],
        weights=weights,
        released=released,
        learn_order=isinstance(head_classes, int),
    )


def record_path(job: Job, feeds: RunFeatures) -> Path:
    """Return where the record of a job is, or will be."""
    return feeds.machine.home / "records" / f"{identity(job, feeds)}.json"


def _in_task_order(job: Job, feeds: RunFeatures) -> Fitted:
    """Return a released probe with its classes in the order of the task's."""
    assert job.released is not None
    if not job.learn_order:
        return job.released
    order = learn_head_order(
        job.released,
        feeds.source(feeds.fit, job.probe.reads),
        feeds.fit.manifest,
        device=job.device,
        progress=feeds.progress,
    )
    return Reordered(fitted=job.released, order=order)


def grouped(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Put runs that differ in the probe alone together, in order of first appearance."""
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        shared = asdict(replace(config, probe="", probe_options={}))
        groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(config)
    return list(groups.values())
