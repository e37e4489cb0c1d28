"""One self-contained HTML page for a table: sorting, filters, figures, and a drawer with the
provenance of each number.

Without a script everything is readable too: the drawers are a collapsible list at the end.
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
    "Encoders are frozen; a probe is trained on their features. Numbers in percent. Click a column"
    " heading to sort, or a number to see its provenance."
)
DETAILS_LIMIT = 300  # records with results per class in the page


def html_page(
    table: Table,
    *,
    kept: Path | None = None,
    records: Sequence[Record] = (),
    limit: int = DETAILS_LIMIT,
) -> str:
    """Return the page as text; it loads nothing from anywhere.

    `kept` is the folder with the predictions of the records; the page has the results per class of
    the first `limit` ones, and none without `kept`. `records` are those that the table was made
    of, for speeds and low-shot curves. The same arguments give the same text.
    """
    if not table.heads:
        return filled_page({"title": escape(table.title), "lead": "No records yet."})
    shown = shown_records(table)
    details, failed = details_of(shown, kept, limit) if kept else ({}, [])
    sentences = [*_key(table), *legend(table), *_limits(len(shown), len(details), failed)]
    entries = entries_markup(table)
    data = f'<script type="application/json" id="classes">{compact_json(details)}</script>'
    return filled_page(
        {
            "title": escape(table.title),
            "lead": escape("No records yet." if is_empty(table) else LEAD),
            "controls": controls_markup(table),
            "table": table_markup(table),
            "notes": listed_notes(table.notes),
            "legend": listed_legend(sentences),
            "figures": figures_markup(table, sorted(records, key=age)),
            "records": records_section(entries) if entries else "",
            "data": data,
        }
    )


def _key(table: Table) -> list[str]:
    cells = [cell for row in table.rows for cell in row.cells]
    bar = "Bar: the number on a scale of 0 to 100, fading over the interval; the tick is chance."
    green = (
        "Green: the best, and those not significantly different from it. Sorted by another column,"
        " the table shows the places in that column."
    )
    has_bar, has_green = any(c.record for c in cells), any(c.rank for c in cells)
    return [bar] * has_bar + [green] * has_green


def _limits(shown: int, detailed: int, failed: Sequence[str]) -> list[str]:
    sentences, tried = [], detailed + len(failed)
    if shown > ENTRIES_LIMIT:
        sentences.append(
            f"All facts are shown for the first {ENTRIES_LIMIT:,} of {shown:,} records; see the"
            " files of the others."
        )
    if 0 < tried < shown:
        sentences.append(f"Results per class: first {tried:,} of {shown:,} records only.")
    elif shown and not tried:
        sentences.append("No results per class: the page was made without stored predictions.")
    return sentences + [f"No results per class: {reason}" for reason in failed]
