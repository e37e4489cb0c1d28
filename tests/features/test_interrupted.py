"""Killed, doubled and stale writers: the store ends in the bytes of an undisturbed run."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from bench import files
from bench.errors import BenchError
from bench.features import extract as extract_module
from bench.features import store as store_module
from bench.launch.work_claims import Claims, claims_file, sweep
from tests.features.small import block_bytes, make_manifest, make_videos, run, tiny_encoder

FORK = multiprocessing.get_context("fork")
READOUTS = ("vector", "tokens")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_videos(tmp_path_factory.mktemp("videos"), 12)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BLOCK_BYTES", 2 * 96)


def extract_in_child(
    videos: list[Path], home: Path, before: Callable[..., Any] | None = None
) -> ForkProcess:
    """Start an extraction in a process of its own."""

    def work() -> None:
        torch.set_num_threads(1)
        if before is not None:
            before()
        run(tiny_encoder(), make_manifest(videos), home, readouts=READOUTS)

    child = FORK.Process(target=work)
    child.start()
    return child


def reference(videos: list[Path], home: Path) -> tuple[dict[str, str], float]:
    """Bytes of an undisturbed run, and the seconds it took."""
    child = extract_in_child(videos, home)
    begin = time.monotonic()
    child.join()
    assert child.exitcode == 0
    return block_bytes(home), time.monotonic() - begin


def killed_and_resumed(videos: list[Path], home: Path, seconds: float) -> dict[str, str]:
    child = extract_in_child(videos, home)
    time.sleep(seconds)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    run(tiny_encoder(), make_manifest(videos), home, readouts=READOUTS)
    return block_bytes(home)


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_anywhere_and_run_again_gives_the_same_bytes(
    videos: list[Path], tmp_path: Path, kills: int
) -> None:
    expected, seconds = reference(videos, tmp_path / "reference")
    assert len(expected) == 6 + 12 + 2  # blocks of vectors, of tokens, and the facts of both
    rng = np.random.default_rng(kills)
    for kill, moment in enumerate(rng.uniform(0, seconds, kills)):
        assert killed_and_resumed(videos, tmp_path / str(kill), moment) == expected


def test_killed_in_the_middle_of_a_write_leaves_no_trace(
    videos: list[Path], tmp_path: Path
) -> None:
    expected, _ = reference(videos, tmp_path / "reference")
    home = tmp_path / "home"

    def die_at_the_seventh_sync() -> None:
        syncs = iter(range(7))
        sync = os.fsync

        def fatal_sync(handle: int) -> None:
            if next(syncs) == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(handle)

        files.os.fsync = fatal_sync

    child = extract_in_child(videos, home, die_at_the_seventh_sync)
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert [path for path in block_bytes(home) if path.endswith(".partial")]
    run(tiny_encoder(), make_manifest(videos), home, readouts=READOUTS)
    assert block_bytes(home) == expected


def test_two_processes_at_once_end_in_the_same_bytes(videos: list[Path], tmp_path: Path) -> None:
    expected, _ = reference(videos, tmp_path / "reference")
    both = [extract_in_child(videos, tmp_path / "shared") for _ in range(2)]
    for child in both:
        child.join()
        assert child.exitcode == 0
    assert block_bytes(tmp_path / "shared") == expected


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    child = FORK.Process(target=lambda: None)
    child.start()
    child.join()
    host = files.this_host()
    dead = tmp_path / f"000/block-000001.safetensors.{host}.{child.pid}.partial"
    living = tmp_path / f"000/block-000001.safetensors.{host}.{os.getpid()}.partial"
    elsewhere = tmp_path / f"000/block-000001.safetensors.{host}x.{child.pid}.partial"
    dead.parent.mkdir()
    for path in (dead, living, elsewhere):
        path.write_bytes(b"half")
    assert files.remove_leftovers(tmp_path) == 1
    assert not dead.exists() and living.exists() and elsewhere.exists()


def test_a_full_disk_is_a_sentence_and_leaves_nothing_behind(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(BenchError, match=r"No space left on device; free some space, or set BENCH"):
        run(tiny_encoder(), make_manifest(videos), tmp_path)
    assert not list((tmp_path / "features").rglob("*.partial"))


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where a folder should be")
    with pytest.raises(BenchError, match="cannot write"):
        files.write_whole(tmp_path / "features" / "ab" / "facts.json", b"{}")


def test_a_damaged_block_is_named(videos: list[Path], tmp_path: Path) -> None:
    sets, _ = run(tiny_encoder(), make_manifest(videos[:2]), tmp_path)
    [block] = sets["vector"].folder.rglob("block-*")
    block.write_bytes(block.read_bytes()[:20])
    damaged = store_module.FeatureSet(
        tmp_path, sets["vector"].facts, shape=sets["vector"].shape, num_rows=2
    )
    with pytest.raises(BenchError, match=r"block-000000.safetensors is damaged .*verify --repair"):
        damaged.read(np.array([0]))


def test_three_processes_at_once_decode_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "STRETCH", 2)
    monkeypatch.setattr(extract_module, "STRETCH", 2)
    monkeypatch.setattr(extract_module, "MIN_CLAIM", 1)
    videos, queue, barrier = make_videos(tmp_path / "media", 14), FORK.Queue(), FORK.Barrier(3)
    run(tiny_encoder(), make_manifest(videos), tmp_path / "reference", readouts=READOUTS)

    def work() -> None:
        torch.set_num_threads(1)
        barrier.wait()
        _, counts = run(tiny_encoder(), make_manifest(videos), tmp_path / "home", readouts=READOUTS)
        queue.put((counts.decoded, counts.rows_read_from_store))

    children = [FORK.Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    counted = [queue.get(timeout=240) for _ in children]
    for child in children:
        child.join()
    assert sum(decoded for decoded, _ in counted) == 14
    assert all(decoded + stored == 14 for decoded, stored in counted)
    assert block_bytes(tmp_path / "home") == block_bytes(tmp_path / "reference")
    assert not list((tmp_path / "home/claims").iterdir())


def test_claims_of_a_killed_process_are_taken_over_and_swept(tmp_path: Path) -> None:
    path = claims_file(tmp_path, "job")
    ready = FORK.Event()

    def hold() -> None:
        Claims(path).take(3)
        ready.set()
        signal.pause()

    child = FORK.Process(target=hold)
    child.start()
    assert ready.wait(240)
    mine = Claims(path)
    assert mine.take(2) and not mine.take(3)
    mine.close()
    assert path.exists()  # its other user is alive
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert mine.take(3, wait=True)
    assert mine.close() and not path.exists()
    path.write_text("")
    (tmp_path / f"x.json.{files.this_host()}.{child.pid}.partial").mkdir()
    assert sweep(tmp_path) == 2 and [p.name for p in tmp_path.rglob("*")] == ["claims"]
