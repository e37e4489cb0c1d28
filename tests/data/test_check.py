"""The check of a split names every file that cannot be used."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.check import CheckReport, check_manifest
from bench.data.manifest import Manifest
from bench.data.media.checked_before import remembered_looks
from bench.data.media.media import FrameFolder, MediaColumn, ParquetCell
from bench.data.read_manifest import read_folder
from bench.errors import UnreadableMedia
from bench.preflight.check_task import decode_planned
from bench.types import ClipPlan, Progress, Silent
from tests.data.test_loader import FAULTS
from tests.data.test_media import write_frames, write_parquet, write_tar
from tests.media import write_video


def decode(path: Path) -> None:
    try:
        Image.open(path).load()
    except OSError as error:
        raise UnreadableMedia(f"{path.name} is no image") from error


def manifest_of(root: Path, ids: list[str], labels: list[int], **facts: Any) -> Manifest:
    return Manifest(
        name="own",
        split="val",
        kind="image",
        ids=ids,
        media=MediaColumn.of_files(root, ids),
        labels=np.array(labels, dtype=np.int64),
        classes=["cat", "dog", "eel"],
        **facts,
    )


def check(
    manifest: Manifest,
    decode: Callable[..., Any] = decode,
    progress: Progress | None = None,
    workers: int = 3,
) -> CheckReport:
    return check_manifest(manifest, workers=workers, progress=progress or Silent(), decode=decode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(12):
        Image.new("RGB", (2, 2), (i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_sound_split_has_no_problem(root: Path) -> None:
    report = check(manifest_of(root, [f"{i}.png" for i in range(12)], [0] * 9 + [1] * 3))
    assert (report.listed, report.problems, report.expected) == (12, 0, None)
    assert report.smallest_class == ("eel", 0)
    assert report.largest_class == ("cat", 9)
    assert report.classes_without_rows == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_exactly_the_broken_files_are_named(root: Path, workers: int) -> None:
    (root / "1.png").unlink()
    (root / "4.png").write_bytes(b"")
    (root / "7.png").write_bytes(b"not a png")
    content = (root / "9.png").read_bytes()
    (root / "9.png").write_bytes(content[: len(content) // 2])
    report = check(manifest_of(root, [f"{i}.png" for i in range(12)], [0] * 12), workers=workers)
    assert report.missing == ("1.png",)
    assert report.empty == ("4.png",)
    assert report.unreadable == (("7.png", "7.png is no image"), ("9.png", "9.png is no image"))
    assert report.problems == 4


def test_file_under_two_names_is_a_duplicate(root: Path) -> None:
    (root / "link.png").symlink_to(root / "2.png")
    report = check(manifest_of(root, ["2.png", "3.png", "link.png", "3.png"], [0, 1, 0, 1]))
    assert report.duplicates == (("link.png", "2.png"), ("3.png", "3.png"))


def test_link_in_a_circle_is_unreadable_and_not_the_end(root: Path) -> None:
    (root / "loop.png").symlink_to(root / "loop.png")
    report = check(manifest_of(root, ["loop.png", "1.png"], [0, 0]))
    assert [sample for sample, _ in report.unreadable] == ["loop.png"]


def test_count_other_than_published_is_a_problem(root: Path) -> None:
    manifest = manifest_of(root, ["1.png", "2.png"], [0, 1], expected=24_777)
    report = check(manifest)
    assert report.problems == 1
    assert ("rows", "2 (published: 24,777)") in report.as_table_rows()


def test_decode_failures_of_the_system_are_reported_by_reason(root: Path) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, os.strerror(13))

    report = check(manifest_of(root, ["1.png"], [0]), forbidden)
    assert report.unreadable == (("1.png", "Permission denied"),)


def test_mistakes_in_a_decoder_are_not_swallowed(root: Path) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(manifest_of(root, ["1.png"], [0]), broken)


def test_report_is_json_and_lists_everything(root: Path) -> None:
    ids = [f"{i}.png" for i in range(100, 120)]
    report = check(manifest_of(root, ids, [0] * 20))
    facts = json.loads(json.dumps(report.as_dict()))
    assert facts["missing"] == ids
    assert facts["problems"] == 20
    assert dict(report.as_table_rows())["missing"].endswith("104.png, and 15 more")


def test_progress_counts_every_row(root: Path) -> None:
    class Counting(Silent):
        total = done = 0

        def start(self, title: str, total: int) -> None:
            self.total = total

        def advance(self, steps: int = 1) -> None:
            self.done += steps

    progress = Counting()
    folder = root / "set"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        (folder / label / "x.png").write_bytes((root / "1.png").read_bytes())
    check(read_folder(folder, name="own", split="train"), progress=progress)
    assert (progress.total, progress.done) == (2, 2)


def test_every_form_of_media_is_looked_at_and_found_twice(tmp_path: Path) -> None:
    """Missing, empty, unreadable and twins, as members, cells and folders of frames."""
    files = [write_video(tmp_path / f"{row}.mp4", 8) for row in range(2)]
    (tmp_path / "empty.mp4").touch()
    members = write_tar(tmp_path / "s.tar", [*files, tmp_path / "empty.mp4"])
    archive = write_parquet(tmp_path / "p.parquet", [files[0].read_bytes(), b"", None])
    (tmp_path / "link.tar").symlink_to(tmp_path / "s.tar")
    frames = FrameFolder(write_frames(tmp_path / "frames", 8))
    lost = FrameFolder(write_frames(tmp_path / "lost", 8))
    (lost.path / "00004.png").unlink()
    media = {
        "member": members["0.mp4"],
        "other member": members["1.mp4"],
        "same member": replace(members["0.mp4"], archive=tmp_path / "link.tar"),
        "empty member": members["empty.mp4"],
        "gone member": replace(members["0.mp4"], archive=tmp_path / "gone.tar"),
        "cut member": replace(members["1.mp4"], offset=1 << 40),
        "cell": ParquetCell(archive, 0, "video"),
        "same cell": ParquetCell(archive, 0, "video"),
        "empty cell": ParquetCell(archive, 1, "video"),
        "null cell": ParquetCell(archive, 2, "video"),
        "gone cell": ParquetCell(tmp_path / "gone.parquet", 0, "video"),
        "frames": frames,
        "same frames": frames,
        "lost frames": lost,
        "gone frames": FrameFolder(tmp_path / "gone"),
    }
    manifest = replace(
        manifest_of(tmp_path, list(media), [0] * len(media)), media=[*media.values()], kind="video"
    )
    plan = ClipPlan.parse("4@2")
    report = check(manifest, lambda medium: decode_planned(medium, plan=plan, kind="video"))
    assert report.missing == ("gone member", "gone cell", "gone frames")
    assert report.empty == ("empty member", "empty cell")
    reasons = dict(report.unreadable)
    assert list(reasons) == ["cut member", "null cell", "lost frames"]
    assert reasons["lost frames"].startswith("lost/ cannot be decoded: the numbers run from 1 to 8")
    assert str(tmp_path) not in str(reasons)
    assert report.duplicates == (
        ("same member", "member"),
        ("same cell", "cell"),
        ("same frames", "frames"),
    )


def test_a_check_that_was_killed_goes_on_and_a_changed_file_is_looked_at_again(
    tmp_path: Path,
) -> None:
    ids = [f"{i}.png" for i in range(600)]
    for i, name in enumerate(ids):
        (tmp_path / name).write_bytes(b"good" if i % 100 else b"bad")
    manifest = manifest_of(tmp_path, ids, [0] * 600)
    seen: list[str] = []

    def decode_until(limit: int) -> Callable[..., Any]:
        def decode(path: Path) -> None:
            if len(seen) >= limit:
                raise KeyboardInterrupt
            seen.append(path.name)
            if path.read_bytes() != b"good":
                raise UnreadableMedia(f"{path.name} is bad")

        return decode

    def look(limit: int, what: str = "frames 0 4 8") -> CheckReport:
        seen.clear()
        with remembered_looks(tmp_path / "looks.sqlite", what) as looks:
            return check_manifest(
                manifest, workers=1, progress=Silent(), decode=decode_until(limit), looks=looks
            )

    with pytest.raises(KeyboardInterrupt):
        look(300)
    report = look(10_000)
    assert len(seen) == 300 and report.remembered == 300  # what was looked at is kept
    bad = [f"{i}.png" for i in range(0, 600, 100)]
    assert [name for name, _ in report.unreadable] == bad
    assert look(0).unreadable == report.unreadable and look(0).remembered == 600
    (tmp_path / "100.png").write_bytes(b"good")
    os.utime(tmp_path / "100.png", ns=(1, 1))
    mended = look(1)
    assert seen == ["100.png"] and [name for name, _ in mended.unreadable] == [bad[0], *bad[2:]]
    before = (tmp_path / "101.png").stat()
    (tmp_path / "101.png").write_bytes(b"evil")  # of the same size, its time restored as by a copy
    os.utime(tmp_path / "101.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "101.png" in [name for name, _ in look(1).unreadable] and seen == ["101.png"]
    assert look(10_000, "other frames").remembered == 0


def test_an_interrupted_check_ends_though_its_decoders_hang(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    for split in ("train", "val"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            write_video(tmp_path / split / label / "hang.mp4", 12)
    command = """
import os, signal
from multiprocessing.connection import Connection
poll = Connection.poll
def poll_or_stop(self, *timeout):
    if timeout and timeout[0] > 1e5:  # a thread begins to wait for an answer that never comes
        os.kill(os.getpid(), signal.SIGTERM)
    return poll(self, *timeout)
Connection.poll = poll_or_stop
from bench.cli.main import main
main()
"""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    words = ["check", "folder", "--data", str(tmp_path), "--home", str(tmp_path / "home")]
    words += ["--deadline", "1000000", "--workers", "1"]
    ran = subprocess.run(
        [sys.executable, "-c", command, *words], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 143 and "Traceback" not in ran.stderr
    assert ran.stderr.count("bench: interrupted") == 1
