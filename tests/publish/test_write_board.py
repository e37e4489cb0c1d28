"""Tables are made of what verification lets through."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.evaluate import write_record
from bench.publish.write_board import write_board
from bench.records.environment import stamp
from tests.commands import Bench


@pytest.fixture
def home(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that adds the record of a probe on features, which say a label or nothing.

    The code counts as clean, or as changed since its commit.
    """

    def add(name: str, *, signal: float = 4.0, dirty: bool = False, seed: int = 0) -> str:
        own = {"git_dirty": dirty}
        monkeypatch.setattr(write_record, "stamp", lambda device: {**stamp(device), **own})
        generator = np.random.default_rng(seed)
        for split, rows in (("train", 60), ("score", 120)):
            y = np.arange(rows) % 4
            x = generator.standard_normal((rows, 8)) + signal * np.eye(8)[y]
            np.savez(tmp_path / f"{name}-{split}.npz", x=x.astype(np.float32), y=y)
        files = (
            "--train",
            tmp_path / f"{name}-train.npz",
            "--score",
            tmp_path / f"{name}-score.npz",
        )
        code, out, err = bench(
            "probe", *files, "--probe", "knn", "--set", "k=[1,5]", "--home", tmp_path, "--json"
        )
        assert code == (0 if signal and not dirty else 3), err
        return json.loads(out)["id"]

    add.folder = tmp_path
    return add


def table(home: Callable[..., str], bench: Bench, *options: object) -> tuple[int, str, str]:
    code, _, err = bench("board", "runs", "--home", home.folder, *options)
    return code, (home.folder / "tables" / "runs.md").read_text(), err


def test_a_record_that_does_not_prove_itself_is_left_out_by_name(
    home: Callable[..., str], bench: Bench
) -> None:
    good, forged = home("good"), home("forged", seed=1)
    path = home.folder / "records" / f"{forged}.json"
    fields = json.loads(path.read_text())
    assert fields["metrics"]["correct"] < 120
    fields["metrics"].update(correct=120, top1=1.0, mean_per_class=1.0)
    fields["metrics"]["bounds"] = {"low": 1.0, "high": 1.0}
    path.write_text(json.dumps(fields))
    code, text, err = table(home, bench)
    assert code == 5
    assert "arrays:good" in text and "arrays:forged" not in text
    for said in (text, err):
        assert f"{forged}.json failed verification" in said and good not in said
    assert forged in (home.folder / "tables" / "runs.html").read_text()


def test_a_number_that_is_not_above_chance_stands_there_as_suspect(
    home: Callable[..., str], bench: Bench
) -> None:
    home("noise", signal=0.0)
    code, text, _ = table(home, bench)
    assert code == 0 and "arrays:noise" in text
    assert "suspect: " in text and "not above chance" in text and "**" not in text


def test_what_is_not_reportable_stays_hidden_though_it_is_suspect_too(
    home: Callable[..., str], bench: Bench
) -> None:
    home("noise", signal=0.0, dirty=True)
    home("good")
    code, text, _ = table(home, bench)
    assert code == 0 and "arrays:noise" not in text and "Not shown: 1 not reportable" in text
    _, text, _ = table(home, bench, "--all")
    assert "not reportable: " in text and "not above chance" in text


def test_verdicts_are_remembered_by_the_bytes_of_the_files(home: Callable[..., str]) -> None:
    name = home("good")
    assert not write_board("runs", home.folder, None, include_all=False).refused
    path = home.folder / "records" / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    [said] = write_board("runs", home.folder, None, include_all=False).refused
    assert name in said
