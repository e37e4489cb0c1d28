"""Records of boxes: what is kept of a run, counted again, and given to other evaluators."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.data.boxes.regions import FrameTruth
from bench.data.manifest import Manifest
from bench.metrics.detections import ScoredBoxes
from bench.records.box_predictions import (
    detection_lines,
    frame_map_part,
    read_scored_boxes,
    read_truth,
    write_scored_boxes,
    write_truth,
)
from bench.records.record import Record, RecordError
from bench.records.record_files import kept_file, parse_record, read_record, write_record
from tests.boxes import (
    EVALUATED,
    VIDEOS,
    frame_rows,
    manifest_of,
    random_case,
    truth_of,
    truth_rows,
    write_csv,
)
from tests.commands import Bench
from tests.kept_records import kept_boxes
from tests.sound_record import box_fields, box_record, id_of, sound_record

BOX, OTHER = [0.1, 0.2, 0.30000000000000004, 0.7], [0.5, 0.5, 1.0, 1.0]


@pytest.fixture
def case() -> tuple[Manifest, FrameTruth, ScoredBoxes]:
    """Three boxes on two key frames, one of them unreadable; an excluded frame is in the truth."""
    truth = truth_of(
        [(0, 902, BOX, 3, 0), (0, 903.5, BOX, 3, 1), (1, 902, OTHER, 8, 0), (1, 905, BOX, 2, 0)],
        declared=[(2, 902), (1, 905)],
        excluded=[(1, 905), (2, 1000)],
    )
    manifest = manifest_of([(0, 902, BOX), (0, 903.5, BOX), (1, 902, OTHER)])
    scores = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.1, 1e-7]], dtype=np.float32)
    return manifest, truth, ScoredBoxes.of(manifest, np.array([0, 2]), scores, truth)


@pytest.fixture
def keep(case: tuple[Manifest, FrameTruth, ScoredBoxes], tmp_path: Path) -> Callable[..., Record]:
    """Write the record of the boxes, one of them of a missing file."""

    def put(**how: Any) -> Record:
        manifest, truth, boxes = case
        return kept_boxes(tmp_path, manifest, boxes, truth, missing={manifest.ids[1]}, **how)

    return put


def test_files_hold_every_box_and_all_of_the_truth(
    case: tuple[Manifest, FrameTruth, ScoredBoxes], tmp_path: Path
) -> None:
    manifest, truth, boxes = case
    write_scored_boxes(tmp_path / "p.parquet", manifest, boxes, {manifest.ids[1]})
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(manifest.ids)
    assert [row["status"] for row in rows] == ["scored", "missing", "scored"]
    assert [row["video"] for row in rows] == ["a", "a", "-b,c"]
    assert [row["second"] for row in rows] == [902, 903.5, 902]
    assert [rows[0][key] for key in ("x1", "y1", "x2", "y2")] == BOX
    assert rows[1]["scores"] is None
    assert rows[2]["scores"] == [float(np.float32(v)) for v in (0.5, 0.1, 1e-7)]
    write_scored_boxes(tmp_path / "p.parquet", manifest, boxes)
    assert pq.read_table(tmp_path / "p.parquet")["status"].to_pylist()[1] == "undecodable"
    write_truth(tmp_path / "t.parquet", truth)
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    told = [(row["video"], row["second"], row["action"], row["excluded"]) for row in rows]
    assert told == [
        ("a", 902, 3, False), ("a", 903.5, 3, False), ("-b,c", 902, 8, False),
        ("-b,c", 905, 2, True), ("d", 902, None, False), ("-b,c", 905, None, True),
        ("-b,c", 905, None, True), ("d", 1000, None, True),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rules", ["official", "slowfast", "mmaction2"])
def test_what_is_read_back_gives_the_same_numbers(seed: int, rules: str, tmp_path: Path) -> None:
    manifest, truth, scores = random_case(seed, rules=rules)
    rows = np.arange(0, len(manifest), 1 + seed % 2)
    boxes = ScoredBoxes.of(manifest, rows, scores[rows], truth)
    write_scored_boxes(tmp_path / "p.parquet", manifest, boxes)
    write_truth(tmp_path / "t.parquet", truth)
    again, held = read_scored_boxes(tmp_path / "p.parquet"), read_truth(tmp_path / "t.parquet")
    assert again.scores.tolist() == boxes.scores.tolist()
    assert (again.scored == boxes.scored).all() and again.classes == EVALUATED
    skip = seed % 3 == 0 and rules != "mmaction2"  # which has no number where nothing is left
    assert frame_map_part(again, held, skip=skip) == frame_map_part(boxes, truth, skip=skip)


@pytest.mark.parametrize("on_unreadable", ["wrong", "skip"])
def test_record_is_counted_again_from_its_two_files(
    keep: Callable[..., Record], on_unreadable: str, tmp_path: Path
) -> None:
    record = keep(on_unreadable=on_unreadable)
    path = tmp_path / f"{record.id}.json"
    assert read_record(path) == record
    assert read_record(path).to_json() == record.to_json()
    scores, held = (kept_file(record, name, tmp_path) for name in ("predictions", "truth"))
    skip = on_unreadable == "skip"
    again = frame_map_part(read_scored_boxes(scores), read_truth(held), skip=skip)
    assert again == record.metrics


def test_files_that_were_edited_or_removed_are_refused(
    keep: Callable[..., Record], tmp_path: Path
) -> None:
    record = keep()
    truth = tmp_path / f"{record.id}-truth.parquet"
    truth.write_bytes(truth.read_bytes() + b"x")
    with pytest.raises(RecordError, match=r"truth\.parquet was changed"):
        kept_file(record, "truth", tmp_path)
    truth.unlink()
    with pytest.raises(RecordError, match="missing"):
        kept_file(record, "truth", tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("metrics.mean_app", 0.1, "field 'metrics.mean_app' is unknown. Did you mean 'mean_ap'?"),
        ("metrics.mean_ap", 0.9, "mean_ap 0.9 is not 0.5, the mean over the classes"),
        ("metrics.by_rules", {"official": 0.4}, "is not 0.4, the number by the official rules"),
        ("metrics.undefined", {"slowfast": "no"}, "reasons are given for ['slowfast']"),
        ("metrics.bounds", {"low": 0.6, "high": 0.7}, "mean_ap 0.5 is below its bound 0.6"),
        ("metrics.bounds", {"low": 0.3, "high": 0.4}, "mean_ap 0.5 is above its bound 0.4"),
        ("metrics.bounds", {"low": 0.7, "high": 0.4}, "bounds 0.7 to 0.4 are reversed"),
        ("metrics.classes", "-", "field 'metrics.classes' is missing"),
        ("metrics.scored", 99, "99 rows scored, but data.score.used is 100"),
        ("task.metric", "top1", "task.metric is 'top1', which metrics do not have"),
        ("task.files", {}, "the record says"),
    ],
)
def test_edited_records_of_boxes_are_refused(
    path: str, value: float | str | dict[str, float | str], words: str
) -> None:
    fields = json.loads(box_record(0.5).to_json())
    *way, last = path.split(".")
    place = fields
    for name in way:
        place = place[name]
    if value == "-":
        del place[last]
    else:
        place[last] = value
    with pytest.raises(RecordError) as refused:
        parse_record(json.dumps(fields), "there.json")
    assert words in str(refused.value)


def test_files_of_a_task_are_part_of_the_id_and_their_places_are_not() -> None:
    fields = box_fields(metrics=box_record(0.5).metrics)
    other = box_fields(metrics=box_record(0.5).metrics, files={"excluded": "ab" * 32})
    assert fields["id"] != other["id"]
    ids = set()
    for place in ("/here", "/there"):
        for option in ("data", "annotations", "detections", "fit_detections", "media"):
            fields["config"]["task_options"] = {option: f"{place}/{option}", "rules": "official"}
            ids.add(id_of(fields))
    assert len(ids) == 1
    fields["config"]["task_options"] = {"rules": "slowfast"}
    assert id_of(fields) not in ids
    # Tasks that name no files keep what they had: `media` is part of their ids.
    plain = json.loads(sound_record().to_json())
    kept = []
    for place in ("/here", "/there"):
        plain["config"]["task_options"] = {"media": place}
        kept.append(id_of(plain))
    assert len(set(kept)) == 2


def test_a_record_tells_its_number_whatever_the_metric() -> None:
    boxes, clips = box_record(0.25), sound_record(correct=71)
    assert (boxes.headline, boxes.value("mean_ap"), boxes.value("top1")) == (0.25, 0.25, None)
    assert (clips.headline, clips.value("mean_ap"), clips.value("top1")) == (0.71, None, 0.71)
    assert boxes.chance is None and clips.chance == 0.1


def test_scores_that_are_not_finite_are_refused_by_name(
    case: tuple[Manifest, FrameTruth, ScoredBoxes], tmp_path: Path
) -> None:
    manifest, _, boxes = case
    scores = boxes.scores.copy()
    scores[2, 1] = np.nan
    with pytest.raises(RecordError, match=f"1 boxes have .*{manifest.ids[2]!r}"):
        write_scored_boxes(tmp_path / "p.parquet", manifest, replace(boxes, scores=scores))
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------- bench detections
@pytest.mark.parametrize("rules", ["official", "slowfast", "mmaction2"])
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_printed_detections_score_as_the_record_does(
    seed: int, rules: str, bench: Bench, tmp_path: Path
) -> None:
    manifest, truth, scores = random_case(seed, ties=False)
    scores = np.random.default_rng(seed).random(scores.shape, dtype=np.float32)
    boxes = ScoredBoxes.of(manifest, np.arange(len(manifest)), scores, truth)
    record = kept_boxes(tmp_path / "home" / "records", manifest, boxes, truth)
    path = tmp_path / "home" / "records" / f"{record.id}.json"
    code, text, error = bench("detections", path)
    assert code == 0, error
    assert bench("detections", record.id, "--home", tmp_path / "home")[1] == text
    (tmp_path / "det.csv").write_text(text)
    labels = [f'item {{\n name: "{name}"\n id: {key}\n}}\n' for key, name in EVALUATED.items()]
    (tmp_path / "map.pbtxt").write_text("".join(labels))
    truths = write_csv(tmp_path / "gt.csv", truth_rows(truth))
    out = write_csv(tmp_path / "out.csv", frame_rows(truth.excluded))
    code, said, error = bench(
        "score", "ava", "--gt", truths, "--detections", tmp_path / "det.csv", "--label-map",
        tmp_path / "map.pbtxt", "--excluded", out, "--rules", rules, "--json",
    )  # fmt: skip
    assert code == 0, error
    assert json.loads(said)["mAP@0.5"] == record.metrics.by_rules[rules]


def test_lines_are_exact_and_spelled_as_evaluators_read_them(
    case: tuple[Manifest, FrameTruth, ScoredBoxes],
) -> None:
    _, _, boxes = case
    rows = list(csv.reader(io.StringIO("".join(detection_lines(boxes)))))
    assert [row[:2] for row in rows] == [["a", "0902"]] * 3 + [["-b,c", "0902"]] * 3
    assert {tuple(map(float, row[2:6])) for row in rows} == {tuple(BOX), tuple(OTHER)}
    assert [row[6] for row in rows] == ["1", "3", "8"] * 2
    assert [np.float32(row[7]) for row in rows] == boxes.scores[boxes.scored].ravel().tolist()
    assert rows[0][7] == "0.1"  # not the digits of a double
    assert VIDEOS[1] == "-b,c"


def test_lines_have_no_quotes_where_no_name_needs_them(
    case: tuple[Manifest, FrameTruth, ScoredBoxes],
) -> None:
    _, _, boxes = case
    named = replace(boxes, frames=replace(boxes.frames, videos=("a", "-5KQ66BBWC4", "d")))
    lines = "".join(detection_lines(named)).splitlines()
    assert lines[0].startswith("a,0902,") and lines[-1].startswith("-5KQ66BBWC4,0902,")
    assert not any('"' in line for line in lines)


def test_records_without_boxes_have_no_detections(bench: Bench, tmp_path: Path) -> None:
    path = write_record(sound_record(), tmp_path)
    code, out, error = bench("detections", path)
    assert (code, out) == (2, "") and "whose rows are not boxes" in error
    code, _, error = bench("detections", "nowhere")
    assert code == 2 and "there is no record nowhere" in error
