"""A table as CSV: one line per row, numbers in percent."""

from __future__ import annotations

import csv
import io
from collections import Counter

from bench.files import csv_cell
from leaderboards.rows.table import Table, TableCell

MEASURED = ("low", "high", "seeds", "std", "place", "place_to")
PUBLISHED = ("published", "published_std", "difference")


def csv_text(table: Table) -> str:
    """Return one line per row: kind, encoder, weights, facts, numbers, notes.

    The number of a column is under its label, followed by `LABEL:low` etc.: the ends of its
    interval, the number of `seeds` (or draws) it averages with their `std` (ddof 1), the best
    `place` and the worst (`place_to`) that the data allow and, in tables with published numbers,
    the `published` one with its spread and the `difference` from it. Columns that show how heads
    were chosen have only seeds and std.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    labels = unique_labels(table)
    has_published = any(cell.published for row in table.rows for cell in row.cells)
    keys = [
        (MEASURED if head.column.shows == "metric" else ("seeds", "std"))
        + (PUBLISHED if has_published else ())
        for head in table.heads
    ]
    named = [
        name
        for label, column_keys in zip(labels, keys, strict=True)
        for name in (label, *(f"{label}:{key}" for key in column_keys))
    ]
    titles = ["kind", "encoder", "weights_sha256", *table.facts, *named, "notes"]
    writer.writerow(map(csv_cell, titles))
    for row in table.rows:
        weights = row.record.encoder.weights_sha256 if row.record else None
        values = []
        for cell, column_keys in zip(row.cells, keys, strict=True):
            fields = _fields(cell)
            values += [_percent(cell.value), *(fields[key] for key in column_keys)]
        notes = [
            f"{label}: {table.notes[number - 1]}"
            for label, cell in zip(labels, row.cells, strict=True)
            for number in cell.notes
        ]
        facts = [fact.plain for fact in row.facts]
        line = [row.kind, row.name, weights or "", *facts, *values, " | ".join(notes)]
        writer.writerow(map(csv_cell, line))
    return out.getvalue()


def unique_labels(table: Table) -> list[str]:
    """Return the labels of the columns, with titles and then numbers added to duplicates."""
    counts = Counter(head.label for head in table.heads)
    labels = [
        head.label if counts[head.label] == 1 else f"{head.label}:{head.column.title}"
        for head in table.heads
    ]
    counts = Counter(labels)
    return [
        label if counts[label] == 1 else f"{label}:{place}"
        for place, label in enumerate(labels, start=1)
    ]


def _fields(cell: TableCell) -> dict[str, float | int | str]:
    interval, seeds, published = cell.interval, cell.seeds, cell.published
    return {
        "low": _percent(interval.low if interval else None),
        "high": _percent(interval.high if interval else None),
        "seeds": seeds.count if seeds else "",
        "std": _percent(seeds.std if seeds else None),
        "place": cell.rank[0] if cell.rank else "",
        "place_to": cell.rank[1] if cell.rank else "",
        "published": published.value if published else "",
        "published_std": published.std if published and published.std is not None else "",
        "difference": _percent(cell.difference),
    }


def _percent(value: float | None) -> float | str:
    return "" if value is None else round(100 * value, 6)
