"""Run what an encoder is missing on a board; one failure does not stop the other columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.config import Machine, RunConfig
from bench.encoders.encoder import open_encoder, weight_digest
from bench.errors import BenchError
from bench.evaluate.evaluate import Outcome, evaluate_runs, grouped
from bench.publish.leaderboard import Leaderboard
from bench.publish.missing_runs import SHARES, Failure, PlannedRun, key_of, missing, plan_runs
from bench.records.record import Record
from bench.records.record_files import read_records
from bench.records.run_id import config_facts
from bench.studies.low_shot_study import study
from bench.types import Progress, Settings


@dataclass(frozen=True, kw_only=True)
class Todo:
    """The runs to execute, those that cannot be, and the number already on record."""

    runs: Sequence[PlannedRun]
    failures: Sequence[Failure]
    num_on_record: int


def todo(
    board: Leaderboard,
    encoders: Sequence[str],
    settings: Sequence[str],
    machine: Machine,
    *,
    draws: int = 3,
    is_dry: bool = False,
) -> Todo:
    """Return the runs that some encoders are missing in the columns of a board.

    Encoders are opened, because their weights decide what is on record and their number of frames
    goes into the plans. A dry run opens nothing: it compares encoders by name and options, and
    takes the number of frames from their records, or else from the columns. Seeds do not matter
    unless the settings set one.

    Raises:
        UsageError: as `plan_runs`.
    """
    planned, failures = plan_runs(board, encoders, settings, machine, draws=draws)
    folder = machine.home / "records"
    records = read_records(folder) if folder.is_dir() else []
    if is_dry:
        found = [(one.config.encoder, _frames_on_record(one.config, records)) for one in planned]
        frames = {name: number for name, number in found if number is not None}
        weights = None
    else:
        frames, weights, unopened = _opened(planned)
        failures += unopened
    planned, _ = plan_runs(board, encoders, settings, machine, draws=draws, frames=frames)
    if weights is not None:
        planned = [one for one in planned if one.config.encoder in weights]
    any_seed = not any(setting.partition("=")[0].strip() == "seed" for setting in settings)
    runs = missing(planned, records, weights=weights, any_seed=any_seed)
    return Todo(runs=runs, failures=failures, num_on_record=len(planned) - len(runs))


def _opened(planned: Sequence[PlannedRun]) -> tuple[dict[str, int], dict[str, str], list[Failure]]:
    """Open every encoder once; return frames and weight digests by name, and failed runs."""
    frames: dict[str, int] = {}
    weights: dict[str, str] = {}
    failures: list[Failure] = []
    for name in dict.fromkeys(one.config.encoder for one in planned):
        runs = [one for one in planned if one.config.encoder == name]
        try:
            encoder = open_encoder(name, runs[-1].config.encoder_options)
        except BenchError as error:
            failures += [
                Failure(columns=one.columns, encoder=name, reason=str(error)) for one in runs
            ]
            continue
        frames[name] = encoder.spec.num_frames
        weights[name] = weight_digest(encoder) if encoder.spec.num_parameters else ""
    return frames, weights, failures


def _frames_on_record(config: RunConfig, records: Sequence[Record]) -> int | None:
    """Return the number of frames of an encoder, if it has a record."""
    key = (config.encoder, config_facts(config)["encoder_options"])
    for record in records:
        if (record.config.get("encoder"), record.config.get("encoder_options", {})) == key:
            return record.encoder.num_frames
    return None


def fill(
    runs: Sequence[PlannedRun], machine: Machine, progress: Progress
) -> Iterator[Outcome | Failure]:
    """Execute the runs and yield the record of each, or why it failed.

    Runs, and draws of the labels, on one encoder and task share a pass of decoding and encoding.
    """
    on_all_labels = partial(evaluate_runs, machine=machine, progress=progress)
    whole = [one for one in runs if not one.is_drawn]
    titles = {key_of(one.config): one.columns for one in whole}
    for group in grouped([one.config for one in whole]):
        yield from _retried_one_by_one(group, on_all_labels, titles, progress)
    drawn: dict[str, list[PlannedRun]] = {}
    for one in runs:
        if one.is_drawn:
            drawn.setdefault(key_of(_without_share(one.config)), []).append(one)
    titles = {
        key: tuple(dict.fromkeys(title for one in found for title in one.columns))
        for key, found in drawn.items()
    }
    for configs, shares in _studies(drawn.values()):
        on_shares = partial(study, machine=machine, progress=progress, **shares)
        yield from _retried_one_by_one(configs, on_shares, titles, progress)


def _retried_one_by_one(
    configs: Sequence[RunConfig],
    make: Callable[[Sequence[RunConfig]], Iterator[Outcome]],
    titles: Mapping[str, tuple[str, ...]],
    progress: Progress,
) -> Iterator[Outcome | Failure]:
    """Execute runs together; if one fails, rerun each on its own so that the rest is not blocked.

    Runs that finished before are on record and yielded once.
    """
    yielded: set[str] = set()
    try:
        for outcome in make(configs):
            yielded.add(outcome.record.id)
            yield outcome
    except BenchError as error:
        progress.stop()
        if len(configs) == 1:
            [config] = configs
            columns = titles[key_of(config)]
            yield Failure(columns=columns, encoder=config.encoder, reason=str(error))
            return
        for config in configs:
            for found in _retried_one_by_one([config], make, titles, progress):
                if isinstance(found, Failure) or found.record.id not in yielded:
                    yield found


def _studies(
    drawn: Iterable[Sequence[PlannedRun]],
) -> Iterable[tuple[list[RunConfig], dict[str, Any]]]:
    """Group the draws of runs into studies, those with the same shares together."""
    studies: dict[str, tuple[list[RunConfig], dict[str, Any]]] = {}
    for runs in drawn:
        options = [one.config.task_options for one in runs]
        shares = {
            "fractions": _values("fraction", options),
            "shots": _values("shots", options),
            "draws": 1 + max(one["draw"] for one in options),
        }
        config = _without_share(runs[0].config)
        shared = key_of(replace(config, probe="", probe_options={}))
        studies.setdefault(repr((shared, shares)), ([], shares))[0].append(config)
    return studies.values()


def _values(name: str, options: Sequence[Settings]) -> tuple[Any, ...]:
    return tuple(sorted({one[name] for one in options if one.get(name) is not None}))


def _without_share(config: RunConfig) -> RunConfig:
    dropped = {*SHARES, "draw"}
    options = {key: value for key, value in config.task_options.items() if key not in dropped}
    return replace(config, task_options=options)
