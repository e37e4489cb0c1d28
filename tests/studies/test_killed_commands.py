"""Commands killed anywhere and repeated: the same results, and nothing left in the home."""

import multiprocessing
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

from bench.cli.main import main
from bench.records.record_files import read_record
from tests.pretrain.tiny_run import words
from tests.tasks import layouts
from tests.tasks.test_layouts import items_of

MOMENT = re.compile(rb"20\d\d-\d\d-\d\dT[\d:]{8}Z")  # of records, in tables
FORK = multiprocessing.get_context("fork")
RUN = ["-m", "random:vit_digits", "-t", "folder", "--workers", "0", "--device", "cpu"]
PROBE = ["-p", "knn", "--set", "probe.k=1"]


def ran(line: list[str]) -> int:
    try:
        main(line)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def in_child(line: list[str], fatal_call: int = -1) -> int:
    """Run a command in a process of its own and return how often it called our functions.

    It dies at the call with that number, so that the moment does not depend on its speed.
    """
    counted, called = FORK.Value("q", 0), 0

    def work() -> None:
        torch.set_num_threads(1)

        def count(frame: FrameType, event: str, _: Any) -> None:
            nonlocal called
            if event == "call" and "/bench/" in frame.f_code.co_filename:
                called += 1
                if called == fatal_call:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)
        code = ran(line)
        sys.setprofile(None)
        counted.value = called
        sys.stderr.flush()
        os._exit(0 if code in (0, 3) else code)

    child = FORK.Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == (0 if fatal_call < 0 else -signal.SIGKILL)
    return int(counted.value)


def commands(name: str, media: Path, home: Path) -> list[str]:
    at_home = ["--home", str(home)]
    given: dict[str, list[str]] = {
        "run": ["run", *RUN, *PROBE, "--data", str(media), *at_home],
        "features": ["features", *RUN, "--data", str(media), *at_home],
        "lowshot": [
            "lowshot", *RUN, "-p", "knn", "--set", "probe.knn.k=1", "--shots", "1,2", "--draws",
            "2", "--data", str(media), *at_home,
        ],
        "encode": [
            "encode", *RUN[:2], *RUN[4:], "--videos", str(media / "val"), "--out",
            str(home / "out.npz"),
        ],
        "check": ["check", "folder", "--data", str(media), "--workers", "1", *at_home],
        "data": ["data", "add", "k400", str(media / "kinetics"), *at_home],
        "pretrain": words(media / "train", home / "run", "--resume", steps=6),
    }  # fmt: skip
    return given[name]


def results(home: Path) -> dict[str, Any]:
    """Everything that a command leaves: bytes of files, outcomes of records."""
    found: dict[str, Any] = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        # Logs and caches of verdicts have times, reports of a check how much was done before.
        if path.is_dir() or "tensorboard" in name or ".sqlite" in name or name.startswith("cache/"):
            continue
        if path.suffix == ".json" and path.parent.name == "records":
            found[name] = read_record(path).outcome()
        elif path.suffix in (".jsonl", ".tar") or name.startswith("checks/"):
            found[name] = "there"
        else:
            found[name] = MOMENT.sub(b"", path.read_bytes())
    return found


@pytest.fixture(scope="module")
def media(video_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    for split in ("train", "val"):
        (root / split).symlink_to(video_set / split)
        layouts.kinetics(root / "kinetics", split, items_of("k400", split, 2))
    return root


NAMES = ("run", "features", "lowshot", "encode", "check", "data", "pretrain")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kills", [pytest.param(5, marks=pytest.mark.slow)])
def test_killed_anywhere_and_repeated_gives_the_same_and_leaves_nothing(
    media: Path, tmp_path: Path, name: str, kills: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def line(home: Path) -> list[str]:
        return commands(name, media, home)

    in_child(line(tmp_path / "first"))  # what is imported or rendered once
    calls = in_child(line(tmp_path / "whole"))
    expected = results(tmp_path / "whole")
    assert expected
    for kill, call in enumerate(np.random.default_rng(0).integers(1, calls * 0.9, kills)):
        home = tmp_path / str(kill)
        in_child(line(home), int(call))
        in_child(line(home))
        found = results(home)
        different = {n for n in {*found, *expected} if found.get(n) != expected.get(n)}
        assert not different, sorted(different)
