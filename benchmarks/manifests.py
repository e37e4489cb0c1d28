"""How long it takes, and how much memory, to load, count and fingerprint the largest manifests.

    python -m benchmarks.manifests            1.3 million images, 240,000 videos
    python -m benchmarks.manifests --quick    a hundredth of them

Lists are generated; media are empty files, for reading a manifest never opens one. Each way runs in
a process of its own, whose peak memory is printed. The plain alternative is what public evaluation
codes do: pandas for a list, `os.walk` and a dictionary for a tree, without any check.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

NUM_IMAGES, NUM_VIDEOS, NUM_CLASSES = 1_300_000, 240_000, 1000


# --------------------------------------------------------------------------------------- generated
def make_list(root: Path, rows: int) -> None:
    """Write an ImageNet-like list, `train/<class>/<file> <index>`."""
    with (root / "train.txt").open("w") as file:
        for row in range(rows):
            label = row % NUM_CLASSES
            file.write(f"train/n{label:08d}/n{label:08d}_{row}.JPEG {label}\n")


def make_tree(root: Path, rows: int) -> None:
    """Write CVDF's table of Kinetics-400 and its flat folder, for both splits."""
    from tasks.labels import shipped

    names = shipped("k400").names
    (root / "k400" / "annotations").mkdir(parents=True)
    for split, count in (("train", rows), ("val", rows // 12)):
        (root / "k400" / split).mkdir()
        with (root / "k400" / "annotations" / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
            for row in range(count):
                name = f"{split[0]}{row:010d}"
                writer.writerow([names[row % len(names)], name, 0, 10, split])
                (root / "k400" / split / f"{name}_000000_000010.mp4").touch()


# -------------------------------------------------------------------------------------------- ways
def list_ours(root: Path) -> int:
    """Read, check, count and fingerprint the list."""
    from bench.data.read_manifest import read_list

    manifest = read_list(root / "train.txt", root=root, name="in1k", split="train")
    return _settle(manifest)


def list_plain(root: Path) -> int:
    """Read the list with pandas."""
    import pandas as pd

    table = pd.read_csv(root / "train.txt", header=None, delimiter=" ")
    files, labels = list(table.values[:, 0]), list(table.values[:, 1])
    return len(files) if len(Counter(labels)) else 0


def tree_ours(root: Path) -> int:
    """Find the layout of a tree and read both splits."""
    from tasks.k400 import k400

    task = k400(data=root / "k400")
    return _settle(task.fit) + _settle(task.score)


def tree_plain(root: Path) -> int:
    """Walk the tree and look every row of the tables up in a dictionary."""
    files = {}
    for folder, _, names in os.walk(root / "k400"):
        files |= {name[:11]: f"{folder}/{name}" for name in names if name.endswith("mp4")}
    found = []
    for split in ("train", "val"):
        with (root / "k400" / "annotations" / f"{split}.csv").open() as file:
            found += [(files[row["youtube_id"]], row["label"]) for row in csv.DictReader(file)]
    return len(found) if len(Counter(label for _, label in found)) else 0


def added_write(root: Path) -> int:
    """Remember the list as `bench data add` does."""
    from bench.data.discover.remembered import add
    from bench.data.media.media import MediaColumn
    from bench.data.read_manifest import read_list

    manifest = read_list(root / "train.txt", root=root, name="in1k", split="train")
    column = MediaColumn.of_files(root, list(manifest.ids))
    from dataclasses import replace

    add({"train": replace(manifest, media=column)}, root / "added", root=root)
    return len(manifest)


def added_read(root: Path) -> int:
    """Read it back: what every run after `bench data add` does."""
    from bench.data.discover.remembered import read_added

    return _settle(read_added(root / "added")["train"])


def _settle(manifest: object) -> int:
    import numpy as np

    from bench.data.manifest import Manifest

    assert isinstance(manifest, Manifest)
    assert len(manifest.digest) == 64 and np.bincount(manifest.labels).sum() == len(manifest)
    return len(manifest)


WAYS: dict[str, Callable[[Path], int]] = {
    way.__name__: way
    for way in (list_ours, list_plain, tree_ours, tree_plain, added_write, added_read)
}


def measure(way: str, root: Path) -> tuple[int, float, float]:
    """Return rows, seconds (imports left out) and peak MB of one way in a process of its own."""
    code = (
        "import sys, time, resource; from pathlib import Path; import benchmarks.manifests as m;"
        "import numpy, pandas, pyarrow.parquet; from tasks import k400;"
        "t = time.perf_counter(); rows = m.WAYS[sys.argv[1]](Path(sys.argv[2]));"
        "s = time.perf_counter() - t;"
        "print(rows, s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, way, str(root)], check=True, capture_output=True, text=True
    ).stdout.split()
    return int(said[0]), float(said[1]), float(said[2])


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    scale = 100 if parser.parse_args().quick else 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        begin = time.perf_counter()
        make_list(root, NUM_IMAGES // scale)
        make_tree(root, NUM_VIDEOS // scale)
        print(f"generated in {time.perf_counter() - begin:.0f} s\n")
        print("| way | rows | seconds | peak MB | ratio to plain |\n|---|---|---|---|---|")
        seconds: dict[str, float] = {}
        for way in (
            "list_plain",
            "list_ours",
            "tree_plain",
            "tree_ours",
            "added_write",
            "added_read",
        ):
            rows, seconds[way], peak = measure(way, root)
            plain = seconds.get(f"{way.split('_')[0]}_plain")
            ratio = f"{seconds[way] / plain:.1f}" if plain else ""
            print(f"| {way} | {rows:,} | {seconds[way]:.1f} | {peak:.0f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
