"""A home on a read-only file system serves what is finished; a real mount, seen by one process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Bench

RUN = ["run", "-m", "digits_tiny", "-t", "folder", "-p", "knn", "--set", "probe.k=1", "-j", "0"]


def mounted(home: Path, line: list[str]) -> list[str]:
    """Return the command that runs `line` where `home` is mounted read-only."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, str(home), *line]


@pytest.fixture
def finished(bench: Bench, video_set: Path, tmp_path: Path) -> Path:
    """A home with a run and a check."""
    home = tmp_path / "home"
    can_mount = (
        shutil.which("unshare")
        and not subprocess.run(
            mounted(tmp_path, ["true"]), capture_output=True, check=False
        ).returncode
    )
    if not can_mount:
        pytest.skip("mounting needs more rights than this process has")
    assert bench(*RUN, "--data", video_set)[0] in (0, 3)
    assert bench("check", "folder", "--data", video_set)[0] == 0
    shutil.rmtree(home / "cache")  # as after another version: verification remembers nothing
    return home


def test_a_read_only_home_serves_finished_work(finished: Path, video_set: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}

    def bench_there(*words: str | Path) -> subprocess.CompletedProcess[str]:
        main = "from bench.cli.main import main; main()"
        line = [sys.executable, "-c", main, *map(str, words), "--home", str(finished)]
        return subprocess.run(mounted(finished, line), capture_output=True, text=True, check=False)

    run = bench_there(*RUN, "--data", video_set)
    assert run.returncode in (0, 3) and "(kept)" in run.stdout, run.stderr
    check = bench_there("check", "folder", "--data", video_set)
    assert check.returncode == 0 and "the report is not kept" in check.stderr, check.stderr
    board = bench_there("board", "runs", "--all")
    assert board.returncode == 0 and "digits_tiny" in board.stdout, board.stderr
    page = Path(board.stderr.split()[-1])
    assert page.is_file() and not page.is_relative_to(finished)
    shutil.rmtree(page.parent)
    assert bench_there("verify").returncode in (0, 3)
    other = bench_there(*RUN, "--data", video_set, "--seed", "1")
    assert other.returncode not in (0, 3) and "ead-only" in other.stderr
    assert "Traceback" not in other.stderr
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
