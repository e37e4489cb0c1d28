"""A decoder that hangs or crashes costs one file, and the others go on."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.data.decode import children
from bench.data.decode.children import DecodingChildren
from bench.errors import UnreadableMedia
from bench.preflight.check_task import decode_planned
from bench.types import ClipPlan
from tests.media import write_video


def decode(path: Path) -> None:
    """Do what the name of the file says, and leave a note of the process that did it."""
    if "hang" in path.name:
        time.sleep(600)
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "broken" in path.name:
        raise UnreadableMedia(f"{path} is broken")
    with (path.parent / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")


def outcome(pool: DecodingChildren, path: Path, **settings: Any) -> str:
    try:
        pool.decode(path, **settings)
    except UnreadableMedia as error:
        return str(error)
    return "good"


def test_a_hang_a_crash_and_a_broken_file_are_named_and_the_others_are_decoded(
    tmp_path: Path,
) -> None:
    names = ["a", "hang", "b", "crash", "c", "broken", "d", "crash2", "e", "hang2", "f"]
    with (
        DecodingChildren(decode, workers=2, seconds=1.0) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        said = threads.map(lambda name: outcome(pool, tmp_path / name), names)
        found = dict(zip(names, said, strict=True))
    assert {name for name, said in found.items() if said == "good"} == set("abcdef")
    assert "hang cannot be decoded: no answer from the decoder within 1 s" in found["hang"]
    assert "the decoder crashed (SIGSEGV)" in found["crash"] and "crash2" in found["crash2"]
    assert found["broken"] == f"{tmp_path / 'broken'} is broken"
    for pid in {int(line) for line in (tmp_path / "pids").read_text().split()}:
        with pytest.raises(ProcessLookupError):  # no child is left behind
            os.kill(pid, 0)


def test_a_child_is_replaced_after_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FILES_PER_CHILD", 3)
    with DecodingChildren(decode, workers=1) as pool:
        assert [outcome(pool, tmp_path / "x") for _ in range(7)] == ["good"] * 7
    pids = (tmp_path / "pids").read_text().split()
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_real_decoders_work_in_children(tmp_path: Path) -> None:
    good, cut = write_video(tmp_path / "good.mp4", 12), write_video(tmp_path / "cut.mp4", 12)
    cut.write_bytes(cut.read_bytes()[:600])
    settings = {"plan": ClipPlan.parse("4x1x1@1"), "kind": "video"}
    with DecodingChildren(decode_planned, workers=1) as pool:
        assert outcome(pool, good, **settings) == "good"
        assert "cut.mp4 cannot be decoded" in outcome(pool, cut, **settings)


def test_relative_paths_are_those_of_the_working_directory_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DecodingChildren(decode, workers=1) as pool:
        for name in ("here", "there"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            assert outcome(pool, Path("a.mp4")) == "good"
            assert (tmp_path / name / "pids").exists()
