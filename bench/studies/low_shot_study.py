"""A low-shot study: every share of the labels, draw and probe, from one pass over the features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import registry
from bench.config import Machine, RunConfig
from bench.data.discover.split_files import split_name, write_split
from bench.data.few_labels import Share, cut_tasks
from bench.data.manifest import Manifest, Task
from bench.errors import BenchError, UsageError
from bench.evaluate.evaluate import Job, Outcome, evaluate_job, grouped, make_job, record_path
from bench.evaluate.permuted_labels import PermutedLabels
from bench.evaluate.prepare import Stage, prepare
from bench.records.record_files import read_record
from bench.studies.low_shot_features import StudyFeeds
from bench.types import Progress, Reads, Silent


def study(
    configs: Sequence[RunConfig],
    machine: Machine,
    progress: Progress,
    *,
    fractions: Sequence[float] = (),
    shots: Sequence[int] = (),
    draws: int = 3,
    splits: Path | None = None,
) -> Iterator[Outcome]:
    """Run every configuration on every share of its training labels and yield the records.

    They are those of separate runs with the options `task.fraction` or `task.shots`, and
    `task.draw` (0 to `draws` - 1); a fraction of 1 is the run without them, made once. What is on
    record is kept, so the same command goes on where it was killed. Configurations that differ in
    the probe alone are one study: weights and media are digested once and the union of the rows is
    encoded once. Live features that never change (`features=live`, `draws=0`) are held in memory
    and may differ from separate runs in the last bit; augmented live features (vjepa@1) are made
    anew for every fit. `splits` is a folder for the split files.

    Raises:
        UsageError: a share out of its range, a task that takes none, live features that memory
            cannot hold; at the end, fits that were refused on few rows or whose labels look
            permuted, while all others were made.
        BenchError: what the steps raise.
    """
    shares = shares_of(fractions, shots, draws)
    groups = grouped([config.settled(machine.data_of(config.task)) for config in configs])
    for group in groups:
        _check(group[0])
    refused: list[tuple[_Run, BenchError]] = []
    for group in groups:
        yield from _study(group, shares, machine, progress, splits, refused)
    if refused:
        raise UsageError(
            f"{len(refused)} of {sum(map(len, groups)) * len(shares)} runs could not be made, all"
            f" others are on record.{_reasons(refused)}"
        )


def shares_of(fractions: Sequence[float], shots: Sequence[int], draws: int) -> list[Share]:
    """Return the shares of a study: shots, then fractions, ascending, each with all of its draws.

    Raises:
        UsageError: no share at all, or a number out of its range.
    """
    if draws < 1:
        raise UsageError(f"draws {draws}: a share of the labels is drawn at least once.")
    numbers = range(draws)
    shares = [Share(shots=count, draw=d) for count in sorted(set(shots)) for d in numbers]
    for fraction in sorted(set(fractions)):
        # All draws of everything are equal.
        own = numbers if fraction != 1.0 else [0]
        shares += [Share(fraction=fraction, draw=d) for d in own]
    if not shares:
        raise UsageError("no share of the labels is named: give --fractions 1,5,10 or --shots 1,5.")
    return shares


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One probe on one share; `is_first` marks the first probe of a share."""

    share: Share
    job: Job
    feeds: StudyFeeds
    path: Path
    is_first: bool

    @property
    def task(self) -> Task:
        return self.job.stage.task


def _check(config: RunConfig) -> None:
    """Refuse what a study cannot vary, before anything is opened."""
    options = registry.find("tasks", config.task).options
    if not {"fraction", "draw", "shots"} <= options.keys():
        raise UsageError(
            f"task {config.task!r} has no options fraction, shots and draw, so its training split"
            " cannot be cut; name the task of the whole data set."
        )
    for option in ("fraction", "shots", "subset", "draw"):
        if option in config.task_options:
            raise UsageError(
                f"task.{option} is set, but a study cuts the training split itself: leave it out"
                " and use --fractions, --shots and --draws."
            )
    if config.limit is not None:
        raise UsageError(f"limit = {config.limit}: a study takes whole splits; leave it out.")


def _study(
    group: Sequence[RunConfig],
    shares: Sequence[Share],
    machine: Machine,
    progress: Progress,
    splits: Path | None,
    refused: list[tuple[_Run, BenchError]],
) -> Iterator[Outcome]:
    stage = prepare(group[0], machine)
    if "rule" not in stage.task.options:
        raise UsageError(
            f"task {stage.task.name!r} cuts its training split in a way of its own; it should do so"
            " with bench.data.few_labels.low_shot_task."
        )
    runs = _runs(stage, group, shares, machine, progress)
    if splits is not None:
        for run in runs:
            if run.is_first:
                write_split(run.task, splits / split_name(run.task))
    ahead = [run for run in runs if machine.overwrite or not run.path.exists()]
    feeds = _opened(stage, runs[0].feeds, ahead)
    # Augmented live features take their time; fits on features that are there share one bar.
    slow = feeds.fit.rows is None
    if ahead and not slow:
        progress.start(f"low-shot {stage.task.name}", len(ahead))
    own: StudyFeeds | None = None
    try:
        for run in runs:
            if run not in ahead:
                yield Outcome(result=read_record(run.path), path=run.path, kept=True)
                continue
            if own is None or own.fit.manifest is not run.task.fit:
                own = feeds.cut(run.job.stage)
            try:
                outcome = evaluate_job(run.job, own, machine, progress if slow else Silent())
            except (UsageError, PermutedLabels) as error:
                refused.append((run, error))
                continue
            finally:
                if not slow:
                    progress.advance()
            yield outcome
    finally:
        progress.stop()


def _reasons(refused: Sequence[tuple[_Run, BenchError]]) -> str:
    """Say why runs were refused, each reason once with the runs that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for run, error in refused:
        encoder = run.job.stage.encoder.spec.name
        of = f"{run.job.probe.name} of {encoder} on {run.task.name} with {run.share}"
        by_reason.setdefault(str(error).rstrip("."), []).append(of)
    return "".join(f" {'; '.join(runs)}: {reason}." for reason, runs in by_reason.items())


def _opened(stage: Stage, feeds: StudyFeeds, ahead: Sequence[_Run]) -> StudyFeeds:
    """Make the features of all rows that the runs ahead need, in one pass."""
    if not ahead:
        return feeds
    needed = _union(stage.task.fit, [run.task.fit for run in ahead])
    feeds = feeds.cut(_on(stage, replace(stage.task, fit=needed)))
    feeds.hold(feeds.score)
    feeds.hold(feeds.fit)
    return feeds


def _runs(
    stage: Stage,
    group: Sequence[RunConfig],
    shares: Sequence[Share],
    machine: Machine,
    progress: Progress,
) -> list[_Run]:
    """Return every run of a study with its record's place; nothing is decoded, media are read."""
    cuts = list(cut_tasks(stage.task, shares))
    jobs = [
        make_job(_on(stage, cut), _config(config, share, machine))
        for share, cut in zip(shares, cuts, strict=True)
        for config in group
    ]
    reads: list[Reads] = sorted({job.probe.reads for job in jobs})
    whole = replace(stage.task, fit=_union(stage.task.fit, [cut.fit for cut in cuts]))
    feeds = StudyFeeds(_on(stage, whole), machine, reads, progress)
    return [
        _Run(
            share=shares[i // len(group)],
            job=job,
            feeds=feeds,
            path=record_path(job, feeds.cut(job.stage), machine),
            is_first=i % len(group) == 0,
        )
        for i, job in enumerate(jobs)
    ]


def _config(config: RunConfig, share: Share, machine: Machine) -> RunConfig:
    """Return the configuration of a separate run on this share."""
    options = {**config.task_options, **share.options}
    return replace(config, task_options=options).settled(machine.data_of(config.task))


def _on(stage: Stage, task: Task) -> Stage:
    return replace(stage, task=task)


def _union(whole: Manifest, parts: Sequence[Manifest]) -> Manifest:
    """Return the rows of `whole` that some part has."""
    rows = np.unique(np.concatenate([part.root_rows for part in parts]))
    return whole if len(rows) == len(whole) else whole.root.subset(rows)
