"""A table as JSON: everything that a page shows, for programs.

Numbers are fractions; published ones are in percent, as printed. `notes` of a cell are footnote
numbers, from 1.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from bench.records.record import Record
from bench.records.run_id import plain
from leaderboards.render.csv_text import unique_labels
from leaderboards.rows.provenance import facts_of
from leaderboards.rows.sections import legend, sections
from leaderboards.rows.table import Table, TableCell, TableRow


def json_text(table: Table) -> str:
    """Return the table; cells are in the order of `columns`, `records` has theirs by id."""
    shown = {cell.record.id: cell.record for row in table.rows for cell in row.cells if cell.record}
    fields = {
        "name": table.name,
        "title": table.title,
        "facts": table.facts,
        "sections": [
            {"title": s.title, "facts": s.facts, "columns": s.columns} for s in sections(table)
        ],
        "columns": [
            {
                "label": label,
                **plain(dataclasses.asdict(head.column)),
                "protocol": head.protocol,
                "reference": head.reference.id if head.reference else None,
            }
            for label, head in zip(unique_labels(table), table.heads, strict=True)
        ],
        "rows": [_row(row) for row in table.rows],
        "notes": table.notes,
        "legend": legend(table),
        "hidden": table.hidden,
        "refused": table.refused,
        "records": {key: _record(record) for key, record in sorted(shown.items())},
    }
    return dumped(fields)


def dumped(fields: dict[str, Any]) -> str:
    """Return fields as the text of a file, in the given order."""
    return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _row(row: TableRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "name": row.name,
        **encoder_fields(row.record),
        "facts": [dataclasses.asdict(fact) for fact in row.facts],
        "cells": [_cell(cell) for cell in row.cells],
    }


def encoder_fields(record: Record | None) -> dict[str, Any]:
    """Return the encoder of a row; its fields are None in a row that was not measured."""
    encoder = record.encoder if record else None
    return {
        "encoder": encoder.spec if encoder else None,
        "weights_sha256": encoder.weights_sha256 if encoder else None,
        "num_parameters": encoder.num_parameters if encoder else None,
    }


def _cell(cell: TableCell) -> dict[str, Any]:
    seeds = cell.seeds
    return {
        "value": cell.value,
        "is_best": cell.is_best,
        "notes": cell.notes,
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
        "places": cell.rank,
        "published": dataclasses.asdict(cell.published) if cell.published else None,
        "published_is_best": cell.published_is_best,
        "difference": cell.difference,
    }


def _record(record: Record) -> dict[str, Any]:
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
