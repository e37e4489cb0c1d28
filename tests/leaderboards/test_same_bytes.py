"""Two builds of a board are the same bytes: other order, other hash seed, other folder."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import registry
from bench.publish.write_board import writer_of
from bench.records.record_files import read_records
from tests.kept_records import kept_clips

ROOT = Path(__file__).parents[2]
BOARDS = ("runs", "frozen_video", "frozen_encoders", "optimism", "low_shot")
AGAIN = """
import sys
from pathlib import Path
from tests.leaderboards.test_same_bytes import build
build(Path(sys.argv[1]), Path(sys.argv[2]), order=-1)
"""


def build(home: Path, out: Path, *, order: int) -> dict[str, bytes]:
    """Write all boards from records in rising (1) or falling (-1) order of age."""
    records = read_records(home / "records")[::order]
    for name in BOARDS:
        board = registry.build("boards", name, {})
        refused = ("a.json failed verification: no seal",)
        board = replace(board, records=home / "records", refused=refused)
        writer_of(board)(board, records, out)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    rng = np.random.default_rng(0)
    for encoder, share in (("a", 0.8), ("b", 0.7), ("c", 0.4)):
        for task in ("moving_digits_what", "moving_digits_how"):
            for seed in (0, 1):
                right = rng.random(60) < share
                facts = {"encoder": encoder, "task": task, "seed": seed}
                kept_clips(home / "records", right, **facts)
        kept_clips(home / "records", rng.random(60) < 0.5, encoder=encoder, fraction=0.1)
    first = build(home, tmp_path / "first", order=1)
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", AGAIN, str(home), str(tmp_path / "second")]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=240)
    second = {path.name: path.read_bytes() for path in sorted((tmp_path / "second").iterdir())}
    assert len(first) >= 5 * len(BOARDS) and first.keys() == second.keys()
    assert not [name for name, content in first.items() if content != second[name]]
    for content in first.values():
        assert str(tmp_path).encode() not in content
