"""The embedded data set: scenes, files and tasks."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from bench import registry
from bench.data.decode.decode import read_frames
from bench.data.decode.images import read_image
from bench.errors import DataError, UsageError
from tasks.digits import films as files
from tasks.digits import scenes as scenes
from tasks.moving_digits import (
    NUM_ROWS,
    moving_digits_how,
    moving_digits_stills,
    moving_digits_what,
)
from tests.tasks.killed import render_until_killed

STEADY = replace(scenes.LOOK, flicker=0.0)
OPPOSITES = [("left", "right"), ("clockwise", "counterclockwise"), ("grow", "shrink")]
FILES = "from pathlib import Path; from tasks.digits.films import ensure_files; "


def whole(path: Path) -> np.ndarray:
    return read_frames(path, lambda num_frames, fps: np.arange(num_frames)[None]).pixels


def acting(motion: str, row: int = 0) -> scenes.Scene:
    """The scene of a training row, with another motion and without flicker."""
    plain = scenes.scene("train", row)
    return replace(plain, course=scenes.course(motion, plain.key, STEADY))


# ----------------------------------------------------------------------------------------- scenes
def test_rendering_is_the_same_every_time_and_everywhere() -> None:
    def digest(rows: list[tuple[str, int]]) -> str:
        frames = b"".join(scenes.render(scenes.scene(s, r)).tobytes() for s, r in rows)
        return hashlib.sha256(frames).hexdigest()

    rows = [("train", 0), ("train", 777), ("test", 0), ("test", 639)]
    assert digest(rows) == digest(rows)
    # A change here changes every number that was measured on the data set: it needs a new folder.
    assert digest(rows) == "cc1c5b995e7e487796e74cb483a183413faa86e6a57e37276c4594b37e66fc34"
    assert digest([("train", 5)]) != digest([("test", 5)])


def test_frames_are_colour_pictures_of_the_declared_size() -> None:
    frames = scenes.render(scenes.scene("train", 3))
    assert frames.shape == (24, 64, 64, 3) and frames.dtype == np.uint8


def test_no_scan_is_in_both_splits_and_scans_are_used_evenly() -> None:
    train, test = (
        {scan for digit in range(10) for scan in scenes.scans_of(split, digit)}
        for split in ("train", "test")
    )
    assert not train & test and len(train | test) == 1797
    for split, num_rows, pool in (("train", 1280, train), ("test", 640, test)):
        drawn = Counter(scenes.scene(split, row).scan for row in range(num_rows))
        assert set(drawn) <= pool and len(drawn) >= len(pool) - 1 and max(drawn.values()) <= 2


def test_a_scene_shows_a_scan_of_its_digit() -> None:
    for row in range(0, 640, 37):
        content = scenes.scene("test", row)
        assert scenes.scans()[1][content.scan] == content.digit


@pytest.mark.parametrize(("forth", "back"), OPPOSITES)
def test_opposite_motions_are_each_other_played_backwards(forth: str, back: str) -> None:
    for row in (0, 1, 2):
        ahead, behind = (scenes.coverage(acting(m, row), STEADY) for m in (forth, back))
        np.testing.assert_array_equal(ahead[::-1], behind)
        assert (ahead != behind).any()


def test_no_frame_tells_the_motion() -> None:
    """Position, angle and size are uniform over their range in every frame of every motion."""
    look = scenes.LOOK
    for motion in scenes.MOTIONS:
        courses = [scenes.course(motion, (9, row)) for row in range(800)]
        for name, low, high in (
            ("x", 31.5 - look.reach, 31.5 + look.reach),
            ("y", 31.5 - look.reach, 31.5 + look.reach),
            ("angle", -np.deg2rad(look.angle), np.deg2rad(look.angle)),
            ("side", np.log(look.side[0]), np.log(look.side[1])),
        ):
            drawn = np.stack([getattr(course, name) for course in courses])
            drawn = (np.log(drawn) if name == "side" else drawn)[:, [0, 11, 23]]
            share = np.sort((drawn - low) / (high - low), axis=0)
            gap = np.abs(share - (np.arange(800)[:, None] + 0.5) / 800).max()
            # Kolmogorov-Smirnov: a gap above 1.95 / sqrt(800) has a chance of 0.1 %.
            assert share.min() >= 0 and share.max() < 1 + 1e-9
            assert gap < 1.95 / np.sqrt(800) + 0.5 / 800, (motion, name, gap)


@pytest.mark.parametrize("motion", scenes.MOTIONS)
def test_a_motion_changes_one_thing_and_in_its_sense(motion: str) -> None:
    course = acting(motion).course
    moved, way = scenes.MOTIONS[motion]
    for name in ("x", "y", "angle", "side"):
        steps = np.diff(getattr(course, name))
        if name != moved:
            assert not steps.any()
        elif way == "swing":
            assert (steps > 0).sum() >= 6 and (steps < 0).sum() >= 6
        else:
            # All steps but the one to three at which the digit starts again at the other end.
            assert (steps * (1 if way == "up" else -1) > 0).sum() >= 20


def test_clockwise_turns_the_top_to_the_right() -> None:
    upright = acting("left")
    still = replace(upright.course.at(0), angle=np.zeros(1))
    turned = replace(still, angle=np.array([0.3]))
    bar = [scenes.coverage(replace(upright, course=c, scan=1))[0] for c in (still, turned)]
    grid = np.arange(64)

    def lean(ink: np.ndarray) -> float:
        top, bottom = ink[: int(still.y[0])].sum(0), ink[int(still.y[0]) + 1 :].sum(0)
        return (top * grid).sum() / top.sum() - (bottom * grid).sum() / bottom.sum()

    assert lean(bar[1]) > lean(bar[0]) + 2


def test_boxes_are_tight_around_the_ink() -> None:
    for row in range(0, 80, 9):
        content = scenes.scene("test", row)
        empty = replace(
            content, course=replace(content.course, contrast=np.zeros_like(content.course.x))
        )
        changed = (scenes.render(content) != scenes.render(empty)).any(axis=-1)
        for frame, (x1, y1, x2, y2) in zip(
            changed, scenes.tight_boxes(scenes.coverage(content)).astype(int), strict=True
        ):
            ys, xs = np.nonzero(frame)
            assert x1 <= xs.min() and xs.max() < x2 and y1 <= ys.min() and ys.max() < y2
            # Faint ink at the rim may round to no change at all.
            found = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert np.abs(np.subtract(found, (x1, y1, x2, y2))).max() <= 1


def test_still_is_the_middle_frame() -> None:
    content = scenes.scene("train", 11)
    np.testing.assert_array_equal(scenes.render(content.still())[0], scenes.render(content)[12])


# ------------------------------------------------------------------------------------------ files
def test_files_decode_to_the_rendered_frames(tmp_path: Path) -> None:
    videos = files.ensure_files(tmp_path, "video", "test", 12)
    stills = files.ensure_files(tmp_path, "image", "test", 12)
    for row in range(12):
        frames = scenes.render(scenes.scene("test", row))
        error = np.mean((whole(videos[row]).astype(float) - frames) ** 2)
        assert 10 * np.log10(255**2 / error) > 30
        np.testing.assert_array_equal(read_image(stills[row])[0], frames[12])
    with av.open(str(videos[0])) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.frames) == ("h264", 24)
        assert (stream.average_rate, stream.pix_fmt) == (12, "yuv420p")


def test_encoding_gives_the_same_bytes_every_time() -> None:
    frames = [scenes.render(scenes.scene("test", row)) for row in range(8)]
    first = [files.encode_video(clip) for clip in frames]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            assert list(pool.map(files.encode_video, frames)) == first
    with av.open(io.BytesIO(first[0])) as container:
        assert "creation_time" not in container.metadata


def test_files_that_are_there_are_left_alone_and_missing_ones_made(tmp_path: Path) -> None:
    paths = files.ensure_files(tmp_path, "image", "train", 6)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    paths[2].unlink()
    files.ensure_files(tmp_path, "image", "train", 8)
    after = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    assert [row for row in range(6) if after[row][1] != before[row][1]] == [2]
    assert after[2][0] == before[2][0]
    assert len(list(paths[0].parent.iterdir())) == 8


def test_killed_rendering_resumes_with_whole_files(tmp_path: Path) -> None:
    code = FILES + f"ensure_files(Path({str(tmp_path)!r}), 'video', 'train', 8)"
    folder = tmp_path / files.FOLDER / "videos" / "train"
    render_until_killed(code, films=4)
    kept = {path.name: path.read_bytes() for path in folder.glob("*.mp4")}
    assert len(kept) == 4 and list(folder.glob("*.partial"))
    paths = files.ensure_files(tmp_path, "video", "train", 8)
    assert {path.name for path in folder.iterdir()} == {path.name for path in paths}
    for row, path in enumerate(paths):
        content = files.encode_video(scenes.render(scenes.scene("train", row)))
        assert path.read_bytes() == content == kept.get(path.name, content)


def test_two_processes_render_into_one_folder(tmp_path: Path) -> None:
    code = FILES + f"ensure_files(Path({str(tmp_path)!r}), 'video', 'test', 12)"
    # As a user starts it: with as many threads as the libraries like.
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    free = {name: value for name, value in os.environ.items() if name not in limits}
    both = [subprocess.Popen([sys.executable, "-c", code], env=free) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    folder = tmp_path / files.FOLDER / "videos" / "test"
    assert sorted(path.name for path in folder.iterdir()) == [f"{row:04d}.mp4" for row in range(12)]
    for row in (0, 11):
        expected = files.encode_video(scenes.render(scenes.scene("test", row)))
        assert (folder / f"{row:04d}.mp4").read_bytes() == expected


def test_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    files.ensure_files(tmp_path, "image", "train", 1)
    note = tmp_path / files.FOLDER / "rendering.json"
    facts = json.loads(note.read_text())
    note.write_text(json.dumps({**facts, "digest": "0" * 64}))
    with pytest.raises(DataError, match=r"rendered with other settings.*remove the folder"):
        files.ensure_files(tmp_path, "image", "train", 1)
    note.write_text("{")
    with pytest.raises(DataError, match=r"rendering\.json cannot be read"):
        files.ensure_files(tmp_path, "image", "train", 1)


# ------------------------------------------------------------------------------------------ tasks
@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of the full size without their files."""

    def ensure_files(data: Path, kind: str, split: str, num_rows: int) -> list[Path]:
        return [Path(f"/nowhere/{split}/{row:04d}.mp4") for row in range(num_rows)]

    monkeypatch.setattr("tasks.moving_digits.ensure_files", ensure_files)


@pytest.mark.parametrize(("size", "fit", "score"), [("full", 16, 8), ("small", 2, 1)])
def test_every_digit_does_every_motion_equally_often(
    unrendered: None, size: str, fit: int, score: int
) -> None:
    what, how = moving_digits_what(size=size), moving_digits_how(size=size)
    for one, other, repeats in ((what.fit, how.fit, fit), (what.score, how.score, score)):
        pairs = Counter(zip(one.labels.tolist(), other.labels.tolist(), strict=True))
        assert pairs == {(d, m): repeats for d in range(10) for m in range(8)}
        assert one.expected == len(one) == repeats * 80 and one.ids == other.ids


def test_labels_are_those_of_the_scenes(unrendered: None) -> None:
    what, how = moving_digits_what(), moving_digits_how()
    for row in range(0, 640, 7):
        content = scenes.scene("test", row)
        assert what.classes[what.score.labels[row]] == str(content.digit)
        assert how.classes[how.score.labels[row]] == tuple(scenes.MOTIONS)[content.motion]


def test_fraction_keeps_the_classes_balanced_and_shares_the_features(unrendered: None) -> None:
    task = moving_digits_how(fraction=0.05, draw=1)
    assert np.bincount(task.fit.labels).tolist() == [8] * 8
    assert len(task.fit.root) == 1280 and len(task.score) == 640
    other = moving_digits_how(fraction=0.05, draw=2)
    assert task.fit.ids != other.fit.ids


def test_tasks_are_built_from_real_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path
    monkeypatch.setitem(NUM_ROWS, "small", {"train": 10, "test": 3})
    what = registry.build("tasks", "moving_digits_what", {"data": str(home), "size": "small"})
    stills = moving_digits_stills(data=home, size="small")
    assert (what.kind, stills.kind) == ("video", "image")
    assert (str(what.score_plan), str(stills.score_plan)) == ("8x1x1@3", "8x1x1@0")
    assert not what.flip and not stills.flip
    for task in (what, stills):
        for manifest in (task.fit, task.score):
            assert all(path.is_file() for path in manifest.media)
            assert manifest.ids[1] == f"{manifest.split}/0001.{'mp4' if task is what else 'png'}"
    assert len(what.fit) == 10 and len(what.score) == 3
    np.testing.assert_array_equal(what.fit.labels, stills.fit.labels)


def test_files_go_to_the_home_folder_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def ensure_files(data: Path, kind: str, split: str, num_rows: int) -> list[Path]:
        asked.append(data)
        return [Path(f"{row}.mp4") for row in range(num_rows)]

    monkeypatch.setattr("tasks.moving_digits.ensure_files", ensure_files)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    moving_digits_how()
    assert set(asked) == {tmp_path}


def test_unknown_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"moving_digits_how.*'tiny'.*full or small"):
        moving_digits_how(data=tmp_path, size="tiny")
