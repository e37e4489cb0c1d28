"""Records with real files of predictions beside them, made from which rows they have right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.manifest import Manifest
from bench.records.record import Result
from bench.records.record_files import write_predictions
from tests.sound_record import id_of, sound_fields

CLASSES = 10


def kept_record(
    folder: Path,
    right: npt.ArrayLike,
    *,
    scored: npt.ArrayLike | None = None,
    skip: bool = False,
    **facts: Any,
) -> Result:
    """Write the files of a record that has the rows right which `right` says; rows not in `scored`
    could not be read, and are wrong or (`skip`) no part of the number.
    """
    is_right = np.asarray(right, dtype=bool)
    is_scored = np.ones(len(is_right), dtype=bool) if scored is None else np.asarray(scored)
    rows, lost = len(is_right), int((~is_scored).sum())
    correct = int((is_right & is_scored).sum())
    fields = sound_fields(correct=correct, rows=rows, classes=CLASSES, unreadable=lost, **facts)
    names = [f"clip_{i}" for i in range(rows)]
    gone = {names[i]: "no video stream" for i in np.flatnonzero(~is_scored)}
    fields["data"]["score"]["undecodable"] = gone
    if skip:
        fields["config"]["on_unreadable"] = "skip"
        fields["metrics"] |= {"top1": correct / (rows - lost)}
    fields["id"] = id_of(fields)
    manifest = Manifest(
        name=fields["task"]["name"],
        split="test",
        kind="video",
        ids=names,
        media=names,
        labels=np.arange(rows, dtype=np.int64) % CLASSES,
        classes=[f"class {c}" for c in range(CLASSES)],
    )
    wanted = np.where(is_right, manifest.labels, (manifest.labels + 1) % CLASSES)
    probabilities = np.full((rows, CLASSES), 0.05, dtype=np.float32)
    probabilities[np.arange(rows), wanted] = 0.55
    folder.mkdir(parents=True, exist_ok=True)
    made = write_predictions(folder / f"{fields['id']}.parquet", manifest, probabilities, is_scored)
    fields["artifacts"]["predictions"] = made.model_dump()
    result = Result.model_validate(fields)
    (folder / f"{result.id}.json").write_text(json.dumps(fields), encoding="utf-8")
    return result
