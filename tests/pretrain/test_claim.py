"""Two runs in one folder: the second is refused with the name of the first."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.files import this_host
from bench.pretrain.claim import LOCK_FILE, holding
from tests.pretrain.tiny_run import run_here, words, write_videos

FORK = multiprocessing.get_context("fork")


def test_a_folder_in_use_names_its_holder_and_a_killed_holder_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, ready = tmp_path / "run", FORK.Event()
    run.mkdir()

    def hold() -> None:
        with holding(run) as take:
            take()
            ready.set()
            signal.pause()

    child = FORK.Process(target=hold)
    child.start()
    assert ready.wait(240)
    line = words(write_videos(tmp_path / "videos", 2), run, steps=1)
    assert run_here(line) == 2
    said = capsys.readouterr().err
    assert f"process {child.pid} on {this_host()} since 20" in said and str(run) in said
    with pytest.raises(UsageError, match="in use by process"), holding(run) as take:
        take()
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert (run / LOCK_FILE).exists()
    assert run_here(line) == 0
    assert not (run / LOCK_FILE).exists()
