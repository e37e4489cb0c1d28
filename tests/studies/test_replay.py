"""A record run again: equal on the same machine, and every difference shown where it is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.verify.verify_records import verify
from tests.commands import Bench
from tests.forgery import Forger, box_config, clip_config, run, write_clips


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("replay")
    write_clips(root)
    (root / "boxes").mkdir()
    boxes = run(box_config(root / "boxes", on_unreadable="wrong"), root / "home", root / "boxes")
    return root, run(clip_config(root), root / "home"), boxes


def again(bench: Bench, path: Path, root: Path, *words: object) -> tuple[int, Any, str]:
    code, out, err = bench(
        "replay", path, "--home", root / "home", "--workers", "0", "--json", *words
    )
    return code, json.loads(out) if out else None, err


def test_an_untouched_record_of_clips_comes_out_equal_and_leaves_nothing(
    made: tuple[Path, Path, Path], bench: Bench
) -> None:
    root, path, _ = made
    before = sorted(file for file in (root / "home").rglob("*"))
    code, said, err = again(bench, path, root)
    assert code == 0, err
    assert said["equal"] and said["differing"] == []
    assert said["predictions"] == {"rows": 18, "moved": 0, "largest": 0.0, "other_class": 0}
    assert sorted(file for file in (root / "home").rglob("*")) == before
    assert "features listing val" in err  # nothing was reused


def test_stored_features_are_read_where_it_is_asked_for(
    made: tuple[Path, Path, Path], bench: Bench
) -> None:
    root, path, _ = made
    code, said, err = again(bench, path, root, "--reuse-features")
    assert code == 0 and said["equal"] and "features listing" not in err


def test_a_record_of_boxes_comes_out_equal(made: tuple[Path, Path, Path], bench: Bench) -> None:
    root, _, path = made
    code, said, err = again(bench, path, root, "--data", root / "boxes")
    assert code == 0 and said["equal"], err
    assert said["predictions"] == {"rows": 8, "moved": 0, "largest": 0.0, "other_class": None}


def test_made_up_predictions_that_verification_cannot_find_are_found(
    made: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    root, path, _ = made
    forger = Forger.copy(path, tmp_path / "records")
    columns = forger.frame()
    row = columns["status"].index("scored")
    other = (columns["predicted"][row] + 1) % 6
    columns["predicted"][row] = other
    listed = columns["top_classes"][row]
    columns["top_classes"][row] = [other, *(c for c in listed if c != other)]
    forger.write_frame(columns)
    forger.mend_metrics()
    forger.mend_files()
    assert verify(forger.path).status == "ok"
    code, said, _ = again(bench, forger.path, root)
    assert code == 5 and not said["equal"]
    assert said["predictions"]["moved"] == said["predictions"]["other_class"] == 1
    assert said["predictions"]["largest"] > 0
    fields = {one["field"] for one in said["differing"]}
    assert fields >= {"metrics.top1", "metrics.correct"}


def test_tolerance_lets_the_number_move_and_no_further(
    made: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    root, path, _ = made
    forger = Forger.copy(path, tmp_path / "records")
    fields = forger.fields
    fields["probe"]["log"]["loss_per_epoch"] = [[1.0], [1.0]]
    forger.write(fields, seal=True)
    code, said, _ = again(bench, forger.path, root)
    assert code == 5
    assert [one["field"] for one in said["differing"]] == ["probe.log.loss_per_epoch"]
    assert again(bench, forger.path, root, "--reuse-features", "--tolerance", "0.001")[0] == 0
    correct = fields["metrics"]["correct"] + 1
    fields["metrics"].update(correct=correct, top1=correct / 18)
    fields["metrics"]["bounds"] = {"low": correct / 18, "high": (correct + 2) / 18}
    forger.write(fields, seal=True)
    assert again(bench, forger.path, root, "--reuse-features", "--tolerance", "0.001")[0] == 5
    assert again(bench, forger.path, root, "--reuse-features", "--tolerance", "0.06")[0] == 0
    words = ("--home", root / "home", "--workers", "0", "--reuse-features")
    code, out, err = bench("replay", forger.path, *words)
    assert code == 5 and "metrics.correct" in out and "not equal to the record" in err


def test_a_checkout_that_was_clean_is_no_difference_but_a_limit_is(
    made: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    root, path, _ = made
    forger = Forger.copy(path, tmp_path / "records")
    fields = forger.fields
    is_complete = fields["status"] == "complete"
    fields["status"] = "not_reportable" if is_complete else "complete"
    fields["reasons"] = ["the code differs from its commit"] if is_complete else []
    forger.write(fields, seal=True)
    assert again(bench, forger.path, root, "--reuse-features")[0] == 0
    fields.update(status="not_reportable", reasons=["limited to 5 rows per split"])
    forger.write(fields, seal=True)
    code, said, _ = again(bench, forger.path, root, "--reuse-features")
    assert code == 5
    assert [one["field"] for one in said["differing"]] == ["status", "reasons"]


def test_an_older_record_is_compared_by_what_it_holds(
    made: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    root, path, _ = made
    forger = Forger.copy(path, tmp_path / "records")
    fields = forger.fields
    fields["schema_version"] = 3
    selection = fields["probe"]["selection"]
    del fields["seal"], selection["score_split_fit"]
    selection["score_split_scores"] = []
    del fields["encoder"]["depth"]
    forger.write(fields)
    code, said, _ = again(bench, forger.path, root)
    left = [one["field"] for one in said["differing"]]
    assert left == ["probe.selection.score_split_scores"] and code == 5


def test_what_is_not_here_is_said_in_a_sentence(
    made: tuple[Path, Path, Path], bench: Bench, tmp_path: Path
) -> None:
    root, path, boxes = made
    fields = json.loads(path.read_text())
    code, _, err = again(bench, boxes, root, "--data", tmp_path)
    assert code == 4 and f"record {boxes.stem} cannot be run again here" in err
    code, _, err = again(bench, path, root, "--set", "task.train=/nowhere/train.txt")
    assert code in (2, 4) and "cannot be run again here" in err and "/nowhere/train.txt" in err
    forger = Forger.copy(path, tmp_path / "records")
    fields["encoder"]["spec"] = "arrays"
    forger.write(fields, seal=True)
    code, _, err = again(bench, forger.path, root)
    assert code == 2 and "features from elsewhere" in err
