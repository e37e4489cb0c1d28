"""The log of a run names a collapse that is provoked, and raises no alarm in a healthy run."""

from pathlib import Path
from typing import Any

import pytest

from tasks.digits.films import encode_video
from tasks.digits.scenes import PAIRS, render, scene
from tests.pretrain.tiny_run import entries, run_here, words

# Without moving average and with a predictor that sees only the mean of the context, nothing keeps
# features from becoming the same for all clips.
PROVOKED = {"ema": "0,0", "predictor__depth": 0}
SETTINGS = {
    "encoder__width": 96, "encoder__depth": 3, "batch_size": 8, "mask_batch": 8, "lr": 5e-4,
    "warmup_steps": 10, "start_lr": 2e-4, "initial_std": 0.02,
}  # fmt: skip
EVERY = ("--log-every", 10, "--watch-every", 10, "--save-every", 1000, "--keep-decoded", 1)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 videos of moving digits, every second pair of digit and motion."""
    folder = tmp_path_factory.mktemp("digits")
    for number, row in enumerate(range(0, PAIRS, 2)):
        video = encode_video(render(scene("train", row + number // 4 % 2)))
        (folder / f"{number:02d}.mp4").write_bytes(video)
    return folder


def measured(
    digits: Path, run: Path, *more: object, steps: int, **settings: Any
) -> tuple[dict[int, float], dict[int, str]]:
    """Make a run; returns its relative_std by step and its alarms by step."""
    line = words(digits, run, *EVERY, *more, steps=steps, **{**SETTINGS, **settings})
    assert run_here(line) == 0
    found = [entry for entry in entries(run) if "health" in entry]
    spread = {entry["step"]: entry["health"]["relative_std"] for entry in found}
    return spread, {entry["step"]: entry["alarm"] for entry in found if "alarm" in entry}


def test_provoked_collapse_is_named_and_a_healthy_run_is_not(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spread, alarms = measured(digits, tmp_path / "collapsed", steps=120, **PROVOKED)
    assert 120 in alarms and spread[120] < 0.01 < 0.08 < spread[0]
    assert all("collapse: all clips give nearly the same features" in a for a in alarms.values())
    # Nobody watches a log file: the terminal says it too.
    assert "ALARM steps 100 to 120: collapse" in capsys.readouterr().err

    healthy, alarms = measured(digits, tmp_path / "healthy", steps=120)
    assert not alarms and healthy[0] == spread[0]
    assert min(healthy.values()) > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_collapse_is_told_from_health_with_other_seeds(
    digits: Path, tmp_path: Path, seed: int
) -> None:
    for name, settings, collapses in (("collapsed", PROVOKED, True), ("healthy", {}, False)):
        _, alarms = measured(digits, tmp_path / name, "--seed", seed, steps=200, **settings)
        assert bool(alarms) == collapses
