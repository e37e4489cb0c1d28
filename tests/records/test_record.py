"""Records: what makes one sound, what is refused, and what is on disk."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from bench.data.manifest import Manifest
from bench.errors import UsageError
from bench.records.record import Record, RecordError
from bench.records.record_files import (
    parse_record,
    read_record,
    read_records,
    write_predictions,
    write_record,
)
from tests.sound_record import sound_fields, sound_record


def changed(path: str, value: object) -> str:
    """Return the JSON of a sound record with one dotted field set (`-` deletes it)."""
    fields = json.loads(sound_record().to_json())
    *way, last = path.split(".")
    place = fields
    for name in way:
        place = place[name]
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return json.dumps(fields)


def test_a_record_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    record = sound_record(unreadable=2)
    path = write_record(record, tmp_path)
    assert path == tmp_path / f"{record.id}.json"
    assert read_record(path) == record
    assert read_record(path).to_json() == record.to_json() == path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_record_cannot_be_changed_in_memory() -> None:
    with pytest.raises(ValidationError):
        sound_record().metrics.top1 = 0.9


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("metrics.topp1", 0.9, "field 'metrics.topp1' is unknown. Did you mean 'top1'?"),
        ("surprise", 1, "field 'surprise' is unknown"),
        ("protocol.name", "-", "field 'protocol.name' is missing"),
        ("metrics.top1", 0.99, "top1 0.99 is not 71 correct of 100"),
        ("metrics.top1", 1.2, "metrics.top1: Input should be less than or equal to 1"),
        ("metrics.correct", 72, "top1 0.71 is not 72 correct of 100"),
        ("metrics.scored", 99, "99 rows scored, but data.score.used is 100"),
        ("metrics.expected", 120, "expected 120"),
        ("metrics.bounds.low", 0.9, "bounds 0.9 to 0.71 are reversed"),
        ("metrics.top5", 0.5, "top5 0.5 is below top1 0.71"),
        (
            "data.score.undecodable",
            {"clip_3": "truncated"},
            "100 used, 0 missing and 1 undecodable",
        ),
        ("train_labels.used", 399, "train_labels.used is 399, data.fit.used is 400"),
        ("train_labels", None, "train_labels and data.fit must be given together"),
        ("status", "suspect", "status 'suspect' contradicts reasons []"),
        ("reasons", ["limited"], "status 'complete' contradicts reasons ['limited']"),
        ("probe.selected", 2, "head 2 is selected out of 2"),
        ("probe.selection.holdout_scores", [0.5], "1 holdout_scores for 2 heads"),
        ("schema_version", 6, "has record schema 6, but this frozenbench reads 1 to 5"),
        ("created", "yesterday", "created"),
    ],
)
def test_an_edited_field_is_refused_in_a_sentence_that_names_the_file(
    path: str, value: float | str | list[float | str] | dict[str, str] | None, words: str
) -> None:
    with pytest.raises(RecordError) as refused:
        parse_record(changed(path, value), "records/0123.json")
    assert str(refused.value).startswith("records/0123.json ")
    assert words in str(refused.value)
    assert refused.value.exit_code == 5


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("config.seed", 1),
        ("features.score_key", "0" * 64),
        ("features.fit_key", "0" * 64),
        ("data.score.digest", "0" * 64),
        ("protocol.digest", "0" * 64),
        ("probe.settings", {"epochs": 21}),
    ],
)
def test_whatever_decides_the_number_is_part_of_the_id(
    path: str, value: int | str | dict[str, int]
) -> None:
    with pytest.raises(RecordError, match="the record says"):
        parse_record(changed(path, value), "x.json")


def test_time_place_and_cost_are_no_part_of_the_id() -> None:
    fields = sound_fields()
    other = copy.deepcopy(fields)
    other["created"] = "2030-01-01T00:00:00Z"
    other["timing"]["total_seconds"] = 99.0
    other["environment"]["torch"] = "9.9"
    other["features"]["rows_from_store"] = 500
    other["config"]["encoder"] = "vjepa_vitl16:/elsewhere/latest.pth.tar"
    other["config"]["task_options"] = {"data": "/elsewhere"}
    fields["config"]["task_options"] = {"data": "/here"}
    fields["id"] = other["id"] = _id(fields)
    assert Record.model_validate(fields).id == Record.model_validate(other).id


def _id(fields: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as refused:
        Record.model_validate({**fields, "id": "0" * 16})
    return str(refused.value).split("give the id ")[1][:16]


def test_text_that_is_no_record_is_refused() -> None:
    for text in ("{", "[]", "{}", ""):
        with pytest.raises(RecordError, match=r"^there\.json "):
            parse_record(text, "there.json")


def test_repeating_a_run_keeps_the_first_record(tmp_path: Path) -> None:
    first = sound_record()
    path = write_record(first, tmp_path)
    again = sound_record(created="2026-01-01T00:00:00Z")
    assert write_record(again, tmp_path) == path
    assert read_record(path).created == first.created


def test_another_outcome_under_the_same_id_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = write_record(sound_record(correct=71), tmp_path)
    other = sound_record(correct=72)
    assert other.id == path.stem
    with pytest.raises(RecordError, match=r"metrics\.top1: 0\.71 -> 0\.72.*--overwrite"):
        write_record(other, tmp_path)
    assert read_record(path).metrics.correct == 71
    write_record(other, tmp_path, overwrite=True)
    assert read_record(path).metrics.correct == 72


def test_a_record_under_another_name_is_refused(tmp_path: Path) -> None:
    path = write_record(sound_record(), tmp_path)
    moved = path.rename(tmp_path / "best.json")
    with pytest.raises(RecordError, match="name it"):
        read_record(moved)


def test_a_folder_is_read_oldest_first_and_must_exist(tmp_path: Path) -> None:
    new = sound_record(seed=1, created="2025-02-01T00:00:00Z")
    old = sound_record(seed=2, created="2025-01-01T00:00:00Z")
    for record in (new, old):
        write_record(record, tmp_path)
    assert read_records(tmp_path) == [old, new]
    with pytest.raises(UsageError, match="no records"):
        read_records(tmp_path / "nowhere")


def manifest(labels: list[int], classes: int) -> Manifest:
    return Manifest(
        name="what",
        split="test",
        kind="video",
        ids=[f"clip_{i}" for i in range(len(labels))],
        media=[Path(f"clip_{i}.mp4") for i in range(len(labels))],
        labels=np.array(labels, dtype=np.int64),
        classes=[str(c) for c in range(classes)],
    )


def test_predictions_list_every_row_with_its_classes_in_order(tmp_path: Path) -> None:
    probabilities = np.array(
        [[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [np.nan, np.nan, np.nan]], dtype=np.float32
    )
    scored = np.array([True, True, False])
    artifact = write_predictions(
        tmp_path / "p.parquet", manifest([1, 1, 2], 3), probabilities, scored
    )
    assert artifact.path == "p.parquet"
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["id"] for row in rows] == ["clip_0", "clip_1", "clip_2"]
    assert [row["row"] for row in rows] == [0, 1, 2]
    assert [row["status"] for row in rows] == ["scored", "scored", "undecodable"]
    assert [row["predicted"] for row in rows] == [1, 0, None]  # the lower class among equals
    assert [row["top_classes"] for row in rows] == [[1, 2, 0], [0, 1, 2], None]
    assert rows[0]["top_probabilities"] == [float(np.float32(v)) for v in (0.5, 0.3, 0.2)]


@pytest.mark.parametrize(("classes", "kept"), [(20, 20), (21, 5)])
def test_all_classes_are_kept_up_to_twenty_and_five_beyond(
    classes: int, kept: int, tmp_path: Path
) -> None:
    probabilities = np.random.default_rng(0).random((4, classes)).astype(np.float32)
    path = tmp_path / "p.parquet"
    write_predictions(path, manifest([0, 1, 2, 3], classes), probabilities, np.ones(4, dtype=bool))
    assert {len(row) for row in pq.read_table(path)["top_classes"].to_pylist()} == {kept}


def test_a_prediction_that_is_not_finite_is_refused_by_name(tmp_path: Path) -> None:
    probabilities = np.full((2, 3), np.nan, dtype=np.float32)
    with pytest.raises(RecordError, match="'clip_1'"):
        write_predictions(
            tmp_path / "p.parquet",
            manifest([0, 1], 3),
            probabilities,
            np.array([False, True]),
        )
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_schema_1_is_read_with_its_missing_and_undecodable_rows_apart() -> None:
    [path] = (Path(__file__).parents[1] / "fixtures" / "records" / "1").glob("*.json")
    record = read_record(path)
    score = record.data.score
    assert json.loads(path.read_text())["schema_version"] == 1 and record.schema_version == 5
    assert score.missing == ("val/jump/2.mp4", "val/run/2.mp4", "val/sit/2.mp4")
    assert list(score.undecodable) == ["val/run/1.mp4"] and score.used == 5


def test_a_record_of_schema_2_keeps_its_id_and_the_scores_of_its_heads() -> None:
    [path] = (Path(__file__).parents[1] / "fixtures" / "records" / "2").glob("*.json")
    record = read_record(path)
    assert json.loads(path.read_text())["schema_version"] == 2 and record.schema_version == 5
    assert record.id == "581b7a4d10ad6adb"
    assert record.probe.selection.holdout_scores == (1 / 3, 2 / 3)
    assert record.probe.selection.score_split_scores == ()
    assert (record.headline, record.task.unit, record.task.files) == (2 / 9, "clip", {})
    assert len(record.data.score.missing) == 2 and len(record.data.score.undecodable) == 1
