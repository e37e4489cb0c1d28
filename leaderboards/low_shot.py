"""Label efficiency: accuracy against the share of training labels, as in V-JEPA's table 7."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.errors import UsageError
from bench.publish.leaderboard import Leaderboard
from bench.records.record import Record
from bench.registry import board
from leaderboards.render.latex import latex_of
from leaderboards.render.low_shot_figure import pictures, standalone
from leaderboards.render.low_shot_page import html_page
from leaderboards.render.low_shot_text import csv_text, json_text, sheet_of
from leaderboards.render.markdown import markdown_of
from leaderboards.render.write_all import write_files
from leaderboards.rows.low_shot_join import join


@board
def low_shot(*, targets: tuple[float, ...] = ()) -> Leaderboard:
    """Few labels: encoders by fractions and shots, curves, area and labels to reach a target.

    `targets` are accuracies as fractions; without any, up to three that the curves cross.

    Raises:
        UsageError: a target is not a fraction.
    """
    for target in targets:
        if not 0 < target <= 1:
            raise UsageError(f"target {target:g} is not a fraction; give one above 0 and up to 1.")
    return Leaderboard(
        name="low_shot",
        title="Label efficiency",
        columns=(),
        write=partial(write, targets=tuple(sorted(set(targets)))),
    )


def write(
    board: Leaderboard,
    records: Sequence[Record],
    folder: Path,
    *,
    include_unreportable: bool = False,
    targets: Sequence[float] = (),
) -> list[Path]:
    """Write the table as Markdown, CSV, LaTeX, JSON and HTML, and its curves as SVG and PNG.

    Without any low-shot record there are no curves. The same records give the same bytes.
    """
    table = join(
        board.title,
        records,
        targets=targets,
        include_unreportable=include_unreportable,
        refused=board.refused,
    )
    svg, png = pictures(table) if table.panels else ("", b"")
    sheet = sheet_of(table, board.name)
    files: dict[str, str | bytes] = {
        "md": markdown_of(sheet),
        "csv": csv_text(table),
        "tex": latex_of(sheet),
        "json": json_text(table, board.name),
        "html": html_page(table, svg),
        "svg": standalone(svg) if svg else "",
        "png": png,
    }
    return write_files(folder, board.name, files)
