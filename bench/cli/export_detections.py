"""The command that gives the predictions of a record to other evaluators: `bench detections`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli.board import Home
from bench.errors import UsageError
from bench.records.find import record_file


def detections(
    record: Annotated[str, typer.Argument(help="The file of a record, or its id.")],
    home: Home = None,
) -> None:
    """Print the scores of a run on boxes as a CSV that evaluators of AVA read.

    A line is video,second,x1,y1,x2,y2,action,score, with a score for every evaluated class of a
    box; boxes that could not be read have no lines. `bench score ava` gives the same number.
    """
    from bench.records.box_predictions import detection_lines, read_scored_boxes  # pyarrow
    from bench.records.record_files import kept_file, read_record

    path = record_file(record, home)
    result = read_record(path)
    if result.task.unit != "box":
        raise UsageError(
            f"record {result.id} is of {result.task.name}, whose rows are no boxes; its predictions"
            f" are in {result.artifacts.predictions and result.artifacts.predictions.path}."
        )
    for text in detection_lines(read_scored_boxes(kept_file(result, "predictions", path.parent))):
        sys.stdout.write(text)
