"""Average records that differ only in the seed, or only in the draw of their training labels.

Their spread is the standard deviation over them, not the interval over the scored rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from bench.compare.comparable import repeat_of
from bench.publish.leaderboard import Column
from bench.records.record import Record
from bench.records.run_id import FILE_PLACES, PLACES, plain
from leaderboards.rows.candidates import shown_value
from leaderboards.rows.notes import measured
from leaderboards.rows.table import Seeds, age

CHANGING = ("seed", "encoder", "task_options")


def repeats(chosen: Record, records: Sequence[Record]) -> dict[int, Record]:
    """Return the records that repeat the chosen one (itself included), by draw or else by seed.

    It is empty if there are fewer than two. All are complete; of two with one seed the newer one
    counts, whatever they score.
    """
    if chosen.status != "complete":
        return {}
    identity = _except_seed(chosen)
    same = [r for r in records if r.status == "complete" and _except_seed(r) == identity]
    same.sort(key=age)
    seed, draw = repeat_of(chosen)
    drawn = {repeat_of(r)[1]: r for r in same if repeat_of(r)[0] == seed}
    seeded = {repeat_of(r)[0]: r for r in same if repeat_of(r)[1] == draw}
    found = drawn if len(drawn) > 1 else seeded
    return dict(sorted(found.items())) if len(found) > 1 else {}


def spread(column: Column, found: Mapping[int, Record]) -> Seeds | None:
    """Return the numbers that a column shows of repeated records; None if fewer than two."""
    values = {key: shown_value(column, record) for key, record in found.items()}
    numbers = {key: value for key, value in values.items() if value is not None}
    if len(numbers) < 2:
        return None
    is_drawn = len({repeat_of(record)[1] for record in found.values()}) > 1
    return Seeds(values=numbers, over="draws" if is_drawn else "seeds")


def _except_seed(record: Record) -> str:
    """Return everything that determines a number except seed and draw, as text."""
    options = record.config.get("task_options")
    ignored = {*PLACES, *FILE_PLACES, "draw"}
    facts = {
        "config": {k: v for k, v in record.config.items() if k not in CHANGING},
        "options": {k: v for k, v in options.items() if k not in ignored}
        if isinstance(options, dict)
        else {},
        "measured": [record.protocol.name, *measured(record)],
        "plan": record.plan.model_dump(),
        "features": [record.features.mode, record.features.dtype, record.features.precision],
        "probe": [record.probe.settings, record.probe.heads, record.probe.released_sha256],
    }
    return json.dumps(plain(facts), sort_keys=True)
