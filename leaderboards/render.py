"""Write a table as Markdown (aligned, to be read in a terminal), CSV and one HTML page.

The same records give the same bytes: nothing here looks at the clock or the machine.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from bench.result import Result
from bench.types import Leaderboard
from leaderboards.join import join, ordered
from leaderboards.page import html_page
from leaderboards.sections import Section, legend, sections
from leaderboards.table import Cell, Row, Table, percent

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def write(
    board: Leaderboard,
    records: Sequence[Result],
    folder: Path,
    *,
    include_unreportable: bool = False,
) -> list[Path]:
    """Write `NAME.md`, `NAME.csv` and `NAME.html` into `folder` and return their paths.

    Every record given is shown, one that is not reportable with a mark, unless it is asked to
    leave those out; the caller chooses what a table is made of.
    """
    table = join(board, records, include_unreportable=include_unreportable)
    texts = {"md": markdown(table), "csv": csv_text(table), "html": html_page(table)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, text in texts.items():
        path = folder / f"{board.name}.{suffix}"
        path.write_bytes(text.encode())
        paths.append(path)
    return paths


def markdown(table: Table) -> str:
    """Return a table per section, padded so that columns also line up in a terminal."""
    lines = [f"# {table.title}", ""]
    for section in sections(table):
        lines += [f"## {section.title}", "", section.facts, "", *_grid(table, section), ""]
    if not table.heads:
        lines += ["No records yet.", ""]
    lines += [f"{superscript(i)} {note}  " for i, note in enumerate(table.notes, start=1)]
    lines += [""] if table.notes else []
    lines += [f"{sentence}  " for sentence in legend(table)]
    return "\n".join(lines) + "\n"


def csv_text(table: Table) -> str:
    """Return one line per row: kind, encoder, weights, facts, numbers (percent), notes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    labels = [head.label for head in table.heads]
    writer.writerow(["kind", "encoder", "weights_sha256", *table.facts, *labels, "notes"])
    for row in table.rows:
        weights = row.record.encoder.weights_sha256 if row.record else None
        values = ["" if c.value is None else round(100 * c.value, 6) for c in row.cells]
        notes = [
            f"{label}: {table.notes[number - 1]}"
            for label, cell in zip(labels, row.cells, strict=True)
            for number in cell.notes
        ]
        facts = [fact.plain for fact in row.facts]
        writer.writerow([row.kind, row.name, weights or "", *facts, *values, " | ".join(notes)])
    return out.getvalue()


def _grid(table: Table, section: Section) -> list[str]:
    """Return the Markdown table of a section; rows without any number in it are left out."""
    header = ["encoder", *(table.heads[i].column.title for i in section.columns)]
    marked = [max(len(suffix(row.cells[i])) for row in table.rows) for i in section.columns]
    body: list[list[str]] = []
    for kind in ("encoder", "floor", "chance"):
        rows = ordered(table.rows, kind, section.columns[0])
        rows = [row for row in rows if any(row.cells[i].value is not None for i in section.columns)]
        if kind == "floor" and rows:
            body.append(["*floors*", *("" for _ in section.columns)])
        for row in rows:
            cells = [row.cells[i] for i in section.columns]
            aligned = [number_text(c, n) for c, n in zip(cells, marked, strict=True)]
            body.append([name_text(row), *aligned])
    widths = [max(3, *(len(line[i]) for line in [header, *body])) for i in range(len(header))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [padded_line(line, widths) for line in [header, rule, *body]]


def padded_line(texts: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of a Markdown table, the first column to the left, the others to the right."""
    padded = [texts[0].ljust(widths[0]), *map(str.rjust, texts[1:], widths[1:])]
    return f"| {' | '.join(padded)} |"


def name_text(row: Row) -> str:
    """Return the name of a row for Markdown, in italics if it is no encoder."""
    return row.name.replace("|", "\\|") if row.kind == "encoder" else f"*{row.name}*"


def number_text(cell: Cell, width: int = 0) -> str:
    """Return a number as the tables print it: bold if best, footnotes raised, a dash for none.

    What follows the digits is padded to `width`, so that digits stand below digits.
    """
    value = percent(cell.value) or "–"  # noqa: RUF001 (an en dash, as printed tables have it)
    return f"{'**' if cell.is_best else ''}{value}{suffix(cell).ljust(width)}"


def suffix(cell: Cell) -> str:
    """Return what follows the digits of a number: the end of bold print, and its footnotes."""
    marks = ",".join(superscript(number) for number in cell.notes)
    return ("**" if cell.is_best else "") + marks


def superscript(number: int) -> str:
    """Return a number in raised digits."""
    return str(number).translate(SUPERSCRIPTS)
