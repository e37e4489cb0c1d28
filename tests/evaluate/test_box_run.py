"""A whole run on boxes of real videos: from a task in a module to a record others can score."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.cli import lowshot, run
from bench.evaluate.evaluate import Outcome
from bench.records.record_files import read_record
from bench.verify.verify_records import verify
from tests.commands import Bench
from tests.media import write_video
from tests.sound_record import box_record, sound_record

MODULE = '''
"""Boxes on key frames of three videos, one of which may be missing."""
from pathlib import Path
import numpy as np
from bench import registry
from bench.data.boxes.ava_csv import Boxes, KeyFrames
from bench.data.boxes.regions import FrameTruth, RegionReadout, Regions
from bench.types import ClipPlan
from bench.data.manifest import Manifest, Task

CLASSES, IDS = ("stand", "swim", "sit"), np.array([1, 2, 5])
EVALUATED = {1: "stand", 5: "sit"}


def split(data, name, videos):
    video, micros = (np.repeat(part, 2) for part in (
        np.repeat(np.arange(len(videos)), 2), np.tile([1_000_000, 2_000_000], len(videos))))
    rng = np.random.default_rng(len(videos))
    corners = np.tile([[0.0, 0.0, 0.5, 1.0], [0.4, 0.1, 1.0, 0.9]], (2 * len(videos), 1))
    regions = Regions.of(videos=videos, media=[data / f"{v}.mp4" for v in videos], video=video,
                         micros=micros, corners=corners, start=0, facts={"threshold": 0.8})
    labels = rng.integers(0, 2, (len(video), 3))
    labels[::4] |= 1
    ids = [f"{videos[v]},{m},{x}" for v, m, x in zip(video, micros, corners[:, 0])]
    manifest = Manifest(name="tiny_boxes", split=name, kind="video", ids=ids,
                        media=regions.by_row, labels=labels, classes=CLASSES, regions=regions)
    rows, places = np.nonzero(labels)
    boxes = Boxes(frames=regions.frames.at(rows), corners=corners[rows],
                  action=IDS[places].astype(np.int32), last=np.zeros(len(rows)),
                  declared=regions.frames.at(rows[:0]))
    return manifest, boxes


@registry.task
def tiny_boxes(*, data: Path, rules: str = "official", detections: str = "boxes.csv"):
    """Boxes on key frames."""
    fit, _ = split(data, "train", ("a", "b", "c"))
    score, boxes = split(data, "val", ("d", "e"))
    truth = FrameTruth(boxes=boxes, excluded=None, classes=EVALUATED, ids=IDS, rules=rules)
    plan = ClipPlan.parse("8x1x1@2")
    return Task(name="tiny_boxes", title="Tiny boxes", fit=fit, score=score, fit_plan=plan,
                score_plan=plan, metric="mean_ap", truth=truth, options={"rules": rules},
                readout=RegionReadout(num_layers=1), files={"ground_truth": "ab" * 32})
'''


@pytest.fixture
def boxes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, str]]:
    """Run `bench run` on the tiny boxes; video e is missing."""
    (tmp_path / "tiny_box_task.py").write_text(MODULE)
    (tmp_path / "data").mkdir()
    for number, name in enumerate("abcd"):
        write_video(tmp_path / "data" / f"{name}.mp4", 36 + number, size=(96, 64), fps=12)
    monkeypatch.chdir(tmp_path)

    def call(*more: object) -> tuple[str, str]:
        code, out, err = bench(
            "--with", "tiny_box_task", "run", "-m", "random:vit_digits", "-t", "tiny_boxes",
            "-p", "linear", "--set", "probe.lr=1e-2", "--set", "probe.epochs=2", "--data",
            tmp_path / "data", "--workers", "0", *more,
        )  # fmt: skip
        assert code in (0, 3), err
        return out, err

    return call


def test_run_on_boxes_accounts_for_every_box_and_can_be_scored_by_others(
    boxes: Callable[..., tuple[str, str]], bench: Bench, tmp_path: Path
) -> None:
    out, _ = boxes("--json", "--on-unreadable", "wrong")
    fields = json.loads(out)
    folder = tmp_path / "home" / "records"
    record = read_record(folder / f"{fields['id']}.json")
    metrics, score = record.metrics, record.data.score
    assert record.task.unit == "box" and record.task.files == {"ground_truth": "ab" * 32}
    assert (score.listed, score.used, len(score.missing)) == (8, 4, 4)
    assert score.boxes == {"threshold": 0.8, "boxes": 8, "key_frames": 4, "videos": 2}
    assert (metrics.scored, metrics.expected) == (4, 8) and record.headline == metrics.mean_ap
    assert metrics.bounds.low < metrics.mean_ap < metrics.bounds.high
    assert not verify(folder / f"{record.id}.json").having("failed")
    table = pd.read_parquet(folder / record.artifacts.predictions.path)
    assert table.status.tolist() == ["scored"] * 4 + ["missing"] * 4
    truth = pd.read_parquet(folder / record.artifacts.truth.path)
    cells = truth[["video", "second", "x1", "y1", "x2", "y2", "action", "person"]]
    cells.astype({"action": int}).to_csv(tmp_path / "gt.csv", header=False, index=False)
    (tmp_path / "map.pbtxt").write_text(
        'item {\n name: "stand"\n id: 1\n}\nitem {\n name: "sit"\n id: 5\n}\n'
    )
    code, text, err = bench("detections", record.id, "--home", tmp_path / "home")
    assert code == 0 and len(text.splitlines()) == 4 * 2, err
    (tmp_path / "det.csv").write_text(text)
    for rules, number in metrics.by_rules.items():
        code, out, err = bench(
            "score", "ava", "--gt", tmp_path / "gt.csv", "--detections", tmp_path / "det.csv",
            "--label-map", tmp_path / "map.pbtxt", "--rules", rules, "--json",
        )  # fmt: skip
        assert code == 0, err
        assert json.loads(out)["mAP@0.5"] == number


def test_printed_number_is_named_and_the_place_of_files_is_no_part_of_the_id(
    boxes: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    out, _ = boxes("--on-unreadable", "skip")
    [path] = (tmp_path / "home" / "records").glob("*.json")
    record = read_record(path)
    assert "mAP %" in out and f"{100 * record.headline:.2f}" in out and "top-1" not in out
    assert not verify(path).having("failed")
    out, _ = boxes("--on-unreadable", "skip", "--set", "task.detections=elsewhere.csv")
    assert "(kept)" in out
    out, _ = boxes("--json", "--on-unreadable", "skip", "--set", "task.rules=slowfast")
    other = json.loads(out)
    assert other["id"] != record.id and other["metrics"]["by_rules"] == record.metrics.by_rules
    assert other["metrics"]["mean_ap"] == record.metrics.by_rules["slowfast"]
    scored = [pq.read_table(path.with_name(f"{key}.parquet")) for key in (record.id, other["id"])]
    assert scored[0].equals(scored[1])  # but for whose they are


def test_commands_name_each_number_by_its_metric(capsys: pytest.CaptureFixture[str]) -> None:
    both = [sound_record(correct=71), box_record(0.25, probe="linear")]
    outcomes = [Outcome(record=r, path=Path(f"{r.id}.json"), kept=False) for r in both]
    run.print_outcomes(outcomes, json_=False)
    said = capsys.readouterr().out
    assert "mAP or top-1 %" in said and "71.00 top-1" in said and "25.00 mAP" in said
    run.print_outcomes(outcomes[:1], json_=False)
    said = capsys.readouterr().out
    assert " top-1 %" in said and "mAP" not in said and "71.00 " in said
    lowshot._print(outcomes[1:])
    said = capsys.readouterr()
    assert " 25.0" in said.out and said.err.startswith("mAP in %, mean")
