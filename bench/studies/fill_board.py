"""Run what a board still lacks of an encoder: one failure does not stop the other columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.config import Machine, RunConfig
from bench.encoders.encoder import open_encoder, weight_digest
from bench.errors import BenchError
from bench.evaluate.evaluate import Outcome, evaluate, grouped, prepared_runs
from bench.publish.leaderboard import Leaderboard
from bench.publish.missing_runs import SHARES, Failure, PlannedRun, key_of, lacking, plan_runs
from bench.records.record import Record
from bench.records.record_files import read_records
from bench.records.run_id import config_facts
from bench.studies.low_shot_study import study
from bench.types import Progress, Settings


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What is to be run, what cannot be, and how many runs are on record."""

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
    """Return what the columns of a board still lack of some encoders.

    Encoders are opened, for their weights decide what is on record and plans take their number of
    frames. A dry run opens nothing: there an encoder of the same name and options counts as the
    same, and plans have the frames that its records say, or else those of the columns. Seeds do not
    matter unless the settings set one.

    Raises:
        UsageError: what `plan_runs` raises.
    """
    wanted, failures = plan_runs(board, encoders, settings, machine, draws=draws)
    folder = machine.home / "records"
    records = read_records(folder) if folder.is_dir() else []
    if is_dry:
        found = [(one.config.encoder, _frames_on_record(one.config, records)) for one in wanted]
        frames = {name: number for name, number in found if number is not None}
        weights = None
    else:
        frames, weights, refused = _opened(wanted)
        failures += refused
    wanted, _ = plan_runs(board, encoders, settings, machine, draws=draws, frames=frames)
    if weights is not None:
        wanted = [one for one in wanted if one.config.encoder in weights]
    any_seed = not any(setting.partition("=")[0].strip() == "seed" for setting in settings)
    runs = lacking(wanted, records, weights=weights, any_seed=any_seed)
    return Todo(runs=runs, failures=failures, num_on_record=len(wanted) - len(runs))


def _opened(wanted: Sequence[PlannedRun]) -> tuple[dict[str, int], dict[str, str], list[Failure]]:
    """Open every encoder once; return frames and digests of the weights by its text.

    The runs of those that cannot be opened come as failures.
    """
    frames: dict[str, int] = {}
    weights: dict[str, str] = {}
    failures: list[Failure] = []
    for name in dict.fromkeys(one.config.encoder for one in wanted):
        own = [one for one in wanted if one.config.encoder == name]
        try:
            encoder = open_encoder(name, own[-1].config.encoder_options)
        except BenchError as error:
            failures += [
                Failure(columns=one.columns, encoder=name, reason=str(error)) for one in own
            ]
            continue
        frames[name] = encoder.spec.num_frames
        weights[name] = weight_digest(encoder) if encoder.spec.num_parameters else ""
    return frames, weights, failures


def _frames_on_record(config: RunConfig, records: Sequence[Record]) -> int | None:
    """Return the number of frames that an encoder takes, if it has a record."""
    wanted = (config.encoder, config_facts(config)["encoder_options"])
    for record in records:
        if (record.config.get("encoder"), record.config.get("encoder_options", {})) == wanted:
            return record.encoder.num_frames
    return None


def fill(
    runs: Sequence[PlannedRun], machine: Machine, progress: Progress
) -> Iterator[Outcome | Failure]:
    """Make the runs and yield the record of each, or why there is none.

    Runs on one encoder and task share a pass of decoding and encoding, draws of the labels too.
    """

    def alone(configs: Sequence[RunConfig]) -> Iterator[Outcome]:
        return evaluate(prepared_runs(configs, machine, progress))

    whole = [one for one in runs if not one.is_drawn]
    titles = {key_of(one.config): one.columns for one in whole}
    for group in grouped([one.config for one in whole]):
        yield from _alone_if_refused(group, alone, titles, progress)
    drawn: dict[str, list[PlannedRun]] = {}
    for one in runs:
        if one.is_drawn:
            drawn.setdefault(key_of(_without_share(one.config)), []).append(one)
    titles = {
        key: tuple(dict.fromkeys(title for one in found for title in one.columns))
        for key, found in drawn.items()
    }
    for configs, shares in _studies(drawn.values()):
        several = partial(study, machine=machine, progress=progress, **shares)
        yield from _alone_if_refused(configs, several, titles, progress)


def _alone_if_refused(
    configs: Sequence[RunConfig],
    make: Callable[[Sequence[RunConfig]], Iterator[Outcome]],
    titles: Mapping[str, tuple[str, ...]],
    progress: Progress,
) -> Iterator[Outcome | Failure]:
    """Make runs together; if one of them fails make each alone, for one may stop the others.

    What was made before is on record and is told once.
    """
    told: set[str] = set()
    try:
        for outcome in make(configs):
            told.add(outcome.result.id)
            yield outcome
    except BenchError as error:
        progress.stop()
        if len(configs) == 1:
            [config] = configs
            columns = titles[key_of(config)]
            yield Failure(columns=columns, encoder=config.encoder, reason=str(error))
            return
        for config in configs:
            for found in _alone_if_refused([config], make, titles, progress):
                if isinstance(found, Failure) or found.result.id not in told:
                    yield found


def _studies(
    drawn: Iterable[Sequence[PlannedRun]],
) -> Iterable[tuple[list[RunConfig], dict[str, Any]]]:
    """Return the draws of each run as studies, with their shares; those of the same go together."""
    studies: dict[str, tuple[list[RunConfig], dict[str, Any]]] = {}
    for runs in drawn:
        options = [one.config.task_options for one in runs]
        shares = {
            "fractions": _values("fraction", options),
            "shots": _values("shots", options),
            "draws": 1 + max(own["draw"] for own in options),
        }
        config = _without_share(runs[0].config)
        shared = key_of(replace(config, probe="", probe_options={}))
        studies.setdefault(repr((shared, shares)), ([], shares))[0].append(config)
    return studies.values()


def _values(name: str, options: Sequence[Settings]) -> tuple[Any, ...]:
    return tuple(sorted({own[name] for own in options if own.get(name) is not None}))


def _without_share(config: RunConfig) -> RunConfig:
    left = {*SHARES, "draw"}
    options = {key: value for key, value in config.task_options.items() if key not in left}
    return replace(config, task_options=options)
