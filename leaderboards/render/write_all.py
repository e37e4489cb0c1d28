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
from leaderboards.render.latex import latex_text
from leaderboards.render.markdown import markdown
from leaderboards.render.page import html_page
from leaderboards.rows.join import join
from leaderboards.rows.table import Table

# Makes the table of a board from its records, those that are not reportable if asked for.
Make = Callable[..., Table]


def write(
    board: Leaderboard,
    records: Sequence[Record],
    folder: Path,
    *,
    include_unreportable: bool = False,
    make: Make = join,
) -> list[Path]:
    """Join the records and write the files of `write_table`; return their paths.

    Every record given is shown, one that is not reportable with a mark, unless it is asked to
    leave those out; the caller chooses what a table is made of. A board of another layout has a
    `make` of its own.
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

    `kept` is the folder of the records' files, for what a page tells of single classes, and
    `records` what the table was made from, for its curves.
    """
    texts = {
        "md": markdown(table),
        "csv": csv_text(table),
        "tex": latex_text(table),
        "json": json_text(table),
        "html": html_page(table, kept=kept, records=records),
    }
    return write_files({folder / f"{table.name}.{kind}": t.encode() for kind, t in texts.items()})


def write_files(files: Mapping[Path, bytes]) -> list[Path]:
    """Write files and return their paths; one without content goes, should it be there."""
    for path, content in files.items():
        if content:
            write_whole(path, content)
        else:
            path.unlink(missing_ok=True)
    return [path for path, content in files.items() if content]
