"""Write a table as Markdown, CSV, LaTeX, JSON and one HTML page.

The same records give the same bytes: nothing here looks at the clock or the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.files import write_whole
from bench.publish.leaderboard import Leaderboard
from bench.records.record import Record
from leaderboards.render.csv_text import csv_text
from leaderboards.render.json_text import json_text
from leaderboards.render.latex import latex_of
from leaderboards.render.markdown import markdown_of
from leaderboards.render.page import html_page
from leaderboards.rows.join import join
from leaderboards.rows.layout import sheet_of
from leaderboards.rows.table import Table

Make = Callable[..., Table]  # like `join`: a board and its records to its table


def write(
    board: Leaderboard,
    records: Sequence[Record],
    folder: Path,
    *,
    include_unreportable: bool = False,
    make: Make = join,
) -> list[Path]:
    """Join the records and write the files of `write_table`; return their paths.

    Records that are not reportable are shown, marked, only if `include_unreportable`. Boards with
    another layout pass their own `make`.
    """
    table = make(board, records, include_unreportable=include_unreportable)
    return write_table(table, folder, kept=board.records, records=records)


def write_table(
    table: Table,
    folder: Path,
    *,
    kept: Path | None = None,
    records: Sequence[Record] = (),
) -> list[Path]:
    """Write a table as `NAME.md`, `.csv`, `.tex`, `.json` and `.html`; return their paths.

    `kept` is the folder of the records' files, for the results per class of a page, and `records`
    what the table was made from, for its curves.
    """
    sheet = sheet_of(table)
    files = {
        "md": markdown_of(sheet),
        "csv": csv_text(table),
        "tex": latex_of(sheet),
        "json": json_text(table),
        "html": html_page(table, kept=kept, records=records),
    }
    return write_files(folder, table.name, files)


def write_files(folder: Path, name: str, contents: Mapping[str, str | bytes]) -> list[Path]:
    """Write a file per suffix and return their paths; a file without content is deleted."""
    paths = []
    for suffix, content in contents.items():
        path = folder / f"{name}.{suffix}"
        if content:
            write_whole(path, content.encode() if isinstance(content, str) else content)
            paths.append(path)
        else:
            path.unlink(missing_ok=True)
    return paths
