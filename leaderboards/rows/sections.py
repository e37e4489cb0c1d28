"""Sections of a table: adjacent columns of one task with their heading, and the legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.rows.table import METRICS, Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """Adjacent columns that measure one task under one protocol on one split."""

    columns: tuple[int, ...]
    title: str
    facts: str


def sections(table: Table) -> list[Section]:
    """Split the columns wherever task, protocol or scored samples change."""
    groups: list[list[int]] = []
    measured: tuple[str, str | None] | None = None
    split: tuple[str, str] | None = None
    for i, head in enumerate(table.heads):
        record, last = head.reference, measured
        current = (record.task.score_split, record.data.score.digest) if record else None
        measured = head.column.task, head.protocol
        if measured == last and (split is None or current in (None, split)):
            groups[-1].append(i)
            split = split or current
        else:
            groups.append([i])
            split = current
    return [_section(table, group) for group in groups]


def legend(table: Table) -> list[str]:
    """Return the sentences below a table that apply to all of it."""
    cells = [cell for row in table.rows for cell in row.cells]
    shows = {head.column.shows for head in table.heads}
    methods = ", ".join(sorted({cell.interval.method for cell in cells if cell.interval}))
    over = " or ".join(sorted({cell.seeds.over for cell in cells if cell.seeds}))
    sentences = {
        "Bold: best in its column, among complete records with the column's protocol, list of"
        " samples and share of the labels.": "metric" in shows,
        "Of numbers that share place 1 all are bold, or none if one of them is a floor's.": any(
            cell.rank for cell in cells
        ),
        "Floors are encoders with random weights, or raw pixels.": any(
            row.kind == "floor" for row in table.rows
        ),
        f"±: the wider side of the 95 % interval over the scored rows ({methods}).": methods,
        f"{over} ±: the number is the mean over {over} and ± their standard deviation (ddof = 1),"
        " not the interval.": over,
        "#: the places in the first column of numbers that the scored rows allow; encoders that"
        " share a place are not significantly different (paired tests of all pairs, Holm at 5 %)."
        "": any(cell.rank for cell in cells),
        "gap: how many points choosing the head on the scored rows themselves (best) would add over"
        " choosing it on held-out training rows (honest), both from the same fits.": shows
        & {"gap", "best_on_score", "honest"},
        "†: as printed in a paper, not measured here.": any(cell.published for cell in cells),
        "± after †: the spread as printed in the paper.": any(
            cell.published and cell.published.std is not None for cell in cells
        ),
        "In parentheses: the published number, and the measured minus the published one.": any(
            cell.difference is not None for cell in cells
        ),
    }
    applying = [sentence for sentence, applies in sentences.items() if applies]
    return [*table.remarks, *applying, *kept_out(table.hidden, table.refused)]


def kept_out(hidden: int, refused: Sequence[str]) -> list[str]:
    """Return a sentence on the `hidden` records, and one per record that was refused."""
    not_shown = [f"Not shown: {hidden} not reportable (--all shows them)."] * bool(hidden)
    return [*not_shown, *(f"Refused: {reason.rstrip('.')}." for reason in refused)]


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
