"""The files of a record of boxes, from which its numbers can be recomputed.

<home>/records/<id>.parquet         one row per box: its place, its score in every class
<home>/records/<id>-truth.parquet   one row per ground-truth box, declared or excluded frame
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.boxes.ava_csv import Boxes, KeyFrames
from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.files import file_sha256, parse_json, write_whole
from bench.metrics.detections import ScoredBoxes, in_every_class, score_boxes
from bench.metrics.frame_rows import FrameIndex
from bench.records.metrics import Bounds, FrameMapPart
from bench.records.record import Artifact, RecordError
from bench.types import BoolArray, FloatArray

FRAME = [("video", pa.string()), ("second", pa.float64())]
CORNERS = [(name, pa.float64()) for name in ("x1", "y1", "x2", "y2")]
PREDICTIONS = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        *FRAME,
        *CORNERS,
        ("status", pa.string()),  # scored | missing | undecodable
        ("scores", pa.list_(pa.float32())),  # by rising id of the classes in the metadata
    ]
)
# Declared and excluded frames have no corners and no action.
TRUTH = pa.schema(
    [*FRAME, *CORNERS, ("action", pa.int32()), ("person", pa.float64()), ("excluded", pa.bool_())]
)
ROWS_AT_A_TIME = 20_000
FACTS = "frozenbench"  # metadata key of a file for the record that it belongs to


def frame_map_part(boxes: ScoredBoxes, truth: FrameTruth, *, skip: bool) -> FrameMapPart:
    """Score boxes against the ground truth, see `bench.metrics.detections`.

    Raises:
        DataError: the rules of the ground truth give no number.
    """
    found = score_boxes(boxes, truth, skip=skip)
    return FrameMapPart(
        **vars(found.frame_map),
        by_rules=dict(found.by_rules),
        undefined=dict(found.undefined),
        scored=int(boxes.scored.sum()),
        expected=len(boxes.scored),
        bounds=Bounds(low=found.low, high=found.high),
    )


# ------------------------------------------------------------------------------------------- scores
def write_scored_boxes(
    path: Path,
    manifest: Manifest,
    boxes: ScoredBoxes,
    missing: Collection[str] = (),
    *,
    facts: Mapping[str, str] | None = None,
) -> Artifact:
    """Write one row per box of `manifest` and return the file's name and digest.

    `facts` name the record, see `bench.records.record_files.prediction_facts`. Rows without scores
    are missing if their id is in `missing`, else undecodable.

    Raises:
        RecordError: a scored row has a non-finite score.
    """
    finite: BoolArray = np.asarray(np.isfinite(boxes.scores).all(axis=1))
    if not finite[boxes.scored].all():
        bad = np.flatnonzero(boxes.scored & ~finite)
        raise RecordError(
            f"{path.name}: {len(bad)} boxes have non-finite scores, first"
            f" {manifest.ids[int(bad[0])]!r}; the probe has diverged."
        )
    # A list with a null offset is null, and takes no values.
    ends = np.concatenate([[0], np.cumsum(boxes.scored) * boxes.scores.shape[1]])
    is_null = np.concatenate([~boxes.scored, [False]])
    scores = pa.ListArray.from_arrays(
        pa.array(ends.astype(np.int32), mask=is_null), boxes.scores[boxes.scored].ravel()
    )
    columns: dict[str, Any] = {
        "row": np.arange(len(manifest), dtype=np.int64),
        "id": list(manifest.ids),
        **_frame_columns(boxes.frames),
        **dict(zip(("x1", "y1", "x2", "y2"), boxes.corners.T, strict=True)),
        "status": statuses(manifest, boxes.scored, missing),
        "scores": scores,
    }
    metadata = {
        "classes": _classes_json(boxes.classes),
        **_file_facts(facts, manifest=manifest.digest),
    }
    return write_table(path, columns, PREDICTIONS, metadata)


def read_scored_boxes(path: Path) -> ScoredBoxes:
    """Read the scores that `write_scored_boxes` wrote."""
    table = pq.read_table(path)
    classes = _classes(table)
    scored = np.asarray(table["status"].to_numpy() == "scored", dtype=np.bool_)
    scores = np.zeros((len(scored), len(classes)), dtype=np.float32)
    values = table["scores"].combine_chunks().flatten().to_numpy()
    scores[scored] = values.reshape(-1, len(classes))
    return ScoredBoxes(
        frames=_frames(table),
        corners=_corners(table),
        scores=scores,
        scored=scored,
        classes=classes,
    )


def detection_lines(boxes: ScoredBoxes) -> Iterator[str]:
    """Yield the scored boxes as text for evaluators: video,second,x1,y1,x2,y2,action,score.

    Scores are the shortest decimals that distinguish all float32, so that no rank is lost.
    """
    from pyarrow import csv as arrow_csv

    # Arrow quotes all strings or none; AVA's files have no quotes.
    has_marks = any(set(name) & set(',"\r\n') for name in boxes.frames.videos)
    options = arrow_csv.WriteOptions(
        include_header=False, quoting_style="needed" if has_marks else "none"
    )
    for start in range(0, len(boxes.scored), ROWS_AT_A_TIME):
        rows = np.arange(start, min(start + ROWS_AT_A_TIME, len(boxes.scored)))
        given = in_every_class(boxes, rows[boxes.scored[rows]])
        named = _frame_columns(given.frames)
        micros, inverse = np.unique(given.frames.micros, return_inverse=True)
        seconds_text = [
            # Whole seconds as in AVA: 0902.
            f"{one // 1_000_000:04d}" if one % 1_000_000 == 0 else repr(one / 1e6)
            for one in micros.tolist()
        ]
        seconds = pa.array(seconds_text).take(pa.array(inverse))
        columns = [
            named["video"],
            seconds,
            *given.corners.T,
            given.action,
            given.last.astype(np.float32),
        ]
        table = pa.table([pa.array(column) for column in columns], names=list("abcdefgh"))
        text = pa.BufferOutputStream()
        arrow_csv.write_csv(table, text, options)
        yield text.getvalue().to_pybytes().decode()


# -------------------------------------------------------------------------------------------- truth
def write_truth(
    path: Path, truth: FrameTruth, *, facts: Mapping[str, str] | None = None
) -> Artifact:
    """Write every row of the ground truth and return the file's name and digest."""
    boxes, out = truth.boxes, truth.excluded
    bare = [boxes.declared, *([out] if out is not None else [])]
    num_bare = sum(map(len, bare))
    index = FrameIndex([out] if out else [])
    excluded = [*(index.number(boxes.frames) >= 0), *(index.number(boxes.declared) >= 0)]
    frames = [_frame_columns(part) for part in (boxes.frames, *bare)]
    none = pa.nulls(num_bare)
    columns = {
        **{key: pa.concat_arrays([part[key] for part in frames]) for key, _ in FRAME},
        **{
            key: _padded(column, none)
            for key, column in zip(("x1", "y1", "x2", "y2"), boxes.corners.T, strict=True)
        },
        "action": _padded(boxes.action, none),
        "person": _padded(boxes.last, none),
        "excluded": [*excluded, *([True] * (num_bare - len(boxes.declared)))],
    }
    metadata = {"classes": _classes_json(truth.classes), "rules": truth.rules, **_file_facts(facts)}
    return write_table(path, columns, TRUTH, metadata)


def read_truth(path: Path) -> FrameTruth:
    """Read what `write_truth` wrote; the ids are those of the evaluated classes."""
    table = pq.read_table(path)
    classes = _classes(table)
    is_box = table["action"].is_valid().to_numpy()
    is_out = table["excluded"].to_numpy()
    frames, boxes = _frames(table), table.filter(pa.array(is_box))
    return FrameTruth(
        boxes=Boxes(
            frames=frames.at(is_box),
            corners=_corners(boxes),
            action=boxes["action"].to_numpy(),
            last=boxes["person"].to_numpy(),
            declared=frames.at(~is_box & ~is_out),
        ),
        excluded=frames.at(is_out),
        classes=classes,
        ids=np.array(list(classes), dtype=np.int64),
        rules=table.schema.metadata[b"rules"].decode(),
    )


# ------------------------------------------------------------------------------------------ columns
def write_table(
    path: Path, columns: Mapping[str, Any], schema: pa.Schema, facts: Mapping[str, str]
) -> Artifact:
    """Write a file of a record, with `facts` as its metadata; return its name and digest."""
    table = pa.table(dict(columns), schema=schema.with_metadata(dict(facts)))
    write_whole(path, lambda file: pq.write_table(table, file, compression="zstd"))
    return Artifact(path=path.name, sha256=file_sha256(path))


def statuses(manifest: Manifest, scored: BoolArray, missing: Collection[str]) -> list[str]:
    """Return the status of every row; an unscored one is undecodable unless its id is `missing`."""
    return [
        "scored" if ok else "missing" if sample in missing else "undecodable"
        for sample, ok in zip(manifest.ids, scored, strict=True)
    ]


def _file_facts(facts: Mapping[str, str] | None, **more: str) -> dict[str, str]:
    return {FACTS: json.dumps({**facts, **more})} if facts is not None else {}


def _frame_columns(frames: KeyFrames) -> dict[str, pa.Array]:
    names = pa.DictionaryArray.from_arrays(
        pa.array(frames.video, pa.int32()), pa.array(list(frames.videos), pa.string())
    )
    return {"video": names.cast(pa.string()), "second": pa.array(frames.micros / 1e6)}


def _frames(table: pa.Table) -> KeyFrames:
    names = table["video"].combine_chunks().dictionary_encode()
    return KeyFrames(
        videos=names.dictionary.to_pylist(),
        video=names.indices.to_numpy(),
        micros=np.rint(table["second"].to_numpy() * 1e6).astype(np.int64),
    )


def _corners(table: pa.Table) -> FloatArray:
    return np.column_stack([table[key].to_numpy() for key, _ in CORNERS])


def _padded(column: np.ndarray[Any, Any], none: pa.Array) -> pa.Array:
    values = pa.array(column)
    return pa.concat_arrays([values, none.cast(values.type)])


def _classes_json(classes: Mapping[int, str]) -> str:
    return json.dumps({str(key): classes[key] for key in sorted(classes)})


def _classes(table: pa.Table) -> dict[int, str]:
    names = parse_json(table.schema.metadata[b"classes"])
    return {int(key): name for key, name in names.items()}
