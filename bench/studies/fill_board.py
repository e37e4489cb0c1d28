"""Run what a board still lacks of an encoder: one failure does not stop the other columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.config import Machine, RunConfig
from bench.encoders.encoder import open_encoder, weight_digest
from bench.errors import BenchError
from bench.evaluate.evaluate import Outcome, evaluate, grouped
from bench.publish.leaderboard import Leaderboard
from bench.publish.missing_runs import SHARES, Failure, Wanted, key_of, lacking, plan_runs
from bench.records.record import Result
from bench.records.record_files import read_records
from bench.records.run_id import config_facts
from bench.studies.low_shot_study import study
from bench.types import Progress, Settings


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What is to be run, what cannot be, and how many runs are on record."""

    runs: Sequence[Wanted]
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


def _opened(wanted: Sequence[Wanted]) -> tuple[dict[str, int], dict[str, str], list[Failure]]:
    """Open every encoder once; return frames and digests of the weights by its text.

    The runs of those that cannot be opened come as failures.
    """
    frames: dict[str, int] = {}
    weights: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for name, options in {one.config.encoder: one.config.encoder_options for one in wanted}.items():
        try:
            encoder = open_encoder(name, options)
        except BenchError as error:
            reasons[name] = str(error)
            continue
        frames[name] = encoder.spec.num_frames
        weights[name] = weight_digest(encoder) if encoder.spec.num_parameters else ""
    failures = [
        Failure(columns=one.columns, encoder=name, reason=reasons[name])
        for one in wanted
        if (name := one.config.encoder) in reasons
    ]
    return frames, weights, failures


def _frames_on_record(config: RunConfig, records: Sequence[Result]) -> int | None:
    """Return the number of frames that an encoder takes, if it has a record."""
    options = config_facts(config)["encoder_options"]
    for record in records:
        own = record.config
        if (own.get("encoder"), own.get("encoder_options", {})) == (config.encoder, options):
            return record.encoder.num_frames
    return None


def fill(
    runs: Sequence[Wanted], machine: Machine, progress: Progress
) -> Iterator[Outcome | Failure]:
    """Make the runs and yield the record of each, or why there is none.

    Runs on one encoder and task share a pass of decoding and encoding, draws of the labels too.
    """
    whole = [one for one in runs if not one.is_drawn]
    titles = {key_of(one.config): one.columns for one in whole}
    for group in grouped([one.config for one in whole]):
        yield from _alone_if_refused(_Batch(configs=tuple(group)), titles, machine, progress)
    drawn = [one for one in runs if one.is_drawn]
    titles = {}
    for one in drawn:
        key = key_of(_without_share(one.config))
        titles[key] = tuple(dict.fromkeys((*titles.get(key, ()), *one.columns)))
    for batch in _studies(drawn):
        yield from _alone_if_refused(batch, titles, machine, progress)


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Runs that differ in the probe alone; with shares of the labels a study of them."""

    configs: tuple[RunConfig, ...]
    fractions: tuple[float, ...] = ()
    shots: tuple[int, ...] = ()
    draws: int = 0

    def outcomes(self, machine: Machine, progress: Progress) -> Iterator[Outcome]:
        if not self.draws:
            return evaluate(self.configs, machine, progress)
        return study(
            self.configs,
            machine,
            progress,
            fractions=self.fractions,
            shots=self.shots,
            draws=self.draws,
        )


def _alone_if_refused(
    batch: _Batch, titles: Mapping[str, tuple[str, ...]], machine: Machine, progress: Progress
) -> Iterator[Outcome | Failure]:
    """Make the runs of a batch; if one of them fails make each alone, for one may stop the others.

    What was made before is on record and is told once.
    """
    told: set[str] = set()
    try:
        for outcome in batch.outcomes(machine, progress):
            told.add(outcome.result.id)
            yield outcome
    except BenchError as error:
        progress.stop()
        if len(batch.configs) == 1:
            [config] = batch.configs
            columns = titles[key_of(config)]
            yield Failure(columns=columns, encoder=config.encoder, reason=str(error))
            return
        for config in batch.configs:
            alone = replace(batch, configs=(config,))
            for found in _alone_if_refused(alone, titles, machine, progress):
                if isinstance(found, Failure) or found.result.id not in told:
                    yield found


def _studies(drawn: Sequence[Wanted]) -> list[_Batch]:
    """Return the draws of shares as studies; those of the same shares go together."""
    shares: dict[str, tuple[RunConfig, list[Settings]]] = {}
    for one in drawn:
        config = _without_share(one.config)
        shares.setdefault(key_of(config), (config, []))[1].append(one.config.task_options)
    batches: dict[str, _Batch] = {}
    for config, options in shares.values():
        asked = _Batch(
            configs=(config,),
            fractions=_values("fraction", options),
            shots=_values("shots", options),
            draws=1 + max(own["draw"] for own in options),
        )
        shared = key_of(replace(config, probe="", probe_options={}))
        key = repr((shared, asked.fractions, asked.shots, asked.draws))
        there = batches[key].configs if key in batches else ()
        batches[key] = replace(asked, configs=(*there, config))
    return list(batches.values())


def _values(name: str, options: Sequence[Settings]) -> tuple[Any, ...]:
    return tuple(sorted({own[name] for own in options if own.get(name) is not None}))


def _without_share(config: RunConfig) -> RunConfig:
    left = {*SHARES, "draw"}
    options = {key: value for key, value in config.task_options.items() if key not in left}
    return replace(config, task_options=options)
