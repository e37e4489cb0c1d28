"""A low-shot study: every share of the labels, draw and probe from one pass over the features."""

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
from bench.studies.low_shot_features import StudyFeatures
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

    The records equal those of separate runs with `task.fraction` or `task.shots` and `task.draw` (0
    to `draws` - 1); a fraction of 1 is the run without these options, made once. Runs on record are
    not repeated, so the same command resumes. Configurations that differ only in the probe are one
    study: weights and media are digested once and the union of the rows is encoded once.
    Deterministic live features (`features=live`, `draws=0`) are kept in memory and may differ from
    separate runs in the last bit; augmented live features (vjepa@1) are computed again for every
    fit. `splits` is a folder for the split files.

    Raises:
        UsageError: a share out of range, a task without shares, live features that exceed the
            memory; at the end, after all other runs: fits that were refused on few rows or whose
            labels look permuted.
        BenchError: as the steps raise.
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
            f"{len(refused)} of {sum(map(len, groups)) * len(shares)} runs failed, all others are"
            f" on record.{_reasons(refused)}"
        )


def shares_of(fractions: Sequence[float], shots: Sequence[int], draws: int) -> list[Share]:
    """Return the shares of a study: shots, then fractions, each ascending and with all draws.

    Raises:
        UsageError: no share at all, or a number out of range.
    """
    if draws < 1:
        raise UsageError(f"draws = {draws}: it must be at least 1.")
    shares = [Share(shots=count, draw=d) for count in sorted(set(shots)) for d in range(draws)]
    for fraction in sorted(set(fractions)):
        # All draws of the whole split are equal.
        shares += [Share(fraction=fraction, draw=d) for d in range(draws if fraction != 1.0 else 1)]
    if not shares:
        raise UsageError("no share of the labels is given: add --fractions 1,5,10 or --shots 1,5.")
    return shares


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One probe on one share of the labels, and the path of its record."""

    share: Share
    job: Job
    path: Path


def _check(config: RunConfig) -> None:
    """Refuse configurations that a study cannot vary, before anything is opened."""
    options = registry.find("tasks", config.task).options
    if not {"fraction", "draw", "shots"} <= options.keys():
        raise UsageError(
            f"task {config.task!r} has no options fraction, shots and draw, so its training split"
            " cannot be reduced; use the task of the whole data set."
        )
    for option in ("fraction", "shots", "subset", "draw"):
        if option in config.task_options:
            raise UsageError(
                f"task.{option} is set, but a study varies the training split itself: leave it out"
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
    prepared = prepare(group[0], machine)
    if "rule" not in prepared.task.options:
        raise UsageError(
            f"task {prepared.task.name!r} reduces its training split in its own way; use"
            " bench.low_shot_task instead."
        )
    features, runs = _runs(prepared, group, shares, machine, progress)
    if splits is not None:
        for run in runs[:: len(group)]:  # the first probe of every share
            write_split(run.job.task, splits / split_name(run.job.task))
    pending = [run for run in runs if machine.overwrite or not run.path.exists()]
    if pending:  # features of all rows that are needed, in one pass
        features = features.cut(_union(prepared.task.fit, [run.job.task.fit for run in pending]))
        features.hold(features.score)
        features.hold(features.fit)
    # Fits on augmented live features are slow and get a bar each; the others share one bar.
    is_slow = features.fit.rows is None
    if pending and not is_slow:
        progress.start(f"low-shot {prepared.task.name}", len(pending))
    current: StudyFeatures | None = None
    try:
        for run in runs:
            if run not in pending:
                yield Outcome(record=read_record(run.path), path=run.path, kept=True)
                continue
            if current is None or current.fit.manifest is not run.job.task.fit:
                current = features.cut(run.job.task.fit)
                current.progress = progress if is_slow else Silent()
            try:
                [outcome] = evaluate([(run.job, current)])
            except (UsageError, PermutedLabels) as error:
                what = f"{run.job.probe.name} of {prepared.score.encoder.spec.name}"
                refused.append((f"{what} on {run.job.task.name} with {run.share}", error))
                continue
            finally:
                if not is_slow:
                    progress.advance()
            yield outcome
    finally:
        progress.stop()


def _reasons(refused: Sequence[tuple[str, BenchError]]) -> str:
    """Describe why runs were refused, each reason once with its runs."""
    by_reason: dict[str, list[str]] = {}
    for run, error in refused:
        by_reason.setdefault(str(error).rstrip("."), []).append(run)
    return "".join(f" {'; '.join(runs)}: {reason}." for reason, runs in by_reason.items())


def _runs(
    prepared: PreparedRun,
    group: Sequence[RunConfig],
    shares: Sequence[Share],
    machine: Machine,
    progress: Progress,
) -> tuple[StudyFeatures, list[_Run]]:
    """Return the features of a whole study and its runs; media are read, but not decoded."""
    cuts = list(cut_tasks(prepared.task, shares))
    jobs = []
    for share, cut in zip(shares, cuts, strict=True):
        for config in group:  # with the configuration of a separate run on this share
            options = {**config.task_options, **share.options}
            separate = settled(replace(config, task_options=options), machine)
            jobs.append((share, make_job(prepared.on(cut), separate)))
    reads: list[Reads] = sorted({job.probe.reads for _, job in jobs})
    whole = replace(prepared.task, fit=_union(prepared.task.fit, [cut.fit for cut in cuts]))
    features = StudyFeatures(prepared.on(whole), machine, reads, progress)
    return features, [
        _Run(share=share, job=job, path=record_path(job, features.cut(job.task.fit)))
        for share, job in jobs
    ]


def _union(whole: Manifest, parts: Sequence[Manifest]) -> Manifest:
    """Return the rows of `whole` that are in any of the parts."""
    rows = np.unique(np.concatenate([part.root_rows for part in parts]))
    return whole if len(rows) == len(whole) else whole.root.subset(rows)
