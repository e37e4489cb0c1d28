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

from bench.assemble import Facts, assemble, identity
from bench.config import Machine, RunConfig
from bench.errors import UsageError, known
from bench.feeds import Feeds
from bench.records import read_record
from bench.result import Result
from bench.score import check_heads, fit_and_score, score_released
from bench.stage import Stage, build_probe, prepare
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
) -> Iterator[Outcome]:
    """Run every configuration and yield its record; a run on record already is not run again.

    `probe_weights` is a released probe file that is scored as it is, without any fitting.

    Raises:
        UsageError: an unknown name or option, found before anything is computed.
        BenchError: what the steps raise.
    """
    for group in grouped([config.settled(machine.data_of(config.task)) for config in configs]):
        stage = prepare(group[0], machine)
        jobs = [make_job(stage, config, probe_weights) for config in group]
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
    """One probe on a stage; `released` is a probe from a file, which is scored without a fit."""

    stage: Stage
    probe: Probe
    weights: Path | None
    released: Fitted | None


def make_job(stage: Stage, config: RunConfig, weights: Path | None) -> Job:
    """Build a probe and look at all that can be wrong with it before anything is decoded."""
    probe, deviations = build_probe(stage, config)
    released = None
    if weights is None:
        check_heads(probe, stage.protocol)
    else:
        released = probe.read_released(weights)
    own = replace(stage, config=config, deviations=[*stage.deviations, *deviations])
    return Job(stage=own, probe=probe, weights=weights, released=released)


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
    feeds.begin_run(probe.reads)
    feeds.open(feeds.score)
    score = feeds.source(feeds.score, probe.reads)
    if job.released is not None:
        scored = score_released(job.released, score, device=stage.device, progress=progress)
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
    if path.exists() and not machine.overwrite:  # another process was faster: its files stay
        return Outcome(result=read_record(path), path=path, kept=True)
    result, path = assemble(facts, scored, machine, seconds=time.perf_counter() - begin)
    return Outcome(result=result, path=path, kept=False)


def _facts(job: Job, feeds: Feeds) -> Facts:
    return Facts(stage=job.stage, probe=job.probe, feeds=feeds, probe_weights=job.weights)


def grouped(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Put runs that differ in the probe alone together, in order of first appearance."""
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        shared = asdict(replace(config, probe="", probe_options={}))
        groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(config)
    return list(groups.values())
