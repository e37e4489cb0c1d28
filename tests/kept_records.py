"""Records on disk beside the files of what they predicted: rows of clips, and boxes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.evaluate.record_parts import metrics_part
from bench.metrics.detections import ScoredBoxes
from bench.protocols import honest
from bench.records.box_predictions import frame_map_part, write_scored_boxes, write_truth
from bench.records.record import Record, sealed
from bench.records.record_files import write_predictions, write_record
from bench.records.run_id import protocol_digest
from tests.sound_record import box_fields, digest, id_of, sound_fields

CLASSES = tuple(f"class {i}" for i in range(10))


def kept_clips(
    folder: Path, right: npt.ArrayLike, *, second: Sequence[bool] = (), **how: Any
) -> Record:
    """Write a record whose rows are right as told; of wrong ones the label is second or seventh.

    Labels go round the ten classes unless `labels` says otherwise; `how` is that of
    `kept_predictions`.
    """
    is_right = np.asarray(right, dtype=bool)
    labels = np.asarray(how.pop("labels", np.arange(len(is_right)) % 10), dtype=np.int64)
    scores = np.linspace(0.1, 0.01, 10)[(np.arange(10) - labels[:, None]) % 10]
    for row in np.flatnonzero(~is_right):  # the next class goes first, or the next six
        ahead = 1 if len(second) and second[row] else 6
        scores[row, (labels[row] + np.arange(1, ahead + 1)) % 10] += 1
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    return kept_predictions(folder, labels, scores, **how)


def kept_predictions(
    folder: Path,
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    *,
    classes: Sequence[str] = CLASSES,
    ids: Sequence[str] | None = None,
    unread: Collection[int] = (),
    on_unreadable: str = "wrong",
    draw: int = 0,
    plan: str | None = None,
    verifiable: bool = False,
    **facts: Any,
) -> Record:
    """Write a record of `honest@1` with these probabilities `[rows, C]`, and return it.

    The rows of `unread` could not be decoded; `facts` are those of `sound_fields`. A `verifiable`
    record has the digest of the protocol as it is, and the scores that its readout was not chosen
    by.
    """
    names = list(ids or [f"clip_{i}" for i in range(len(labels))])
    manifest = Manifest(
        name="clips",
        split="test",
        kind="video",
        ids=names,
        media=[Path(name) for name in names],
        labels=labels,
        classes=classes,
    )
    scored = ~np.isin(np.arange(len(labels)), list(unread))
    rows = np.flatnonzero(scored)
    fields = sound_fields(
        rows=len(labels),
        correct=0,
        classes=len(classes),
        unreadable=len(unread),
        manifest=manifest.digest,
        **facts,
    )
    skip = on_unreadable == "skip"
    fields["metrics"] = metrics_part(probabilities[rows], manifest, rows, skip=skip).model_dump()
    fields["data"]["score"]["digest"] = manifest.digest
    fields["data"]["score"]["undecodable"] = {names[i]: "no video stream" for i in unread}
    fields["config"] |= {"on_unreadable": on_unreadable, "draw": draw}
    fields["train_labels"]["draw"] = draw
    if draw:
        fields["data"]["fit"]["digest"] = digest(f"draw {draw}")
    fields["plan"]["score"] = plan or fields["plan"]["score"]
    if verifiable:
        fields["protocol"]["digest"] = protocol_digest(honest())
        beside = {"score_split_scores": [0.0, 1.0], "score_split_fit": "kept"}
        fields["probe"]["selection"] |= beside
    number = fields["id"] = id_of(fields)
    artifact = write_predictions(
        folder / f"{number}.parquet",
        manifest,
        probabilities,
        scored,
        facts={"record": number, "task": fields["task"]["name"], "split": "test"},
    )
    fields["artifacts"]["predictions"] = artifact.model_dump()
    return _written(fields, folder)


def kept_boxes(
    folder: Path,
    manifest: Manifest,
    boxes: ScoredBoxes,
    truth: FrameTruth,
    *,
    missing: Collection[str] = (),
    on_unreadable: str = "wrong",
    **changes: Any,
) -> Record:
    """Write the record of scored boxes, its boxes and their truth, and return it."""
    metrics = frame_map_part(boxes, truth, skip=on_unreadable == "skip")
    fields = box_fields(metrics=metrics, manifest=manifest.digest, **changes)
    fields["data"]["score"]["digest"] = manifest.digest
    fields["config"]["on_unreadable"] = on_unreadable
    number = fields["id"] = id_of(fields)
    fields["artifacts"] |= {
        "predictions": write_scored_boxes(
            folder / f"{number}.parquet", manifest, boxes, missing
        ).model_dump(),
        "truth": write_truth(folder / f"{number}-truth.parquet", truth).model_dump(),
    }
    return _written(fields, folder)


def _written(fields: dict[str, Any], folder: Path) -> Record:
    record = sealed(Record.model_validate(fields))
    write_record(record, folder, overwrite=True)
    return record
