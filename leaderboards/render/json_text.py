"""A table as JSON: everything that a page shows, for programs.

Numbers are fractions; published ones are in percent, as papers print them. `notes` of a cell count
from 1, as footnotes do.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from bench.records.record import Result
from bench.records.run_id import plain
from leaderboards.render.csv_text import unique_labels
from leaderboards.rows.provenance import facts_of
from leaderboards.rows.sections import legend, sections
from leaderboards.rows.table import Cell, Row, Table


def json_text(table: Table) -> str:
    """Return the table; cells are in the order of `columns`, their records by id in `records`."""
    shown = {cell.record.id: cell.record for row in table.rows for cell in row.cells if cell.record}
    fields = {
        "name": table.name,
        "title": table.title,
        "facts": list(table.facts),
        "sections": [
            {"title": s.title, "facts": s.facts, "columns": list(s.columns)}
            for s in sections(table)
        ],
        "columns": _columns(table),
        "rows": [_row(row) for row in table.rows],
        "notes": list(table.notes),
        "legend": legend(table),
        "hidden": table.hidden,
        "refused": list(table.refused),
        "records": {key: _record(record) for key, record in sorted(shown.items())},
    }
    return dumped(fields)


def dumped(fields: dict[str, Any]) -> str:
    """Return fields as the text of a file, in the order given."""
    return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _columns(table: Table) -> list[dict[str, Any]]:
    labels = unique_labels(table)
    return [
        {
            "label": label,
            **plain(dataclasses.asdict(head.column)),
            "protocol": head.protocol,
            "reference": head.reference.id if head.reference else None,
        }
        for label, head in zip(labels, table.heads, strict=True)
    ]


def _row(row: Row) -> dict[str, Any]:
    encoder = row.record.encoder if row.record else None
    return {
        "kind": row.kind,
        "name": row.name,
        "encoder": encoder.spec if encoder else None,
        "weights_sha256": encoder.weights_sha256 if encoder else None,
        "num_parameters": encoder.num_parameters if encoder else None,
        "facts": [dataclasses.asdict(fact) for fact in row.facts],
        "cells": [_cell(cell) for cell in row.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    seeds = cell.seeds
    return {
        "value": cell.value,
        "is_best": cell.is_best,
        "notes": list(cell.notes),
        "record": cell.record.id if cell.record else None,
        "others": cell.others,
        "interval": dataclasses.asdict(cell.interval) if cell.interval else None,
        "seeds": {
            "over": seeds.over,
            "mean": seeds.mean,
            "std": seeds.std,
            "values": {str(key): value for key, value in sorted(seeds.values.items())},
        }
        if seeds
        else None,
        "places": list(cell.rank) if cell.rank else None,
        "published": dataclasses.asdict(cell.published) if cell.published else None,
        "published_is_best": cell.published_is_best,
        "difference": cell.difference,
    }


def _record(record: Result) -> dict[str, Any]:
    optimism = record.optimism
    return {
        "created": record.created,
        "status": record.status,
        "task": record.task.name,
        "probe": record.probe.name,
        "protocol": record.protocol.name,
        "metric": record.task.metric,
        "value": record.headline,
        "scored": record.metrics.scored,
        "expected": record.metrics.expected,
        "optimism": {**dataclasses.asdict(optimism), "gap": optimism.gap} if optimism else None,
        "facts": facts_of(record),
    }
