"""Encoder families side by side: size, input and computation before the numbers of one probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from bench.publish.leaderboard import Column, Leaderboard
from bench.records.record import Record
from bench.records.speeds import newest_speeds
from bench.registry import board
from leaderboards.render.encoder_facts import SPEED, TITLES, facts_of_encoder, remarks_on_facts
from leaderboards.render.write_all import write
from leaderboards.rows.join import join
from leaderboards.rows.table import Table

TASKS = {
    "moving_digits_what": "what",
    "moving_digits_how": "how",
    "moving_digits_stills": "stills",
    "moving_digits_ava": "boxes",
}


@board
def frozen_encoders(*, probe: str = "attentive") -> Leaderboard:
    """Encoder families: parameters, input, GFLOPs per clip, and moving digits with one `probe`."""
    return Leaderboard(
        name="frozen_encoders",
        title="Frozen encoders",
        columns=[
            Column(
                title=title,
                task=task,
                probe=probe,
                protocol="honest@1",
                metric="mean_ap" if title == "boxes" else "top1",
            )
            for task, title in TASKS.items()
        ],
        write=partial(write, make=with_facts),
    )


def with_facts(
    board: Leaderboard, records: Sequence[Record], *, include_unreportable: bool = False
) -> Table:
    """Return the table of a board with the facts of `encoder_facts` for every encoder."""
    make = partial(join, records=records, include_unreportable=include_unreportable)
    table = make(board)
    used = [head.column for head in table.heads if head.reference]
    table = make(replace(board, columns=used)) if used else table
    speeds = newest_speeds(board.records.parent) if board.records else {}
    rows = [replace(row, facts=facts_of_encoder(row.record, speeds)) for row in table.rows]
    remarks = remarks_on_facts((row.record for row in rows if row.record), speeds)
    facts = (*TITLES, *[SPEED] * bool(speeds))
    return replace(table, rows=tuple(rows), facts=facts, remarks=(*remarks, *table.remarks))
