"""Check the scores of boxes: every box occurs once, and they reproduce the frame mAP."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.errors import BenchError
from bench.files import parse_json
from bench.metrics.detections import ScoredBoxes
from bench.metrics.frame_rules import RULES
from bench.records.box_predictions import (
    PREDICTIONS,
    TRUTH,
    frame_map_part,
    read_scored_boxes,
    read_truth,
)
from bench.records.metrics import FrameMapPart
from bench.records.predictions import refuse_other_count, texts
from bench.records.record import Record
from bench.verify.clips import MOST, listing_problems
from bench.verify.findings import Finding, all_of, failed, ok, suspect
from bench.verify.own_words import UNREADABLE, Opened
from bench.verify.recount import Counted, content_digest, differing


def check_boxes(opened: Opened, record: Record) -> tuple[list[Finding], Counted]:
    """Check the scores and the ground truth of a record of boxes; both files must exist."""
    predictions, truth = opened.place("predictions"), opened.place("truth")
    try:
        refuse_other_count(predictions, record)
        table = _read(predictions, PREDICTIONS, ("row", "id", "video", "second", "status"))
        _check_lengths(table)
        boxes = read_scored_boxes(predictions)
        truth_table = _read(truth, TRUTH, ("video", "second", "excluded"))
        frame_truth = read_truth(truth)
        if frame_truth.rules not in RULES:
            raise ValueError(f"the ground truth has unknown rules {frame_truth.rules!r}")
        if not np.isfinite(frame_truth.boxes.corners).all():
            raise ValueError("a ground-truth box has a non-finite corner")
    except (*UNREADABLE, pa.ArrowException, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        return [failed("rows", f"{predictions.name} or {truth.name}: {reason}")], Counted()
    problems = _row_problems(table, boxes, record)
    found = [
        all_of("rows", problems, f"{len(table):,} boxes, each once"),
        _counts(table, record),
    ]
    if not problems:
        try:
            again = frame_map_part(boxes, frame_truth, skip=not record.counts_lost)
        except (BenchError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            found.append(failed("metrics", f"the files give no number: {reason}"))
        else:
            assert isinstance(record.metrics, FrameMapPart)
            counted = _numbers(again)
            wrong = differing(_numbers(record.metrics), counted)
            found.append(all_of("metrics", wrong, f"{len(counted)} numbers recomputed"))
        values = boxes.scores[boxes.scored]
        if len(values) > 1 and (values == values[0]).all():
            found.append(suspect("constant", "every box has the same scores"))
        else:
            found.append(ok("constant", "boxes have different scores"))
    content = content_digest(boxes.scores[boxes.scored], boxes.scored)
    state = hashlib.sha256()  # of the ground-truth rows, not of their file
    for name in TRUTH.names:
        state.update(repr(truth_table[name].to_pylist()).encode())
    return found, Counted(content=content, truth=state.hexdigest())


def _read(path: Path, schema: pa.Schema, filled: tuple[str, ...]) -> pa.Table:
    """Read a file of that schema; it must have classes, rows and no gaps in `filled`."""
    table = pq.read_table(path)
    if not table.schema.remove_metadata().equals(schema):
        raise ValueError(f"{path.name} has columns {table.schema.names} instead of {schema.names}")
    if b"classes" not in (table.schema.metadata or {}) or not len(table):
        raise ValueError(f"{path.name} has no class names or no rows")
    for name in filled:
        if table[name].null_count:
            raise ValueError(f"{table[name].null_count} rows of {path.name} have no {name}")
    return table


def _check_lengths(table: pa.Table) -> None:
    """Require a score for every class in scored rows, and none in others."""
    num_classes = len(parse_json(table.schema.metadata[b"classes"]))
    scored = np.asarray(table["status"].to_numpy() == "scored", dtype=np.bool_)
    lengths = pc.fill_null(pc.list_value_length(table["scores"]), -1).to_numpy()
    if (extra := np.flatnonzero(~scored & (lengths >= 0))).size:
        raise ValueError(f"row {extra[0]} is {table['status'][extra[0]]}, but has scores")
    if (short := np.flatnonzero(scored & (lengths != num_classes))).size:
        raise ValueError(f"row {short[0]} does not have {num_classes} scores")
    if table["scores"].combine_chunks().flatten().null_count:
        raise ValueError("a score is missing")


def _row_problems(table: pa.Table, boxes: ScoredBoxes, record: Record) -> list[str]:
    ids = table["id"].to_pylist()
    problems = listing_problems(table["row"].to_numpy(), ids, texts(table["status"]), record)
    values = boxes.scores[boxes.scored]
    bad = np.flatnonzero(~((values >= 0) & (values <= MOST)).all(axis=1))
    if len(bad):
        at = int(np.flatnonzero(boxes.scored)[bad[0]])
        problems.append(f"row {at} ({ids[at]!r}) has a score outside [0, 1]")
    if not np.isfinite(boxes.corners).all():
        problems.append("a box has a non-finite corner")
    assert isinstance(record.metrics, FrameMapPart)
    if dict(boxes.classes) != {one.id: one.name for one in record.metrics.classes}:
        problems.append("the scores are of other classes than the record")
    return problems


def _counts(table: pa.Table, record: Record) -> Finding:
    """Recount boxes, key frames and videos; labels of boxes are not saved."""
    stated = {k: record.data.score.boxes.get(k) for k in ("boxes", "key_frames", "videos")}
    if None in stated.values():
        return failed("manifest", "the record lacks the numbers of boxes, key frames and videos")
    frames = pa.table({"video": table["video"], "second": table["second"]})
    counted: Mapping[str, Any] = {
        "boxes": len(table),
        "key_frames": len(frames.group_by(["video", "second"]).aggregate([])),
        "videos": pc.count_distinct(table["video"]).as_py(),
    }
    wrong = differing(stated, counted)
    return all_of("manifest", wrong, "boxes, key frames and videos as recorded")


def _numbers(metrics: FrameMapPart) -> dict[str, Any]:
    """Return every number of a frame mAP by name."""
    found: dict[str, Any] = {}
    for key, value in metrics.model_dump(mode="json", exclude={"undefined", "classes"}).items():
        inner = value if isinstance(value, dict) else {"": value}
        found |= {f"{key}.{name}".rstrip("."): number for name, number in inner.items()}
    for one in metrics.classes:
        found |= {f"classes.{one.id}.{name}": value for name, value in one}
    return found
