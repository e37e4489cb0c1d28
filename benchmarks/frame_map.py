"""How long a full-size AVA submission takes to score, and how much memory, beside plain Python.

    python -m benchmarks.frame_map            64 videos, 57,408 key frames, 10 million rows
    python -m benchmarks.frame_map --quick    a sixteenth of the videos

The submission is made up: one to five boxes a frame with a score for each of the 60 classes, most
of them low, written with four decimals as public code does (so that ties for the last of 50 places
are usual), and ground truth of one to four of the boxes, moved a little, with two or three classes.
`bench.metrics.ava_score` reads and scores the files on one core. The plain alternative
(`benchmarks.plain_frame_map`) would take long, so it gets the first `--plain-videos` of them, and
its seconds are multiplied by the ratio of rows; only its sorting, a small part, is not linear, so
the true ratio is slightly larger. On those videos both numbers have to be equal. Every way runs in
a process of its own; seconds are of its processor, imports left out, peak memory is the kernel's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_VIDEOS, FIRST, LAST, NUM_ACTIONS = 64, 902, 1798, 60
Numbers = dict[str, object]


def make_files(root: Path, num_videos: int, num_plain: int) -> None:
    """Write the label map, and both CSV files: whole, and of the first videos (`plain_`)."""
    root.joinpath("map.pbtxt").write_text(
        "".join(f'item {{\n  name: "a {i}"\n  id: {i}\n}}\n' for i in range(1, NUM_ACTIONS + 1))
    )
    rng = np.random.default_rng(0)
    for number in range(num_videos):
        truth, given = _video(f"video{number:06d}", rng)
        for name, text in (("gt.csv", truth), ("det.csv", given)):
            for prefix in ("", "plain_") if number < num_plain else ("",):
                with (root / f"{prefix}{name}").open("a") as file:
                    file.write(text)


def _video(name: str, rng: np.random.Generator) -> tuple[str, str]:
    truth, given = [], []
    for second in range(FIRST, LAST + 1):
        for person in range(int(rng.choice([1, 2, 3, 4, 5], p=[0.15, 0.3, 0.2, 0.2, 0.15]))):
            low, size = rng.uniform(0, 0.5, 2), rng.uniform(0.1, 0.5, 2)
            scores = rng.beta(0.3, 6.0, NUM_ACTIONS)
            box = _box(low, low + size)
            if person < 4 and rng.random() < 0.9:
                classes = rng.choice(NUM_ACTIONS, int(rng.integers(2, 4)), replace=False)
                scores[classes] = rng.beta(1.0, 1.5, len(classes))
                noise = rng.uniform(-0.04, 0.04, (2, 2))
                moved = _box(low + noise[0], low + size + noise[1])
                truth += [f"{name},{second:04d},{moved},{c + 1},{person}\n" for c in classes]
            given += [
                f"{name},{second:04d},{box},{c},{score:.4f}\n" for c, score in enumerate(scores, 1)
            ]
    return "".join(truth), "".join(given)


def _box(low: np.ndarray, high: np.ndarray) -> str:
    return ",".join(f"{corner:.3f}" for corner in np.clip([*low, *high], 0, 1))


# -------------------------------------------------------------------------------------------- ways
def ours(root: Path, prefix: str, rules: str) -> tuple[int, float]:
    """Return rows and mAP."""
    from bench.metrics.ava_score import score_files

    found = score_files(
        truth=root / f"{prefix}gt.csv",
        detections=root / f"{prefix}det.csv",
        label_map=root / "map.pbtxt",
        excluded=None,
        rules=rules,
    )
    return found.detections.rows, found.mean_ap


def plain(root: Path, prefix: str, rules: str) -> tuple[int, float]:
    """Return rows and mAP."""
    from benchmarks.plain_frame_map import plain_frame_map

    detections = root / f"{prefix}det.csv"
    with detections.open() as file:
        rows = sum(1 for _ in file)
    classes = range(1, NUM_ACTIONS + 1)
    mean, _ = plain_frame_map(root / f"{prefix}gt.csv", detections, classes, rules=rules)
    return rows, mean


WAYS: dict[str, Callable[[Path, str, str], tuple[int, float]]] = {"ours": ours, "plain": plain}


def run_way(way: str, root: str, prefix: str, rules: str) -> None:
    """Print rows, mAP, seconds of the processor and of the clock, and peak MB of this process."""
    import pyarrow.csv  # noqa: F401 (imports are left out of the seconds)

    wall, busy = time.perf_counter(), time.process_time()
    rows, mean = WAYS[way](Path(root), prefix, rules)
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    # Not getrusage: its maximum includes the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(rows, repr(mean), busy, wall, peak)


def measure(
    way: str, root: Path, prefix: str, rules: str
) -> tuple[int, float, float, float, float]:
    """Run one way in a process of its own; returns what `run_way` prints."""
    code = f"from benchmarks.frame_map import run_way; run_way{way, str(root), prefix, rules}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout.split()
    return int(said[0]), float(said[1]), float(said[2]), float(said[3]), float(said[4])


def main() -> None:
    """Generate, measure, print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the videos")
    parser.add_argument("--plain-videos", type=int, default=4)
    options = parser.parse_args()
    num_videos = NUM_VIDEOS // 16 if options.quick else NUM_VIDEOS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        begin = time.perf_counter()
        make_files(root, num_videos, options.plain_videos)
        size = (root / "det.csv").stat().st_size / 1e6
        print(f"generated {size:.0f} MB in {time.perf_counter() - begin:.0f} s\n")
        print(
            "| rules | rows | ours s | peak MB | rows of plain | plain s | for all rows | ratio |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for rules in ("official", "slowfast", "mmaction2"):
            rows, _, seconds, wall, peak = measure("ours", root, "", rules)
            few, mean, plain_seconds, *_ = measure("plain", root, "plain_", rules)
            _, same, *_ = measure("ours", root, "plain_", rules)
            assert abs(mean - same) < 1e-9, (mean, same)
            scaled = plain_seconds * rows / few
            print(
                f"| {rules} | {rows:,} | {seconds:.1f} (clock {wall:.1f}) | {peak:.0f} | {few:,} |"
                f" {plain_seconds:.1f} | {scaled:.0f} | {scaled / seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
