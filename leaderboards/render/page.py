"""One self-contained HTML page for a table: to sort and to filter, with pictures, and with how each
number came about in a drawer.

Without a script it reads as it stands: the drawers are a foldable list at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from bench.records.record import Record
from leaderboards.render.drawer import ENTRIES_LIMIT, entries_markup, records_section, shown_records
from leaderboards.render.figures import figures_markup
from leaderboards.render.markup import filled_page, listed_legend, listed_notes
from leaderboards.render.page_table import controls_markup, table_markup
from leaderboards.rows.class_details import compact_json, details_of
from leaderboards.rows.layout import is_empty
from leaderboards.rows.sections import legend
from leaderboards.rows.table import Table, age

LEAD = (
    "Encoders stay frozen; a probe is trained on their features. Numbers in percent. Choose a"
    " column heading to sort, a number to see how it came about."
)
DETAILS_LIMIT = 300  # records with their classes in the page


def html_page(
    table: Table,
    *,
    kept: Path | None = None,
    records: Sequence[Record] = (),
    limit: int = DETAILS_LIMIT,
) -> str:
    """Return the page as text; it loads nothing from anywhere.

    `kept` is the folder with the predictions of the records, from which the classes of the first
    `limit` ones are told; without it no classes are. `records` are those that the table was made
    of, for speeds and for curves over few labels. The same arguments give the same text.
    """
    if not table.heads:
        return filled_page({"title": escape(table.title), "lead": "No records yet."})
    shown = shown_records(table)
    details, failed = details_of(shown, kept, limit) if kept else ({}, [])
    said = [*_key(table), *legend(table), *_bounds(len(shown), len(details), failed)]
    entries = entries_markup(table)
    data = f'<script type="application/json" id="classes">{compact_json(details)}</script>'
    return filled_page(
        {
            "title": escape(table.title),
            "lead": escape("No records yet." if is_empty(table) else LEAD),
            "controls": controls_markup(table),
            "table": table_markup(table),
            "notes": listed_notes(table.notes),
            "legend": listed_legend(said),
            "figures": figures_markup(table, sorted(records, key=age)),
            "records": records_section(entries) if entries else "",
            "data": data,
        }
    )


def _key(table: Table) -> list[str]:
    """Say what the page shows beyond the printed tables."""
    cells = [cell for row in table.rows for cell in row.cells]
    told = {
        "Bar: the number on a scale of 0 to 100, which fades over the interval; its tick is chance"
        ".": any(cell.record for cell in cells),
        "Green: the best, and those that the scored rows do not tell from it; sorted by another"
        " column, the table shows the places in that one.": any(cell.rank for cell in cells),
    }
    return [sentence for sentence, holds in told.items() if holds]


def _bounds(shown: int, detailed: int, failed: Sequence[str]) -> list[str]:
    """Say what is not in the page."""
    told, tried = [], detailed + len(failed)
    if shown > ENTRIES_LIMIT:
        told.append(
            f"Every fact is told of the first {ENTRIES_LIMIT:,} of {shown:,} records; those of the"
            " others are in their files."
        )
    if 0 < tried < shown:
        told.append(f"Classes are told of the first {tried:,} of {shown:,} records.")
    elif shown and not tried:
        told.append("Classes are not told: the page was made without the kept predictions.")
    return told + [f"Classes are not told: {reason}" for reason in failed]
