"""AVA from files to tables: the task `ava` on embedded films, as users have them on disk."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.files import file_sha256
from bench.records.record_files import read_record
from bench.verify.verify_records import verify
from tasks.digits import ava_films as files
from tasks.moving_digits import NUM_ROWS
from tests.commands import Bench, Records

ENCODER = ("-m", "random:digits_tiny")
# The films begin at second 0, and the encoder reads 8 frames.
HERE = ("--set", "task.start=0", "--plan", "8@3", "--workers", "0")
FILMS = {"small": {"train": 8, "val": 4}}
QUICK = ("--set", "probe.epochs=2", "--set", "probe.lr=3e-3", "--set", "probe.warmup=1")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight films to fit on and four to score, with lists and boxes in the formats of AVA."""
    folder = tmp_path_factory.mktemp("ava")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "NUM_FILMS", FILMS)
        files.ensure_films(folder, "small")
    [root] = folder.glob("moving_digits_ava/*/small")
    return root


@pytest.fixture
def root(films: Path, tmp_path: Path) -> Path:
    """A copy to spoil, with one of the three detector files."""
    copy = shutil.copytree(films, tmp_path / "my_ava")
    for path in copy.rglob("*.json"):
        if "annotations" in str(path) or "detections" in str(path):
            path.unlink()
    return copy


@pytest.fixture
def run(records: Records, root: Path) -> Records:
    """Run the task `ava` on the films; returns the records."""

    def call(*more: object, probe: str = "linear") -> list[dict[str, Any]]:
        return records(*ENCODER, "-t", "ava", "-p", probe, "--data", root, *HERE, *QUICK, *more)

    return call


def refused(bench: Bench, root: Path, *more: object, code: int = 4) -> str:
    """Return the sentence with which a run on the films is refused."""
    where = ("-t", "ava", "-p", "linear", "--data", root, *HERE, *QUICK)
    ended, _, err = bench("run", *ENCODER, *where, *more)
    assert ended == code, err
    return " ".join(err.split())


def test_second_probe_reads_what_the_first_one_stored(run: Records, tmp_path: Path) -> None:
    [first] = run()
    assert first["features"]["decoded"] and first["features"]["mode"] == "stored"
    [second] = run("--set", "probe.lr=1e-3")
    assert second["id"] != first["id"]
    assert second["features"]["decoded"] == second["features"]["encoder_calls"] == 0
    boxes = second["data"]["fit"]["listed"] + second["data"]["score"]["listed"]
    assert second["features"]["rows_from_store"] == boxes
    [third] = run(probe="attentive")
    [fourth] = run("--set", "probe.batch_size=32", probe="attentive")
    assert third["features"]["decoded"] and not fourth["features"]["decoded"]
    for record in (first, fourth):
        path = tmp_path / "home" / "records" / f"{record['id']}.json"
        assert not verify(path).having("failed")


def test_record_tells_detector_file_threshold_and_every_digest(run: Records, root: Path) -> None:
    [record] = run("--set", "task.threshold=0.85")
    task, boxes = record["task"], record["data"]["score"]["boxes"]
    path = root / "detections" / "ava_val_predicted_boxes.csv"
    assert task["options"]["threshold"] == boxes["detector"]["threshold"] == 0.85
    assert task["files"]["detections"] == file_sha256(path)
    assert {"ground_truth", "ground_truth_train", "label_map", "excluded"} <= task["files"].keys()
    scores = [float(line.split(",")[-1]) for line in path.read_text().splitlines()]
    detector = boxes["detector"]
    assert detector["rows"] == len(scores) and detector["below_threshold"] > 0
    dropped = detector["below_threshold"] + detector["excluded"]
    assert record["data"]["score"]["listed"] == detector["boxes"] - dropped
    [other] = run("--set", "task.threshold=0.8")
    assert other["id"] != record["id"]


def test_task_ava_gives_the_number_of_the_embedded_task(
    run: Records, records: Records, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tasks.digits.ava_films", "tasks.moving_digits_ava"):
        monkeypatch.setattr(f"{module}.NUM_FILMS", FILMS)
    home = films.parents[2]
    [ours] = run()
    [embedded] = records(
        *ENCODER, "-t", "moving_digits_ava", "-p", "linear", "--data", home, *QUICK,
        "--set", "task.size=small", "--set", "probe.batch_size=64", "--workers", "0", "--set",
        "probe.weight_decay=0.05", "--set", "probe.batch_norm=false", "--set",
        "probe.start_lr=1e-6", "--set", "probe.final_lr=1e-6",
    )  # fmt: skip
    assert embedded["features"]["decoded"] == 0  # the same media, key frames and boxes
    assert ours["metrics"]["by_rules"] == embedded["metrics"]["by_rules"]


def test_missing_video_stops_the_run_or_is_counted(run: Records, bench: Bench, root: Path) -> None:
    gone = sorted((root / "videos").rglob("*val*.mp4"))[0]
    gone.unlink()
    said = refused(bench, root)
    assert "are missing" in said and gone.stem in said and "--on-unreadable" in said
    [wrong] = run("--on-unreadable", "wrong")
    score, metrics = wrong["data"]["score"], wrong["metrics"]
    assert score["missing"] and all(name.startswith(gone.stem) for name in score["missing"])
    assert score["used"] == metrics["scored"] == score["listed"] - len(score["missing"])
    assert metrics["bounds"]["low"] < metrics["mean_ap"] < metrics["bounds"]["high"]
    [skipped] = run("--on-unreadable", "skip")
    assert skipped["metrics"]["num_frames"] < metrics["num_frames"]


@pytest.mark.parametrize("probe", ["linear", "attentive"])
def test_timestamp_without_a_frame_costs_its_boxes_alone(
    run: Records, bench: Bench, root: Path, probe: str
) -> None:
    for path in root.rglob("ava_included_timestamps*"):
        path.unlink()
    path = root / "detections" / "ava_val_predicted_boxes.csv"
    lines = path.read_text().splitlines()
    film = lines[0].split(",")[0]
    path.write_text("\n".join([*lines, f"{film},0950,0.1,0.1,0.4,0.5,,0.99"]) + "\n")
    assert f"{film},0950" in refused(bench, root)
    [record] = run("--on-unreadable", "wrong", probe=probe)
    [(name, reason)] = record["data"]["score"]["undecodable"].items()
    assert name.startswith(f"{film},0950") and "950" in reason
    assert record["data"]["score"]["used"] == record["data"]["score"]["listed"] - 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0.4,0.1,0.1,0.5,,0.99", "inverted"),
        ("0.4,0.1,1.6,0.5,,0.99", "far beyond its frame"),
        ("0.4,0.1,x,0.5,,0.99", "four numbers"),
        ("0.4,0.1,0.6,0.5,,97", "score"),
    ],
)
def test_boxes_that_cannot_be_are_refused_with_their_line(
    bench: Bench, root: Path, row: str, said: str
) -> None:
    path = root / "detections" / "ava_val_predicted_boxes.csv"
    lines = path.read_text().splitlines()
    film, second = lines[0].split(",")[:2]
    path.write_text("\n".join([*lines, f"{film},{second},{row}"]) + "\n")
    sentence = refused(bench, root)
    assert said in sentence and f"line {len(lines) + 1}" in sentence


def test_detections_of_another_split_are_refused(bench: Bench, root: Path) -> None:
    other = root / "detections" / "ava_detection_train_boxes_and_labels_v2.2.csv"
    said = refused(bench, root, "--set", f"task.detections={other}")
    assert "the ground truth's split" in said and other.name in said


def test_labels_of_few_videos(bench: Bench, root: Path, tmp_path: Path) -> None:
    code, _, err = bench(
        "lowshot", *ENCODER, "-t", "ava", "-p", "linear", "--data", root, *HERE, *QUICK,
        "--fractions", "25,50,100", "--draws", "1",
    )  # fmt: skip
    assert code in (0, 3), err
    found = [read_record(path) for path in (tmp_path / "home" / "records").glob("*.json")]
    by_share = {record.train_labels.fraction: record for record in found}
    assert sorted(by_share) == [0.25, 0.5, 1.0]
    assert [by_share[share].task.options["videos"] for share in sorted(by_share)] == [2, 4, 8]
    assert len({record.features.fit_key for record in found}) == 1
    said = refused(bench, root, "--set", "task.shots=2", code=2)
    assert "shots" in said and "fraction" in said


def test_board_shows_boxes_beside_clips(
    run: Records, bench: Bench, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NUM_ROWS, "small", {"train": 16, "test": 8})
    [boxes] = run()
    [clips] = records(
        *ENCODER, "-t", "moving_digits_how", "-p", "knn", "--set", "task.size=small",
        "--set", "probe.k=1", "--workers", "0",
    )  # fmt: skip
    code, _, err = bench("board", "runs", "--all")
    assert code == 0, err
    table = (tmp_path / "home" / "tables" / "runs.md").read_text()
    rows = [line for line in table.splitlines() if "random:digits_tiny" in line]
    numbers = [boxes["metrics"]["mean_ap"], clips["metrics"]["top1"]]
    for number, row in zip(numbers, rows[:2], strict=True):
        assert f"{100 * number:.1f}" in row
    page = (tmp_path / "home" / "tables" / "runs.html").read_text()
    assert boxes["metrics"]["classes"][0]["name"] in page
