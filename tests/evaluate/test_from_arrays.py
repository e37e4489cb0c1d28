"""`bench probe`: what it refuses and when its records are reportable."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.evaluate import write_record
from tests.commands import Bench


@pytest.fixture
def arrays(tmp_path: Path) -> Callable[..., list[str]]:
    """Write train.npz and score.npz with these labels; returns the command's options."""

    def write(train: dict[str, np.ndarray], score: dict[str, np.ndarray]) -> list[str]:
        for name, labels in (("train", train), ("score", score)):
            x = np.eye(8, dtype=np.float32)[labels]
            np.savez(tmp_path / f"{name}.npz", x=x, y=np.array(labels))
        files = ["--train", tmp_path / "train.npz", "--score", tmp_path / "score.npz"]
        return [*files, "-p", "knn", "--set", "k=1", "--json"]

    return write


@pytest.mark.parametrize(("dirty", "status"), [(True, "not_reportable"), (False, "complete")])
def test_probe_on_changed_code_is_not_reportable(
    bench: Bench,
    arrays: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    dirty: bool,
    status: str,
) -> None:
    real = write_record.stamp
    monkeypatch.setattr(write_record, "stamp", lambda device: {**real(device), "git_dirty": dirty})
    _, out, err = bench("probe", *arrays([0, 1, 2], [0, 1, 2]))
    record = json.loads(out)
    assert record["status"] == status, err
    assert record["reasons"] == (["the code differs from its commit"] if dirty else [])


def test_labels_that_were_never_fitted_are_refused_by_name(
    bench: Bench, arrays: Callable[..., list[str]]
) -> None:
    code, _, err = bench("probe", *arrays([0, 1, 3], [0, 2, 2, 5, 3]))
    assert code == 4
    assert "score.npz" in err and "train.npz" in err and "2, 5" in err and "3 rows" in err


def test_labels_that_are_not_scored_are_no_error(
    bench: Bench, arrays: Callable[..., list[str]]
) -> None:
    code, out, err = bench("probe", *arrays([0, 1, 3], [0, 3]))
    assert code in (0, 3), err
    assert json.loads(out)["metrics"]["top1"] == 1.0


def test_junk_is_refused_without_unsafe_advice(
    bench: Bench, arrays: Callable[..., list[str]], tmp_path: Path
) -> None:
    options = arrays([0, 1], [0, 1])
    np.save(tmp_path / "plain.npy", np.zeros((2, 2)))
    (tmp_path / "junk.npz").write_text("hello")
    for name in ("plain.npy", "junk.npz"):
        options[1] = tmp_path / name
        code, _, err = bench("probe", *options)
        assert code == 4 and name in err and "plain arrays" in err, err
        assert "pickle" not in err and "trust" not in err


def test_probe_weights_that_are_no_checkpoint_are_refused(
    bench: Bench, video_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.pt").write_text("hello")
    whole = Path("tests/fixtures/attentive_v1.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    for name, says in {"text.pt": "not a checkpoint", "cut.pt": "cut short"}.items():
        code, _, err = bench(
            "run", "-m", "random:vit_digits", "-t", "folder", "--data", video_set, "--workers", "0",
            "-p", "attentive", "--probe-weights", tmp_path / name,
        )  # fmt: skip
        assert code == 2 and name in err and says in err, err
