"""The commands that score prediction files: `bench score ava`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from bench.cli.console import echo, open_console
from bench.cli.options import Json

if TYPE_CHECKING:
    from bench.metrics.frame_map import FrameMap

app = typer.Typer(help="Score prediction files from anywhere, by the rules of a benchmark.")


@app.command()
def ava(
    gt: Annotated[Path, typer.Option(help="Ground truth, such as ava_val_v2.2.csv.")],
    detections: Annotated[
        Path, typer.Option(help="CSV: video, second, x1, y1, x2, y2, action, score.")
    ],
    label_map: Annotated[
        Path, typer.Option(help="The evaluated classes, such as ava_action_list_v2.2_for_*.pbtxt.")
    ],
    excluded: Annotated[
        Path | None, typer.Option(help="Frames to exclude from both files: video, second.")
    ] = None,
    rules: Annotated[
        str, typer.Option(help="official, slowfast or mmaction2: whose number to print.")
    ] = "official",
    json_: Json = False,
) -> None:
    """Print the frame mAP at IoU 0.5 of detections on AVA, and the AP of every class.

    Three programs give three numbers for one file: the official one keeps the 50 best rows per
    frame, SlowFast's matches in file order, mmaction2's ignores classes without detections. The
    rules behind a number are printed with it.
    """
    from bench.metrics.ava_score import as_json, score_files  # numpy and pyarrow

    score = score_files(
        truth=gt, detections=detections, label_map=label_map, excluded=excluded, rules=rules
    )
    if json_:
        files = {
            "ground_truth": gt,
            "detections": detections,
            "label_map": label_map,
            "excluded": excluded,
        }
        echo(json.dumps(as_json(score, files), indent=1))
        return
    _print(score)


def _print(score: FrameMap) -> None:
    console = open_console()
    classes = Table(box=None)
    classes.add_column("id", justify="right")
    classes.add_column("class", overflow="fold")
    for title in ("AP", "ground truth", "detections"):
        classes.add_column(title, justify="right")
    for one in score.classes:
        ap = "-" if one.ap is None else repr(one.ap)
        classes.add_row(str(one.id), one.name, ap, f"{one.num_truth:,}", f"{one.num_detections:,}")
    console.print(classes)
    rows = Table(box=None)
    rows.add_column("rows")
    for title in ("ground truth", "detections"):
        rows.add_column(title, justify="right")
    for title, name in (
        ("in the file", "rows"),
        ("dropped: excluded frame", "excluded"),
        ("dropped: class not in the label map", "other_classes"),
        ("dropped: frame without ground truth", "frames_without_truth"),
        ("dropped: beyond the best 50 per frame", "beyond_best"),
        ("dropped: no positive width and height", "without_area"),
        ("scored", "scored"),
    ):
        counts = [f"{getattr(fate, name):,}" for fate in (score.truth, score.detections)]
        rows.add_row(title, *counts)
    console.print(rows)
    echo(
        f"{score.num_frames:,} annotated frames, {score.num_silent_frames:,} of them without"
        " scored detections"
    )
    if score.num_wrong_by_frame:
        echo(
            f"{score.num_wrong_by_frame:,} detections on frames without ground truth count as wrong"
        )
    if score.num_clipped:
        echo(f"boxes beyond their frame by rounding, clipped: {score.num_clipped:,}")
    echo(f"mAP@0.5 {score.mean_ap!r} ({score.rules} rules)")
