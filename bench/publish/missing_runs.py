"""The runs that a board needs of an encoder, and which of them are already on record."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import registry
from bench.config import TABLES, Machine, RunConfig, expand
from bench.errors import UsageError
from bench.preflight.settle import settled
from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record import Record
from bench.records.run_id import FILE_PLACES, PLACES, config_facts
from bench.types import ClipPlan

SHARES = ("fraction", "shots")
FLAGS = ("encoder", "task", "probe", "protocol", "plan")


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run that columns with these titles show; `is_drawn`: one of several draws of labels."""

    columns: tuple[str, ...]
    config: RunConfig
    is_drawn: bool


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that failed, and why."""

    columns: tuple[str, ...]
    encoder: str
    reason: str


def why_not_here(column: Column) -> str | None:
    """Return why a column cannot be measured here, or None if it can."""
    for kind, name in (("tasks", column.task), ("probes", column.probe)):
        if name not in registry.names(kind):
            return f"there is no {kind[:-1]} {name!r} here"
    return None


def plan_runs(
    board: Leaderboard,
    encoders: Sequence[str],
    settings: Sequence[str],
    machine: Machine,
    *,
    draws: int = 3,
    frames: Mapping[str, int] | None = None,
) -> tuple[list[PlannedRun], list[Failure]]:
    """Return the runs that the columns of a board need, and those that cannot be configured.

    A column with a share of the labels needs `draws` runs. `frames` maps encoders, as written in
    configurations, to frames per clip; by default the column's number is used. Columns that cannot
    be measured here need no run.

    Raises:
        UsageError: a board without its own columns, fewer draws than one, or settings that conflict
            with the columns or fit none of the runs.
    """
    if not board.columns:
        raise UsageError(
            f"board {board.name!r} has no columns of its own, it shows what is on record: use bench"
            " run or bench lowshot."
        )
    if draws < 1:
        raise UsageError(f"draws = {draws}: it must be at least 1.")
    columns = [column for column in board.columns if why_not_here(column) is None]
    if not columns:
        return [], []
    _refuse_settings(board.name, columns, settings)
    named = {"encoder": [*encoders], "task": [c.task for c in columns]}
    bases = expand({**named, "probe": [c.probe for c in columns]}, settings)
    found: dict[str, PlannedRun] = {}
    failures: list[Failure] = []
    for encoder in dict.fromkeys(base.encoder for base in bases):
        for column in columns:
            [base] = [
                base
                for base in bases
                if (base.encoder, base.task, base.probe) == (encoder, column.task, column.probe)
            ]
            try:
                configs = [
                    _with_frames(settled(config, machine), frames or {})
                    for config in _configs(column, base, draws)
                ]
            except UsageError as error:
                failures.append(
                    Failure(columns=(column.title,), encoder=encoder, reason=str(error))
                )
                continue
            for config in configs:
                key = key_of(config)
                titles = found[key].columns if key in found else ()
                found[key] = PlannedRun(
                    columns=(*titles, column.title), config=config, is_drawn=_is_drawn(column)
                )
    return list(found.values()), failures


def missing(
    planned: Sequence[PlannedRun],
    records: Iterable[Record],
    *,
    weights: Mapping[str, str] | None = None,
    any_seed: bool = True,
) -> list[PlannedRun]:
    """Return the runs that are not on record, with any seed if `any_seed`.

    `weights` maps encoders, as written in configurations, to weight digests (empty for encoders
    without weights); without it, encoders are compared by name and options.
    """
    known = weights is not None
    on_record = {
        _identity(r.config, (r.encoder.weights_sha256 or "") if known else None, any_seed)
        for r in records
    }
    return [
        one
        for one in planned
        if _identity(
            config_facts(one.config), weights[one.config.encoder] if weights else None, any_seed
        )
        not in on_record
    ]


def command(config: RunConfig, more: Sequence[str] = ()) -> str:
    """Return the command line of a run, with `more` words such as `--data DIR`."""
    words = ["bench", "run"]
    for name in FLAGS:
        value = getattr(config, name)
        words += [f"--{name}", str(value)] if value is not None else []
    for field in dataclasses.fields(RunConfig):
        value = getattr(config, field.name)
        if field.name not in (*FLAGS, *TABLES.values()) and value != field.default:
            words += ["--set", f"{field.name}={_setting_text(value)}"]
    for kind, table in TABLES.items():
        for key, value in getattr(config, table).items():
            words += ["--set", f"{kind}.{key}={_setting_text(value)}"]
    return shlex.join([*words, *more])


def key_of(config: RunConfig) -> str:
    """Return a key that equal runs share."""
    return json.dumps(config_facts(config), sort_keys=True)


def _refuse_settings(board: str, columns: Sequence[Column], settings: Sequence[str]) -> None:
    """Refuse settings that the columns of a board already determine."""
    is_known = board in registry.names("boards")
    options = registry.find("boards", board).options if is_known else ()
    for key in [setting.partition("=")[0].strip() for setting in settings]:
        option = key.rpartition(".")[2]
        if key.startswith("task.") and option in (*SHARES, "draw", "subset"):
            raise UsageError(
                f"--set {key}: the columns of board {board!r} determine the share of the labels;"
                " leave it out, and use --draws."
            )
        if key in ("protocol", "plan") and any(getattr(column, key) for column in columns):
            hint = f" or give the board one with --set board.{key}=NAME" * (key in options)
            raise UsageError(
                f"--set {key}: the columns of board {board!r} have their own {key}; leave it"
                f" out{hint}."
            )


def _configs(column: Column, base: RunConfig, draws: int) -> list[RunConfig]:
    """Return the runs that a column needs: one, or one per draw."""
    config = replace(
        base,
        protocol=column.protocol or base.protocol,
        # For a plan without a stride the task's plan is used.
        plan=column.plan if column.plan and "@" in column.plan else base.plan,
        task_options={**base.task_options, **column.task_options},
        probe_options={**base.probe_options, **column.probe_options},
    )
    if not _is_drawn(column):
        return [config]
    return [
        replace(config, task_options={**config.task_options, "draw": draw}) for draw in range(draws)
    ]


def _is_drawn(column: Column) -> bool:
    """Whether a column shows a share of the labels without fixing the draw."""
    options = column.task_options
    return "draw" not in options and any(options.get(key) not in (None, 1.0) for key in SHARES)


def _with_frames(config: RunConfig, frames: Mapping[str, int]) -> RunConfig:
    if config.plan is None or config.encoder not in frames:
        return config
    plan = replace(ClipPlan.parse(config.plan), num_frames=frames[config.encoder])
    return replace(config, plan=str(plan))


def _identity(config: Mapping[str, Any], weights: str | None, any_seed: bool) -> str:
    """Return a key of a run without paths; with a weight digest also without the weights' path."""
    facts: dict[str, Any] = {**DEFAULTS, **config}
    options, places = facts["task_options"], (*PLACES, *FILE_PLACES)
    facts["task_options"] = {key: options[key] for key in options if key not in places}
    if weights is not None:
        facts["encoder"] = [str(facts["encoder"]).partition(":")[0], weights]
    if any_seed:
        del facts["seed"]
    return json.dumps(facts, sort_keys=True)


def _setting_text(value: Any) -> str:
    """Write an option so that `--set` can parse it."""
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(_setting_text, value))}]"
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


# Options that are newer than a record have their defaults in it.
DEFAULTS = config_facts(RunConfig(encoder="", task="", probe=""))
