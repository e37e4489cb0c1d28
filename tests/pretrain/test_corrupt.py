"""Files that cannot be decoded are skipped, counted and named once each, whatever happens."""

import re
import signal
from pathlib import Path

import pytest

from tests.media import truncate
from tests.pretrain.tiny_run import (
    KILL_IN_A_SAVE,
    last_step,
    run_here,
    running,
    unreadable,
    words,
    write_videos,
)

NUM_FILES = 60
CORRUPT = ["07.mp4", "31.mp4", "58.mp4"]  # 5 %
# With 4 clips a step, a pass over the files takes 15 steps.


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """57 videos; one that is cut off, one that is no video and one that is empty."""
    folder = write_videos(tmp_path_factory.mktemp("corrupt"), 3)
    for number in range(3, NUM_FILES):
        path = folder / f"{number:02d}.mp4"
        path.write_bytes((folder / f"{number % 3:02d}.mp4").read_bytes())
    truncate(folder / "00.mp4", folder / CORRUPT[0], 0.5)
    (folder / CORRUPT[1]).write_bytes(b"<html>404</html>" * 50)
    (folder / CORRUPT[2]).write_bytes(b"")
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_run_over_5_percent_corrupt_files_finishes_and_names_each_once(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    run = tmp_path / "run"
    # Two passes, so that each corrupt file is met at least twice.
    line = words(videos, run, "--log-every", 5, "--workers", workers, steps=30)
    assert run_here(line) == 0
    said = capsys.readouterr()
    assert unreadable(run) == CORRUPT
    assert last_step(run) == 30
    *progress, last = said.err.strip().splitlines()
    assert re.search(r"\bunreadable 3\b", progress[-1])
    assert "3 files could not be read" in last and f"{run}/unreadable.jsonl" in last
    assert said.out == f"{run}/encoders/step_000000030\n"


def test_files_met_before_a_checkpoint_are_named_though_the_run_is_killed_before_it_logs(
    videos: Path, tmp_path: Path
) -> None:
    run, every = tmp_path / "run", ("--log-every", 500, "--watch-every", 500, "--save-every", 16)
    with running(words(videos, run, *every, steps=500), KILL_IN_A_SAVE.format(saves=1)) as process:
        assert process.wait() == -signal.SIGKILL
    assert last_step(run) == 0
    assert unreadable(run) == CORRUPT
    # Further passes meet them again; a line that a killed writer left without its end is dropped.
    with (run / "unreadable.jsonl").open("a") as file:
        file.write('{"path": "to')
    line = words(videos, run, *every, "--resume", "--steps", 60, steps=500)
    assert run_here(line) == 0
    assert unreadable(run) == CORRUPT


def test_of_too_few_steps_to_meet_them_all_only_those_that_were_met_are_named(
    videos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert run_here(words(videos, run, "--steps", 1, steps=30)) == 0
    assert set(unreadable(run)) < set(CORRUPT)
