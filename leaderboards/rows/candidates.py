"""The records that each column of a table may show, and their numbers there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.publish.leaderboard import Column
from bench.records.record import Record
from bench.records.run_id import plain

SHARE_OPTIONS = ("fraction", "shots", "draw", "subset_sha256")


def candidates(
    column: Column, columns: Sequence[Column], records: Iterable[Record]
) -> list[Record]:
    """Return the records that a column may show, except those that another column is meant for:
    one with the record's protocol, or one that names a plan or options this column leaves open.
    """
    same = [c for c in columns if (c.task, c.probe) == (column.task, column.probe)]
    elsewhere = {c.protocol for c in same if _asked(c) == _asked(column)} - {column.protocol}
    closer = [c for c in same if _asked(c).items() > _asked(column).items()]
    return [
        record
        for record in records
        if fits(column, record)
        and record.protocol.name not in elsewhere
        and not any(fits(c, record) for c in closer)
    ]


def fits(column: Column, record: Record) -> bool:
    """Whether a record has a column's task and probe, and the plan and options that it names.

    Another protocol fits, with a footnote, and so does another number of frames per clip, which
    depends on the encoder (`plan_note`).
    """
    if (record.task.name, record.probe.name) != (column.task, column.probe):
        return False
    if column.shows != "metric" and record.optimism is None:
        return False
    if column.plan is not None and not _is_of_plan(column.plan, record):
        return False
    tasks = ((value, _task_option(record, key)) for key, value in column.task_options.items())
    probes = ((value, _probe_option(record, key)) for key, value in column.probe_options.items())
    return all(plain(value) == actual for value, actual in (*tasks, *probes))


def shown_value(column: Column, record: Record) -> float | None:
    """Return the number that a column shows of a record; None if the record has none."""
    if column.shows == "metric":
        return record.value(column.metric)
    optimism = record.optimism
    if optimism is None:
        return None
    numbers = {"honest": optimism.honest, "best_on_score": optimism.best, "gap": optimism.gap}
    return numbers[column.shows]


def plan_note(column: Column, record: Record) -> str:
    """Return a note if clips have another number of frames than in the plan of the column."""
    if column.plan is None:
        return ""
    actual, usual = (int(plan.partition("x")[0]) for plan in (record.plan.score, column.plan))
    return "" if actual == usual else f"clips of {actual} frames; the column uses {usual}"


def names_a_share(column: Column) -> bool:
    """Whether a column is for a share of the training labels."""
    return any(key in column.task_options for key in SHARE_OPTIONS)


def _asked(column: Column) -> dict[str, str]:
    """Return what a column asks for besides task, probe and protocol, each as text."""
    asked = {"plan": str(column.plan)} if column.plan is not None else {}
    for part, options in (("task", column.task_options), ("probe", column.probe_options)):
        asked |= {f"{part}.{key}": repr(plain(value)) for key, value in options.items()}
    return asked


def _is_of_plan(wanted: str, record: Record) -> bool:
    """Compare clips and views, and the stride if `wanted` has one."""
    clips, at, stride = wanted.partition("@")
    own_clips, _, own_stride = record.plan.score.partition("@")
    same = clips.split("x")[1:] == own_clips.split("x")[1:]
    return same and (not at or stride == own_stride)


def _task_option(record: Record, key: str) -> Any:
    """Return a task option of a run; its share of the labels is always recorded."""
    if key in SHARE_OPTIONS and record.train_labels is not None:
        return getattr(record.train_labels, key)
    return record.task.options.get(key)


def _probe_option(record: Record, key: str) -> Any:
    """Return a probe option as requested, else the setting that the probe used."""
    asked = record.config.get("probe_options")
    if isinstance(asked, dict) and key in asked:
        return asked[key]
    return record.probe.settings.get(key)
