"""What verifying a checkpoint costs, next to opening it and computing the digest of its weights.

`python -m benchmarks.checksums` saves a random encoder in the released layout and prints medians of
processor and wall time; the file is in the page cache, so a disk would make the share smaller.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench.encoders.encoder import open_encoder, weight_digest
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.vjepa import VIT_SIZES, save_released
from bench.encoders.weights import intact

ROUNDS = 5


def main() -> None:
    """Print seconds of checking and of reading, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="vit_base")
    size = parser.parse_args().size
    torch.set_num_threads(1)
    checks, reads = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latest.pth.tar"
        network = fresh_vit(VIT_SIZES[size], seed=0)
        save_released(path, target=network, encoder=network)
        megabytes = path.stat().st_size / 1e6
        for _ in range(ROUNDS):
            intact._require_intact.cache_clear()
            checks.append(seconds(lambda: intact.require_intact(path)))
            reads.append(seconds(lambda: weight_digest(open_encoder(f"vjepa:{path}", {}))))
    for number, clock in enumerate(("processor", "wall")):
        check, read = (statistics.median(t[number] for t in times) for times in (checks, reads))
        print(
            f"{size}, {megabytes:.0f} MB, {clock} time: checking {check:.3f} s, reading"
            f" {read:.3f} s, {100 * check / read:.1f} %"
        )


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the processor and the wall time of `work`."""
    begin = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - begin[0], time.perf_counter() - begin[1]


if __name__ == "__main__":
    main()
