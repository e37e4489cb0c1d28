"""`bench probe` on small odd inputs: labels that do not start at 0, huge values, copies, noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import Bench

CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "features"


def probed(bench: Bench, train: Path, score: Path, *options: str) -> dict[str, Any]:
    """Return the record of `bench probe`."""
    code, out, err = bench("probe", "--train", train, "--score", score, "--json", *options)
    assert code in (0, 3), err
    found: dict[str, Any] = json.loads(out)
    return found


def written(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
    np.savez(path, x=x, y=y)
    return path


@pytest.mark.parametrize(
    ("score", "expected"), [("s5.npz", 26 / 300), ("s5c0.npz", 3 / 30), ("s5c9.npz", 3 / 30)]
)
def test_a_class_without_votes_is_never_among_the_first_five(
    bench: Bench, score: str, expected: float
) -> None:
    metrics = probed(bench, CASES / "t5.npz", CASES / score, "-p", "knn", "--set", "k=1")["metrics"]
    assert metrics["top1"] == metrics["top5"] == expected


def test_with_two_neighbours_the_first_five_are_the_two_that_voted(bench: Bench) -> None:
    metrics = probed(bench, CASES / "t5.npz", CASES / "s5.npz", "-p", "knn", "--set", "k=2")[
        "metrics"
    ]
    (x, y), (score_x, score_y) = (
        (file["x"].astype(np.float64), file["y"])
        for file in (np.load(CASES / "t5.npz"), np.load(CASES / "s5.npz"))
    )
    near = np.argsort(-cosines(score_x, x), axis=1, kind="stable")[:, :2]
    assert metrics["top5"] == pytest.approx((y[near] == score_y[:, None]).any(axis=1).mean())


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The similarity of all rows in float64."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return np.asarray(a @ b.T)


@pytest.mark.parametrize(("train", "score"), [("from1", "from1s"), ("gap", "gaps")])
@pytest.mark.parametrize("probe", ["knn", "linear", "logistic"])
def test_classes_are_those_that_occur(bench: Bench, train: str, score: str, probe: str) -> None:
    files = CASES / f"{train}.npz", CASES / f"{score}.npz"
    record = probed(bench, *files, "-p", probe)
    occur = np.unique(np.load(files[0])["y"])
    assert record["task"]["num_classes"] == len(occur)
    assert record["metrics"]["chance"] == 1 / len(occur)
    assert record["metrics"]["top1"] == 1.0


def test_numbers_of_wordnet_are_labels_like_any_others(bench: Bench, tmp_path: Path) -> None:
    y = np.array([2084071, 2121808, 9223372036854775807] * 4)
    x = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    files = written(tmp_path / "a.npz", x, y), written(tmp_path / "b.npz", x[:6], y[:6])
    record = probed(bench, *files, "-p", "logistic")
    assert (record["metrics"]["top1"], record["metrics"]["chance"]) == (1.0, 1 / 3)


def test_labels_beyond_what_can_be_counted_are_refused(bench: Bench, tmp_path: Path) -> None:
    x, y = np.eye(2, dtype=np.float32), np.array([0, 2**63], dtype=np.uint64)
    files = written(tmp_path / "a.npz", x, y), written(tmp_path / "b.npz", x, y)
    code, _, err = bench("probe", "--train", files[0], "--score", files[1], "-p", "knn")
    assert code == 4 and "has the label 9223372036854775808" in err


@pytest.mark.parametrize(("train", "score"), [("huge", "huges"), ("toff", "soff")])
def test_knn_ranks_as_in_float64(bench: Bench, train: str, score: str) -> None:
    record = probed(bench, CASES / f"{train}.npz", CASES / f"{score}.npz", "-p", "knn")
    assert record["metrics"]["top1"] == 1.0


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e25, 0), (1e-25, 0), (1, 1e4), (1, -3e4), (1e30, 1e33), (1, 0)]
)
def test_one_neighbour_is_that_of_float64(
    bench: Bench, tmp_path: Path, scale: float, offset: float
) -> None:
    rng = np.random.default_rng(0)
    x, score_x = (
        (rng.normal(size=(rows, 24)) * scale + offset).astype(np.float32) for rows in (200, 150)
    )
    y = np.arange(200)  # every training row is a class of its own: the predictions are the rows
    nearest = cosines(score_x.astype(np.float64), x.astype(np.float64)).argmax(axis=1)
    files = written(tmp_path / "a.npz", x, y), written(tmp_path / "b.npz", score_x, nearest)
    record = probed(bench, *files, "-p", "knn", "--set", "k=1")
    assert record["metrics"]["top1"] == 1.0


def test_differences_that_float32_cannot_hold_are_refused(bench: Bench, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    good = written(tmp_path / "good.npz", rng.normal(size=(20, 8)) + 1e4, y)
    assert probed(bench, good, good, "-p", "knn", "--set", "k=1")["metrics"]["top1"] == 1.0
    for name, x in (("far", rng.normal(size=(20, 8)) + 1e9), ("large", np.full((20, 8), 1e200))):
        bad = written(tmp_path / f"{name}.npz", x, y)
        code, _, err = bench("probe", "--train", bad, "--score", bad, "-p", "knn")
        assert code == 4 and f"{name}.npz" in err and "float32" in err


def test_scored_rows_that_are_training_rows_are_noted(bench: Bench, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 8)).astype(np.float32), np.arange(20) % 2
    train = written(tmp_path / "a.npz", x, y)
    other = rng.normal(size=(10, 8)).astype(np.float32)
    other[[3, 7]] = x[[11, 0]]
    record = probed(
        bench, train, written(tmp_path / "b.npz", other, y[:10]), "-p", "knn", "--set", "k=1"
    )
    [note] = record["data"]["score"]["notes"]
    assert note == "2 of 10 scored rows have the features of a training row: 3, 7"
    assert record["data"]["fit"]["notes"] == []


@pytest.mark.parametrize(
    ("case", "doubts"),
    [
        ("rn", ["40 of 200 right (20 %, 95 % interval 15 % to 26.1 %) is not above chance, 20 %"]),
        ("const", [
            "10 of 50 right (20 %, 95 % interval 11.2 % to 33 %) is not above chance, 20 %",
            "every row is predicted as class 2",
        ]),
    ],
)  # fmt: skip
def test_a_run_at_chance_says_so_itself_and_ends_as_its_verification_does(
    bench: Bench, tmp_path: Path, case: str, doubts: list[str]
) -> None:
    files = ("--train", CASES / f"{case}.npz", "--score", CASES / f"{case}s.npz")
    code, out, err = bench("probe", *files, "--json")
    record = json.loads(out)
    assert record["status"] == "suspect" and record["reasons"][: len(doubts)] == doubts
    assert code == 3 and all(f"{doubt}\n" in err for doubt in doubts)
    code, out, _ = bench("verify", record["id"], "--home", tmp_path / "home", "--json")
    findings = json.loads(out)["findings"]
    said = [one["sentence"] for one in findings if one["outcome"] == "suspect"]
    assert code == 3 and sorted(said[-len(doubts) :]) == sorted(doubts)
    for one in findings:  # and what verification cannot check
        assert one["outcome"] != "unchecked" or f"unchecked: {one['check']}: " in err
    again, _, err = bench("probe", *files)  # kept
    assert again == 3 and "not above chance" in err


def test_a_kept_record_that_was_changed_is_not_served_as_if_it_were_sound(
    bench: Bench, tmp_path: Path
) -> None:
    x, y = np.eye(8, dtype=np.float32)[np.arange(80) % 8], np.arange(80) % 8
    train, score = (written(tmp_path / f"{name}.npz", x, y) for name in ("a", "b"))
    record = probed(bench, train, score, "-p", "knn", "--set", "k=1")
    path = tmp_path / "home" / "records" / f"{record['id']}.json"
    path.write_text(path.read_text().replace(record["created"], "2020-01-01T00:00:00Z"))
    code, _, err = bench("probe", "--train", train, "--score", score, "-p", "knn", "--set", "k=1")
    assert code == 5 and "failed: seal: " in err, err
