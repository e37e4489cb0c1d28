"""Evaluate: from configurations to records, in six steps.

1 resolve (names, options, weights)  2 check (task, manifests)  3 features  4 fit  5 score
6 record. Runs on the same encoder and task share one pass of decoding and encoding.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.config import Machine, RunConfig
from bench.data.discover.label_map import LabelMap
from bench.encoders.functional_check import functional_check
from bench.errors import UsageError, known
from bench.evaluate.fit_and_score import check_heads, check_label_kind, fit_and_score
from bench.evaluate.head_order import Reordered, parse_head_classes, read_head_order
from bench.evaluate.permuted_labels import check_labels, permuted_labels
from bench.evaluate.prepare import Stage, build_probe, prepare
from bench.evaluate.released_head import for_learning_head_order, learn_head_order, score_released
from bench.evaluate.split_features import Feeds
from bench.evaluate.write_record import Facts, assemble, identity
from bench.records.record import Result
from bench.records.record_files import read_record
from bench.types import Fitted, Probe, Progress, Reads


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One record and its file; `kept` says that it was there already and nothing was computed."""

    result: Result
    path: Path
    kept: bool


def evaluate(
    configs: Sequence[RunConfig],
    machine: Machine,
    progress: Progress,
    *,
    probe_weights: Path | None = None,
    head_classes: str | None = None,
) -> Iterator[Outcome]:
    """Run every configuration and yield its record; a run on record already is not run again.

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
    for group in grouped([config.settled(machine.data_of(config.task)) for config in configs]):
        stage = prepare(group[0], machine)
        if isinstance(order, int):
            stage = for_learning_head_order(stage, order)
        jobs = [make_job(stage, config, probe_weights, order) for config in group]
        reads: list[Reads] = sorted({job.probe.reads for job in jobs})
        feeds = Feeds(stage, machine, reads, progress)
        for job in jobs:
            yield evaluate_job(job, feeds, machine, progress)


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
    feeds = Feeds(stage, machine, wanted, progress)
    for split in (feeds.fit, feeds.score):
        if "live" in split.modes.values():
            raise UsageError(
                f"protocol {stage.protocol.name} draws afresh in every epoch: say how many draws"
                " of a training sample to store with --draws."
            )
        feeds.open(split)
    return [store.folder for split in (feeds.fit, feeds.score) for store in split.sets.values()]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One probe on a stage; `released` is a probe from a file, which is scored without a fit.

    With `learn_order` the training split is there to learn the order of its classes.
    """

    stage: Stage
    probe: Probe
    weights: Path | None
    released: Fitted | None
    learn_order: bool = False


def make_job(
    stage: Stage,
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
    else:
        released = probe.read_released(weights)
        if isinstance(head_classes, Path):
            labels = LabelMap(names=stage.task.classes, source=stage.task.name)
            released = Reordered(fitted=released, order=read_head_order(head_classes, labels))
    own = replace(stage, config=config, deviations=[*stage.deviations, *deviations])
    return Job(
        stage=own,
        probe=probe,
        weights=weights,
        released=released,
        learn_order=isinstance(head_classes, int),
    )


def record_path(job: Job, feeds: Feeds, machine: Machine) -> Path:
    """Return where the record of a job is, or will be."""
    return machine.home / "records" / f"{identity(_facts(job, feeds))}.json"


def evaluate_job(job: Job, feeds: Feeds, machine: Machine, progress: Progress) -> Outcome:
    """Fit, score and record one probe; a job on record already is not run again."""
    begin = time.perf_counter()
    stage, probe, facts = job.stage, job.probe, _facts(job, feeds)
    path = record_path(job, feeds, machine)
    if path.exists() and not machine.overwrite:
        return Outcome(result=read_record(path), path=path, kept=True)
    functional_check(stage.encoder)  # refuses a broken encoder before anything is decoded
    feeds.begin_run(probe.reads)
    feeds.open(feeds.score)
    score = feeds.source(feeds.score, probe.reads)
    if job.released is not None:
        released = _in_task_order(job, feeds, progress)
        scored = score_released(released, score, device=stage.device, progress=progress)
    else:
        feeds.open(feeds.fit)
        scored = fit_and_score(
            probe,
            stage.protocol,
            feeds.source(feeds.fit, probe.reads),
            score,
            seed=stage.config.seed,
            device=stage.device,
            progress=progress,
        )
    keep = stage.config.on_permuted_labels == "keep"
    found = check_labels(scored.probabilities, score.labels, feeds.score.manifest, keep=keep)
    suspect = permuted_labels(found, feeds.score.manifest) if found and found.alarm else None
    if path.exists() and not machine.overwrite:  # another process was faster: its files stay
        return Outcome(result=read_record(path), path=path, kept=True)
    seconds = time.perf_counter() - begin
    result, path = assemble(facts, scored, machine, seconds=seconds, suspect=suspect)
    return Outcome(result=result, path=path, kept=False)


def _in_task_order(job: Job, feeds: Feeds, progress: Progress) -> Fitted:
    """Return a released probe with its classes in the order of the task's."""
    assert job.released is not None
    if not job.learn_order:
        return job.released
    feeds.open(feeds.fit)
    order = learn_head_order(
        job.released,
        feeds.source(feeds.fit, job.probe.reads),
        feeds.fit.manifest,
        device=job.stage.device,
        progress=progress,
    )
    return Reordered(fitted=job.released, order=order)


def _facts(job: Job, feeds: Feeds) -> Facts:
    order = None
    if isinstance(job.released, Reordered):
        order = f"names {job.released.order.digest}"
    elif job.learn_order:
        order = f"fit {feeds.fit.manifest.digest} {feeds.fit.sets[job.probe.reads].digest}"
    return Facts(
        stage=job.stage,
        probe=job.probe,
        feeds=feeds,
        probe_weights=job.weights,
        head_order=order,
    )


def grouped(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Put runs that differ in the probe alone together, in order of first appearance."""
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        shared = asdict(replace(config, probe="", probe_options={}))
        groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(config)
    return list(groups.values())
