"""200 videos, some of them broken: exactly those are listed, and nothing else changes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.commands import Bench, Records
from tests.media import write_audio, write_video

NUM_VIDEOS = 200
FASTSTART = {"movflags": "faststart"}  # the frame table comes first, and survives a cut


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def no_video_stream(path: Path) -> None:
    write_audio(path)


def over_reported(path: Path) -> None:
    """The frame table tells of ten frames, the last of which are not there."""
    write_video(path, 10, size=(64, 48), gop=1, muxer_options=FASTSTART)
    data = path.read_bytes()
    path.write_bytes(data[:-900])


def gone(path: Path) -> None:
    path.unlink()


BREAKING = (zero_bytes, cut, no_video_stream, over_reported, gone)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of 20 training and 200 scored videos of two lengths, which are the classes."""
    root = tmp_path_factory.mktemp("videos")
    for split, count in (("train", 20), ("val", NUM_VIDEOS)):
        (root / split).mkdir()
        lines = []
        for row in range(count):
            name = f"{split}/{row:03d}.mp4"
            write_video(root / name, 10 + row % 2, size=(64, 48), fps=10 + row % 7)
            lines.append(f"{name} {row % 2}")
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def run(
    records: Records, root: Path, home: Path, *arguments: object, codes: tuple[int, ...] = (0, 3)
) -> tuple[dict[str, Any], pd.DataFrame]:
    [record] = records(
        "-m", "random:vit_digits", "-t", "listing", "-p", "knn", "--set", "probe.k=5",
        "--set", f"task.train={root / 'train.txt'}", "--set", f"task.val={root / 'val.txt'}",
        "--plan", "8x1x1@1", "--workers", "0", "--home", home, *arguments, codes=codes,
    )  # fmt: skip
    return record, pd.read_parquet(home / "records" / record["artifacts"]["predictions"]["path"])


@pytest.mark.parametrize("how", ["stored", "live"])
@pytest.mark.parametrize("num_broken", [0, 1, 7, 50])
def test_exactly_the_broken_videos_are_listed_and_the_bounds_follow(
    records: Records, videos: Path, tmp_path: Path, num_broken: int, how: str
) -> None:
    if how == "live" and num_broken not in (0, 7):
        pytest.skip("two of the four cases are enough for live features")
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    sound, table = run(records, root, tmp_path / "sound", "--set", f"features={how}")
    assert sound["metrics"]["scored"] == NUM_VIDEOS
    rows = np.random.default_rng(num_broken).permutation(NUM_VIDEOS)[:num_broken].tolist()
    broken = {f"val/{row:03d}.mp4": BREAKING[i % len(BREAKING)] for i, row in enumerate(rows)}
    for name, breaking in broken.items():
        breaking(root / name)
    record, after = run(
        records, root, tmp_path / "home", "--set", f"features={how}", "--on-unreadable", "wrong"
    )
    score, metrics = record["data"]["score"], record["metrics"]
    lost = {name for name, breaking in broken.items() if breaking is gone}
    assert set(score["missing"]) == lost
    assert set(score["undecodable"]) == set(broken) - lost
    assert (score["listed"], score["used"]) == (NUM_VIDEOS, NUM_VIDEOS - num_broken)
    # Nothing stands in for a broken video, and no other video is scored otherwise.
    is_sound = ~table.id.isin(broken)
    assert after[~is_sound].predicted.isna().all()
    for column in ("id", "label", "predicted", "probability"):
        assert after[is_sound][column].tolist() == table[is_sound][column].tolist()
    right = int((table[is_sound].predicted == table[is_sound].label).sum())
    assert metrics["correct"] == right and metrics["top1"] == right / NUM_VIDEOS
    bounds = {"low": right / NUM_VIDEOS, "high": (right + num_broken) / NUM_VIDEOS}
    assert metrics["bounds"] == bounds


def test_broken_videos_stop_the_run_unless_told_otherwise_or_are_left_out(
    bench: Bench, records: Records, videos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    gone(root / "val/007.mp4")
    cut(root / "val/011.mp4")
    code, _, said = bench(
        "run", "-m", "random:vit_digits", "-t", "listing", "-p", "knn", "--set", "probe.k=5",
        "--set", f"task.train={root / 'train.txt'}", "--set", f"task.val={root / 'val.txt'}",
        "--plan", "8x1x1@1",
    )  # fmt: skip
    assert code == 4
    assert "of 200 samples 1 are missing and 1 cannot be decoded" in said and "val/007.mp4" in said
    record, _ = run(records, root, tmp_path / "home", "--on-unreadable", "skip")
    metrics = record["metrics"]
    assert metrics["scored"] == 198 and metrics["top1"] == metrics["correct"] / 198
    low, high = metrics["correct"] / 200, (metrics["correct"] + 2) / 200
    assert metrics["bounds"] == {"low": low, "high": high}
