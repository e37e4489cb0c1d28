"""Sections of a table: neighbouring columns that measure one task, and what is said above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.rows.table import METRICS, Head, Table

LEGEND = {
    "best": "Bold: best of its column. Another protocol, list of samples or share of the labels"
    " does not compete, nor does a record that is not complete.",
    "floors": "Floors are encoders with random weights, or raw pixels.",
    "interval": "±: the wider side of the 95 % interval that the number of scored rows leaves open"
    " ({methods}).",
    "seeds": "{over} ±: the number is the mean over them, and this their standard deviation"
    " (ddof = 1), which is another thing than the interval.",
    "places": "#: the places in the first column of numbers that the scored rows leave open: those"
    " who share one cannot be told apart (paired tests of all pairs, Holm at 5 %).",
    "selection": "gap: what choosing the head on the scored rows themselves (best) would add to the"
    " one that was chosen on held-out training rows (honest), both of the same fits, in points.",
    "published": "†: as a paper prints it, not measured here.",
    "spread": "± behind † is the spread as the paper prints it.",
    "difference": "In brackets: the published number, and the measured one less the published.",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """Neighbouring columns that measure one task under one protocol on one split."""

    columns: tuple[int, ...]
    title: str
    facts: str


def sections(table: Table) -> list[Section]:
    """Cut the columns where task, protocol or scored samples change."""
    groups: list[list[int]] = []
    for i, head in enumerate(table.heads):
        if groups and _go_together([table.heads[j] for j in groups[-1]], head):
            groups[-1].append(i)
        else:
            groups.append([i])
    return [_section(table, group) for group in groups]


def legend(table: Table) -> list[str]:
    """Return the sentences below a table that hold for all of it."""
    cells = [cell for row in table.rows for cell in row.cells]
    shows = {head.column.shows for head in table.heads}
    told = {
        "best": "metric" in shows,
        "floors": any(row.kind == "floor" for row in table.rows),
        "interval": any(cell.interval for cell in cells),
        "seeds": any(cell.seeds for cell in cells),
        "places": any(cell.rank for cell in cells),
        "selection": bool(shows & {"gap", "best_on_score", "honest"}),
        "published": any(cell.published for cell in cells),
        "spread": any(cell.published and cell.published.std is not None for cell in cells),
        "difference": any(cell.difference is not None for cell in cells),
    }
    words = {
        "methods": ", ".join(sorted({cell.interval.method for cell in cells if cell.interval})),
        "over": " or ".join(sorted({cell.seeds.over for cell in cells if cell.seeds})),
    }
    said = [sentence.format(**words) for key, sentence in LEGEND.items() if told[key]]
    sentences = [*table.remarks, *said]
    return [*sentences, *kept_out(table)]


def kept_out(table: Table) -> list[str]:
    """Return a sentence on records that are not shown, and one for each that was refused."""
    hidden = [f"Not shown: {table.hidden} not reportable."] if table.hidden else []
    return [*hidden, *(refusal(sentence) for sentence in table.refused)]


def refusal(sentence: str) -> str:
    """Return what a table says of a record that verification kept out."""
    return f"Refused: {sentence.rstrip('.')}."


def _go_together(group: Sequence[Head], head: Head) -> bool:
    first = group[0]
    if (first.column.task, first.protocol) != (head.column.task, head.protocol):
        return False
    splits = {_split(h) for h in [*group, head] if h.reference}
    return len(splits) < 2


def _split(head: Head) -> tuple[str, str]:
    assert head.reference
    return head.reference.task.score_split, head.reference.data.score.digest


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
