"""Sections of a table: neighbouring columns that measure one task, and what is said above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.rows.table import METRICS, Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """Neighbouring columns that measure one task under one protocol on one split."""

    columns: tuple[int, ...]
    title: str
    facts: str


def sections(table: Table) -> list[Section]:
    """Cut the columns where task, protocol or scored samples change."""
    groups: list[list[int]] = []
    measured: tuple[str, str | None] | None = None
    split: tuple[str, str] | None = None
    for i, head in enumerate(table.heads):
        record, last = head.reference, measured
        own = (record.task.score_split, record.data.score.digest) if record else None
        measured = head.column.task, head.protocol
        if measured == last and (split is None or own in (None, split)):
            groups[-1].append(i)
            split = split or own
        else:
            groups.append([i])
            split = own
    return [_section(table, group) for group in groups]


def legend(table: Table) -> list[str]:
    """Return the sentences below a table that hold for all of it."""
    cells = [cell for row in table.rows for cell in row.cells]
    shows = {head.column.shows for head in table.heads}
    methods = ", ".join(sorted({cell.interval.method for cell in cells if cell.interval}))
    over = " or ".join(sorted({cell.seeds.over for cell in cells if cell.seeds}))
    told = {
        "Bold: best of its column. Another protocol, list of samples or share of the labels does"
        " not compete, nor does a record that is not complete.": "metric" in shows,
        "Floors are encoders with random weights, or raw pixels.": any(
            row.kind == "floor" for row in table.rows
        ),
        "±: the wider side of the 95 % interval that the number of scored rows leaves open"
        f" ({methods}).": methods,
        f"{over} ±: the number is the mean over them, and this their standard deviation (ddof = 1),"
        " which is another thing than the interval.": over,
        "#: the places in the first column of numbers that the scored rows leave open: those who"
        " share one cannot be told apart (paired tests of all pairs, Holm at 5 %).": any(
            cell.rank for cell in cells
        ),
        "gap: what choosing the head on the scored rows themselves (best) would add to the one that"
        " was chosen on held-out training rows (honest), both of the same fits, in points.": shows
        & {"gap", "best_on_score", "honest"},
        "†: as a paper prints it, not measured here.": any(cell.published for cell in cells),
        "± behind † is the spread as the paper prints it.": any(
            cell.published and cell.published.std is not None for cell in cells
        ),
        "In brackets: the published number, and the measured one less the published.": any(
            cell.difference is not None for cell in cells
        ),
    }
    said = [sentence for sentence, holds in told.items() if holds]
    return [*table.remarks, *said, *kept_out(table)]


def kept_out(table: Table) -> list[str]:
    """Return a sentence on records that are not shown, and one for each that was refused."""
    hidden = [f"Not shown: {table.hidden} not reportable."] if table.hidden else []
    return [*hidden, *(refusal(sentence) for sentence in table.refused)]


def refusal(sentence: str) -> str:
    """Return what a table says of a record that verification kept out."""
    return f"Refused: {sentence.rstrip('.')}."


def _section(table: Table, columns: Sequence[int]) -> Section:
    heads = [table.heads[i] for i in columns]
    references = [head.reference for head in heads if head.reference]
    metrics = {METRICS[head.column.metric] for head in heads}
    facts = [f"{' and '.join(sorted(metrics))} in %", heads[0].protocol or "any protocol"]
    if not references:
        title = heads[0].column.task
        facts.append("no records yet")
    else:
        record = references[0]
        title = record.task.title
        facts += [
            f"scored on {record.task.score_split}, n = {record.metrics.expected:,}",
            f"{record.task.num_classes:,} classes",
        ]
    return Section(columns=tuple(columns), title=title, facts=" · ".join(facts))
