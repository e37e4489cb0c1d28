"""Records on disk with the predictions that they are of: clips with rows right as told, boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.evaluate.record_parts import metrics_part
from bench.metrics.detections import ScoredBoxes
from bench.records.box_predictions import frame_map_part, write_scored_boxes, write_truth
from bench.records.record import Result
from bench.records.record_files import write_predictions, write_record
from tests.sound_record import box_fields, digest, id_of, sound_fields

CLASSES = tuple(f"class {i}" for i in range(10))


def kept_clips(
    folder: Path,
    right: Sequence[bool],
    *,
    second: Sequence[bool] = (),
    unread: Sequence[int] = (),
    skip: bool = False,
    ids: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
    draw: int = 0,
    plan: str | None = None,
    **changes: Any,
) -> Result:
    """Write a record whose rows are right as told; of wrong ones the label is second or seventh."""
    count = len(right)
    names = list(ids or [f"clip {i:04d}" for i in range(count)])
    truth = np.array(labels if labels is not None else np.arange(count) % 10, dtype=np.int64)
    manifest = Manifest(
        name="clips",
        split="test",
        kind="video",
        ids=names,
        media=[Path(name) for name in names],
        labels=truth,
        classes=CLASSES,
    )
    scores = np.linspace(0.1, 0.01, 10)[(np.arange(10) - truth[:, None]) % 10]
    for row, is_right in enumerate(right):
        if not is_right:  # the next class goes first, or the next six
            ahead = 1 if len(second) and second[row] else 6
            scores[row, (truth[row] + np.arange(1, ahead + 1)) % 10] += 1
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    rows = np.setdiff1d(np.arange(count), unread)
    metrics = metrics_part(scores[rows], manifest, rows, skip=skip)
    fields = sound_fields(
        rows=count,
        correct=metrics.correct,
        unreadable=len(unread),
        manifest=manifest.digest,
        **changes,
    )
    fields["metrics"] = metrics.model_dump()
    fields["data"]["score"]["digest"] = manifest.digest
    fields["data"]["score"]["undecodable"] = {names[i]: "no video stream" for i in unread}
    fields["config"] |= {"on_unreadable": "skip" if skip else "wrong", "draw": draw}
    fields["train_labels"]["draw"] = draw
    if draw:
        fields["data"]["fit"]["digest"] = digest(f"draw {draw}")
    fields["plan"]["score"] = plan or fields["plan"]["score"]
    fields["id"] = id_of(fields)
    scored = np.zeros(count, dtype=bool)
    scored[rows] = True
    artifact = write_predictions(folder / f"{fields['id']}.parquet", manifest, scores, scored)
    fields["artifacts"]["predictions"] = artifact.model_dump()
    return _written(fields, folder)


def kept_boxes(
    folder: Path,
    manifest: Manifest,
    boxes: ScoredBoxes,
    truth: FrameTruth,
    *,
    skip: bool = False,
    **changes: Any,
) -> Result:
    """Write the record of scored boxes."""
    metrics = frame_map_part(boxes, truth, skip=skip)
    fields = box_fields(metrics=metrics, manifest=manifest.digest, **changes)
    fields["data"]["score"]["digest"] = manifest.digest
    fields["config"]["on_unreadable"] = "skip" if skip else "wrong"
    fields["id"] = id_of(fields)
    stem = folder / fields["id"]
    artifacts = fields["artifacts"]
    artifacts["predictions"] = write_scored_boxes(
        stem.with_suffix(".parquet"), manifest, boxes
    ).model_dump()
    artifacts["truth"] = write_truth(
        stem.with_name(f"{stem.name}-truth.parquet"), truth
    ).model_dump()
    return _written(fields, folder)


def _written(fields: dict[str, Any], folder: Path) -> Result:
    result = Result.model_validate(fields)
    write_record(result, folder)
    return result
