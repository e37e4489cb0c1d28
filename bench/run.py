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
from bench.score import Scored, fit_and_score, predict
from bench.selection import Selected
from bench.stage import Stage, build_probe, prepare
from bench.types import Probe, Progress, Reads


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
    for config in configs:
        config.check(machine.data)
    for group in _groups(configs):
        stage = prepare(group[0], machine)
        probes = [(config, *build_probe(stage, config)) for config in group]
        reads: list[Reads] = sorted({probe.reads for _, probe, _ in probes})
        feeds = Feeds(stage, machine, reads, progress)
        for config, probe, deviations in probes:
            own = replace(stage, config=config, deviations=[*stage.deviations, *deviations])
            yield _evaluate_one(own, probe, feeds, machine, progress, probe_weights)


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
        if split.mode == "live":
            raise UsageError(
                f"protocol {stage.protocol.name} draws afresh in every epoch: say how many draws"
                " of a training sample to store with --draws."
            )
        feeds.open(split)
    return [store.folder for split in (feeds.fit, feeds.score) for store in split.sets.values()]


def _evaluate_one(
    stage: Stage,
    probe: Probe,
    feeds: Feeds,
    machine: Machine,
    progress: Progress,
    probe_weights: Path | None,
) -> Outcome:
    begin = time.perf_counter()
    facts = Facts(stage=stage, probe=probe, feeds=feeds, probe_weights=probe_weights)
    path = machine.home / "records" / f"{identity(facts)}.json"
    if path.exists() and not machine.overwrite:
        return Outcome(result=read_record(path), path=path, kept=True)
    feeds.begin_run()
    feeds.open(feeds.score)
    if probe_weights is not None:
        scored = _score_released(stage, probe, feeds, probe_weights, progress)
    else:
        feeds.open(feeds.fit)
        scored = fit_and_score(
            probe,
            stage.protocol,
            feeds.source(feeds.fit, probe.reads),
            feeds.source(feeds.score, probe.reads),
            seed=stage.config.seed,
            device=stage.device,
            progress=progress,
        )
    result, path = assemble(facts, scored, machine, seconds=time.perf_counter() - begin)
    return Outcome(result=result, path=path, kept=False)


def _score_released(
    stage: Stage, probe: Probe, feeds: Feeds, weights: Path, progress: Progress
) -> Scored:
    begin = time.perf_counter()
    fitted = probe.read_released(weights)
    source = feeds.source(feeds.score, probe.reads)
    probabilities = predict(fitted, source, stage.device, progress)
    if probabilities.shape[1] != source.num_classes:
        raise UsageError(
            f"{weights} tells {probabilities.shape[1]} classes apart, but {stage.task.name} has"
            f" {source.num_classes}: name the task that it was trained for."
        )
    return Scored(
        selected=Selected(fitted=fitted, head=0),
        probabilities=probabilities,
        fit_seconds=0.0,
        score_seconds=time.perf_counter() - begin,
    )


def _groups(configs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Put runs that differ in the probe alone together, in order of first appearance."""
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        shared = asdict(replace(config, probe="", probe_options={}))
        groups.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(config)
    return list(groups.values())
