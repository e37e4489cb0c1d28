"""The command that exports the predictions of a record to other evaluators: `bench detections`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bench.cli.options import Home
from bench.errors import UsageError
from bench.records.find import record_file


def detections(
    record: Annotated[str, typer.Argument(help="The file of a record, or its id.")],
    home: Home = None,
) -> None:
    """Print the scores of a run on boxes as a CSV for AVA evaluators.

    Lines are video,second,x1,y1,x2,y2,action,score, one per box and evaluated class; boxes that
    could not be read have none. `bench score ava` gives the same number.
    """
    from bench.records.box_predictions import detection_lines, read_scored_boxes  # pyarrow
    from bench.records.record_files import kept_file, read_record

    path = record_file(record, home)
    loaded = read_record(path)
    if loaded.task.unit != "box":
        file = loaded.artifacts.predictions and loaded.artifacts.predictions.path
        raise UsageError(
            f"record {loaded.id} is of {loaded.task.name}, whose rows are not boxes; its"
            f" predictions are in {file}."
        )
    for text in detection_lines(read_scored_boxes(kept_file(loaded, "predictions", path.parent))):
        sys.stdout.write(text)
