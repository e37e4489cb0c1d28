"""Sections of a table: neighbouring columns that measure one task, and what is said above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.table import METRICS, Head, Table


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
    sentences = [
        *table.remarks,
        "Bold: best of its column. Another protocol, list of samples or share of the labels does"
        " not compete, nor does a record that is not complete.",
    ]
    if any(row.kind == "floor" for row in table.rows):
        sentences.append("Floors are encoders with random weights, or raw pixels.")
    if table.hidden:
        sentences.append(f"Not shown: {table.hidden} not reportable.")
    return sentences


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
