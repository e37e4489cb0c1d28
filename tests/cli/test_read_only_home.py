"""A home on a read-only file system serves what is finished; a real mount, seen by one process."""

from __future__ import annotations

import json
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


ALL_OF = """
import contextlib, io, json, sys
from bench.cli.main import main

found = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
    found.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(found))
"""


def test_a_read_only_home_serves_finished_work(finished: Path, video_set: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    run = [*RUN, "--data", str(video_set)]
    lines = [run, ["check", "folder", "--data", str(video_set)], ["board", "runs", "--all"],
             ["verify"], [*run, "--seed", "1"]]  # fmt: skip
    words = json.dumps([[*line, "--home", str(finished)] for line in lines])
    there = mounted(finished, [sys.executable, "-c", ALL_OF, words])
    made = subprocess.run(there, capture_output=True, text=True, check=True)
    kept, check, board, verify, other = json.loads(made.stdout.splitlines()[-1])
    assert kept[0] in (0, 3) and "(kept)" in kept[1], kept
    assert check[0] == 0 and "the report is not kept" in check[2], check
    assert board[0] == 0 and "digits_tiny" in board[1], board
    page = Path(board[2].split()[-1])
    assert page.is_file() and not page.is_relative_to(finished)
    shutil.rmtree(page.parent)
    assert verify[0] in (0, 3), verify
    assert other[0] == 2 and "is read-only and has no record of this run" in other[2], other
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
