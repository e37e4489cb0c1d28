"""Damaged films, and a decoder that crashes, hangs or eats memory: exactly those rows are wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.decode.decode import read_frames
from bench.data.views.clip_frames import frame_indices
from bench.errors import UnreadableMedia
from bench.types import ClipPlan
from tests.data.test_loader import FAULTS
from tests.media import write_video

PLAN = ClipPlan.parse("8x1x1@1")
# The fault of a scored film, by its number modulo 50.
FAULTY = {3: "crash", 17: "hang", 31: "hungry"}
COMMAND = """
from bench.data.decode import children
children.DEADLINE_SECONDS, children.MEMORY_BYTES = 5.0, 1 << 30
from bench.cli.main import main
main()
"""


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """Return a film with bytes overwritten, cut off, or neither."""
    kind, broken = draw.integers(3), bytearray(data)
    if kind == 0:
        return data[: draw.integers(1, len(data))]
    if kind == 1:
        for place in draw.integers(0, len(data), draw.integers(1, 200)):
            broken[place] = draw.integers(256)
    return bytes(broken)


def is_readable(path: Path) -> bool:
    try:
        read_frames(path, lambda num_frames, fps: frame_indices(PLAN, num_frames))
    except UnreadableMedia:
        return False
    return True


@pytest.mark.parametrize("features", ["stored", "live"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("count", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_exactly_the_rows_of_damaged_films_are_wrong(
    tmp_path: Path, count: int, workers: int, features: str
) -> None:
    if count == 50 and (workers, features) not in ((0, "stored"), (2, "live")):
        pytest.skip("two of the four cases are enough for few films")
    draw = np.random.default_rng(count)
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    sources = [write_video(tmp_path / f"{n}.mp4", 10 + n, size=(64, 48)) for n in range(2)]
    films = [source.read_bytes() for source in sources]
    expected = set()
    for split, number in (("train", 10), ("val", count)):
        (tmp_path / split).mkdir()
        lines = []
        for row in range(number):
            fault = FAULTY.get(row % 50, "") if split == "val" else ""
            path = tmp_path / split / f"{row:03d}{fault}.mp4"
            path.write_bytes(damaged(films[row % 2], draw) if split == "val" else films[row % 2])
            lines.append(f"{split}/{path.name} {row % 2}")
            if split == "val" and (fault or not is_readable(path)):
                expected.add(f"{split}/{path.name}")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    words = ["run", "-m", "random:vit_digits", "-t", "listing", "-p", "knn", "--set", "probe.k=5"]
    words += ["--set", f"task.train={tmp_path / 'train.txt'}", "--plan", str(PLAN)]
    words += ["--set", f"task.val={tmp_path / 'val.txt'}", "--set", f"features={features}"]
    words += ["--on-unreadable", "wrong", "--workers", str(workers), "--home", str(tmp_path / "h")]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    ran = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], env=environment, capture_output=True, text=True
    )
    assert ran.returncode in (0, 3), ran.stderr
    [file] = (tmp_path / "h" / "records").glob("*.json")
    record = json.loads(file.read_text())
    reasons = record["data"]["score"]["undecodable"]
    assert set(reasons) == expected
    for name, reason in reasons.items():
        assert ("crashed (SIGABRT)" in reason) == ("crash" in name)
        assert ("no answer from the decoder within 5 s" in reason) == ("hang" in name)
        assert ("more than 1 GiB of memory" in reason) == ("hungry" in name)
    rows = pd.read_parquet(file.parent / record["artifacts"]["predictions"]["path"])
    assert set(rows.id[rows.status != "scored"]) == expected
    assert 0 < len(expected) < count
