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
from bench.data.manifest import Manifest
from bench.errors import BenchError, UsageError
from bench.evaluate.evaluate import Outcome, evaluate, grouped, make_job, record_path
from bench.evaluate.permuted_labels import PermutedLabels
from bench.evaluate.prepare import Job, PreparedRun, prepare
from bench.preflight.settle import settled
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
    groups = grouped([settled(one, machine) for one in configs])
    for group in groups:
        _check(group[0])
    refused: list[tuple[str, BenchError]] = []
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
    """One probe on one share of the labels, and the place of its record."""

    share: Share
    job: Job
    path: Path


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
    refused: list[tuple[str, BenchError]],
) -> Iterator[Outcome]:
    stage = prepare(group[0], machine)
    if "rule" not in stage.task.options:
        raise UsageError(
            f"task {stage.task.name!r} cuts its training split in a way of its own; it should do so"
            " with bench.data.few_labels.low_shot_task."
        )
    feeds, runs = _runs(stage, group, shares, machine, progress)
    if splits is not None:
        for run in runs[:: len(group)]:  # the first probe of every share
            write_split(run.job.task, splits / split_name(run.job.task))
    ahead = [run for run in runs if machine.overwrite or not run.path.exists()]
    if ahead:  # the features of all rows that are needed, in one pass
        feeds = feeds.cut(_union(stage.task.fit, [run.job.task.fit for run in ahead]))
        feeds.hold(feeds.score)
        feeds.hold(feeds.fit)
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
            if own is None or own.fit.manifest is not run.job.task.fit:
                own = feeds.cut(run.job.task.fit)
                own.progress = progress if slow else Silent()
            try:
                [outcome] = evaluate([(run.job, own)])
            except (UsageError, PermutedLabels) as error:
                of = f"{run.job.probe.name} of {stage.score.encoder.spec.name}"
                refused.append((f"{of} on {run.job.task.name} with {run.share}", error))
                continue
            finally:
                if not slow:
                    progress.advance()
            yield outcome
    finally:
        progress.stop()


def _reasons(refused: Sequence[tuple[str, BenchError]]) -> str:
    """Say why runs were refused, each reason once with the runs that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for run, error in refused:
        by_reason.setdefault(str(error).rstrip("."), []).append(run)
    return "".join(f" {'; '.join(runs)}: {reason}." for reason, runs in by_reason.items())


def _runs(
    stage: PreparedRun,
    group: Sequence[RunConfig],
    shares: Sequence[Share],
    machine: Machine,
    progress: Progress,
) -> tuple[StudyFeeds, list[_Run]]:
    """Return the feeds of a whole study and its runs; nothing is decoded, media are read."""
    cuts = list(cut_tasks(stage.task, shares))
    jobs = []
    for share, cut in zip(shares, cuts, strict=True):
        for config in group:  # each as a separate run on this share is spelled
            options = {**config.task_options, **share.options}
            own = settled(replace(config, task_options=options), machine)
            jobs.append((share, make_job(stage.on(cut), own)))
    reads: list[Reads] = sorted({job.probe.reads for _, job in jobs})
    whole = replace(stage.task, fit=_union(stage.task.fit, [cut.fit for cut in cuts]))
    feeds = StudyFeeds(stage.on(whole), machine, reads, progress)
    return feeds, [
        _Run(share=share, job=job, path=record_path(job, feeds.cut(job.task.fit)))
        for share, job in jobs
    ]


def _union(whole: Manifest, parts: Sequence[Manifest]) -> Manifest:
    """Return the rows of `whole` that some part has."""
    rows = np.unique(np.concatenate([part.root_rows for part in parts]))
    return whole if len(rows) == len(whole) else whole.root.subset(rows)
