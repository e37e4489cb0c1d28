"""Encoder families side by side: size, input and speed before the numbers of one probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.files import write_whole
from bench.registry import board
from bench.result import Result
from bench.types import Column, Leaderboard
from leaderboards.encoder_facts import TITLES, facts_of_encoder, speed_note
from leaderboards.join import identity_of, join
from leaderboards.page import html_page
from leaderboards.render import csv_text, name_text, number_text, padded_line, suffix, superscript
from leaderboards.sections import legend, sections
from leaderboards.table import Table

TASKS = {
    "moving_digits_what": "what",
    "moving_digits_how": "how",
    "moving_digits_stills": "stills",
    "moving_digits_ava": "boxes",
}


@board
def frozen_encoders(*, probe: str = "attentive") -> Leaderboard:
    """Encoder families: parameters, input, clips a second, and the moving digits by one probe.

    `probe` is the one whose numbers are shown.
    """
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
        write=write,
    )


def write(
    board: Leaderboard,
    records: Sequence[Result],
    folder: Path,
    *,
    include_unreportable: bool = False,
) -> list[Path]:
    """Write `NAME.md`, `NAME.csv` and `NAME.html` with what encoders are and return their paths.

    A column without any record is left out, unless there is none at all.
    """
    table = with_facts(board, records, include_unreportable=include_unreportable)
    texts = {"md": markdown(table), "csv": csv_text(table), "html": html_page(table)}
    paths = [folder / f"{board.name}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_whole(path, text.encode())
    return paths


def with_facts(
    board: Leaderboard, records: Sequence[Result], *, include_unreportable: bool = False
) -> Table:
    """Return the table of a board with the facts of `encoder_facts` on every encoder."""
    make = partial(join, records=records, include_unreportable=include_unreportable)
    table = make(board)
    used = [head.column for head in table.heads if head.reference]
    table = make(replace(board, columns=used)) if used else table
    by_encoder: dict[tuple[str, str], list[Result]] = {}
    for record in records:
        by_encoder.setdefault(identity_of(record), []).append(record)
    rows = tuple(
        replace(row, facts=facts_of_encoder(by_encoder[identity_of(row.record)], row.record))
        if row.record
        else replace(row, facts=facts_of_encoder([], None))
        for row in table.rows
    )
    remarks = speed_note(row.record for row in rows if row.record)
    return replace(table, rows=rows, facts=TITLES, remarks=tuple(remarks))


def markdown(table: Table) -> str:
    """Return one table of all encoders, and below it what every column measures."""
    if not any(row.record for row in table.rows):
        return f"# {table.title}\n\nNo records yet.\n"
    header = ["encoder", *table.facts, *(head.column.title for head in table.heads)]
    columns = range(len(table.heads))
    marked = [max(len(suffix(row.cells[i])) for row in table.rows) for i in columns]
    body: list[list[str]] = []
    for row in table.rows:
        numbers = [number_text(c, room) for c, room in zip(row.cells, marked, strict=True)]
        body.append([name_text(row), *(fact.text for fact in row.facts), *numbers])
    first_floor = sum(row.kind == "encoder" for row in table.rows)
    body.insert(first_floor, ["*floors*", *("" for _ in header[1:])])
    widths = [max(3, *(len(line[i]) for line in [header, *body])) for i in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [f"# {table.title}", "", *(padded_line(x, widths) for x in [header, rule, *body]), ""]
    for section in sections(table):
        for i in section.columns:
            column = table.heads[i].column
            lines.append(f"{column.title}: {section.title} · {column.probe} · {section.facts}  ")
    lines += ["", *(f"{superscript(i)} {note}  " for i, note in enumerate(table.notes, start=1))]
    return "\n".join([*lines, *(f"{sentence}  " for sentence in legend(table))]) + "\n"
