"""`bench encode` killed anywhere and repeated: the same bytes, and nothing left beside them."""

import multiprocessing
import os
import signal
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from bench import files
from bench.cli.main import main
from bench.encoders.encoder import Encoder
from bench.errors import DataError
from bench.evaluate import encode_files as encoded_files
from bench.evaluate import encoded_parts
from bench.features.arrays import read_arrays
from bench.types import Tokens

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_parts, "PART_BYTES", 1)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """37 clips: three calls of the encoder."""
    rng = np.random.default_rng(0)
    path = tmp_path / "clips.npz"
    np.savez(path, clip=rng.integers(0, 256, (37, 8, 48, 48, 3), dtype=np.uint8))
    return path


def encode(source: str, path: Path, out: Path, pool: str = "mean") -> int:
    line = ["encode", "-m", "random:vit_digits", "--workers", "0", "--device", "cpu"]
    try:
        main([*line, "--pool", pool, source, str(path), "--out", str(out)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def killed(source: str, path: Path, out: Path, syncs: int) -> bool:
    """Run in a process of its own that dies at that sync; False if it ended before."""

    def work() -> None:
        torch.set_num_threads(1)
        left = iter(range(syncs))
        sync = os.fsync

        def fatal_sync(handle: int) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(handle)

        files.os.fsync = fatal_sync
        os._exit(encode(source, path, out))

    child = FORK.Process(target=work)
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_killed_at_every_write_and_repeated_gives_the_same_bytes(
    clips: Path, tmp_path: Path
) -> None:
    assert encode("--clips", clips, tmp_path / "whole" / "out.npz") == 0
    expected = (tmp_path / "whole/out.npz").read_bytes()
    syncs = 0
    while killed("--clips", clips, tmp_path / str(syncs) / "out.npz", syncs):
        place = tmp_path / str(syncs)
        was_whole = (place / "out.npz").exists()
        assert encode("--clips", clips, place / "out.npz") == (2 if was_whole else 0)
        assert names(place) == ["out.npz"]
        assert (place / "out.npz").read_bytes() == expected
        syncs += 1
    assert syncs > 5


def test_rows_of_a_killed_command_are_not_encoded_again(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "there/out.npz"
    assert killed("--clips", clips, out, 4)
    [folder] = (tmp_path / "there").iterdir()
    kept = len(list(folder.glob("*.safetensors")))
    assert kept == 2
    sizes = []
    encode_clips = encoded_files.encode_clips

    def counted(encoder: Encoder, clips: torch.Tensor, *more: Any) -> Tokens:
        sizes.append(len(clips))
        return encode_clips(encoder, clips, *more)

    monkeypatch.setattr(encoded_files, "encode_clips", counted)
    assert encode("--clips", clips, out) == 0
    assert 0 < sum(sizes) < 37 and names(out.parent) == ["out.npz"]


def test_a_damaged_part_is_encoded_again(clips: Path, tmp_path: Path) -> None:
    assert encode("--clips", clips, tmp_path / "whole.npz") == 0
    out = tmp_path / "there/out.npz"
    assert killed("--clips", clips, out, 4)
    part = min(out.parent.rglob("*.safetensors"))
    bad = bytearray(part.read_bytes())
    bad[-3] ^= 16
    part.write_bytes(bad)
    assert encode("--clips", clips, out) == 0
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_videos_give_the_same_bytes_at_another_time_and_after_a_kill(
    video_set: Path, tmp_path: Path
) -> None:
    source = video_set / "val"
    assert encode("--videos", source, tmp_path / "a.npz", "frames") == 0
    assert encode("--videos", source, tmp_path / "b.npz", "frames") == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
    held = np.load(tmp_path / "a.npz")
    assert held["frames"].shape[0] == len(held["path"]) and held["grid"].shape == (3,)
    assert encode("--videos", source, tmp_path / "mean.npz") == 0
    assert killed("--videos", source, tmp_path / "c/out.npz", 6)
    assert encode("--videos", source, tmp_path / "c/out.npz") == 0
    assert (tmp_path / "c/out.npz").read_bytes() == (tmp_path / "mean.npz").read_bytes()
    assert names(tmp_path / "c") == ["out.npz"]


def test_a_full_disk_is_a_sentence_and_leaves_no_half_of_the_file(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(handle: int) -> NoReturn:
        raise OSError(28, "No space left on device")

    out = tmp_path / "there/out.npz"
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        assert encode("--clips", clips, out) == 1
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert not out.exists() and not list(tmp_path.rglob("*.partial"))
    assert encode("--clips", clips, out) == 0 and names(out.parent) == ["out.npz"]


def test_an_array_whose_header_lost_rows_is_refused(tmp_path: Path) -> None:
    """The checksum of a member is compared only where all of it is read."""
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((30, 2), np.float32), y=np.zeros(30, np.int64))
    whole = path.read_bytes()
    assert len(read_arrays(path, ("x", "y"))) == 2
    for old, new in ((b"(30, 2)", b"(10, 2)"), (b"(30,)", b"(20,)")):
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(DataError, match="is damaged"):
            read_arrays(path, ("x", "y"))
