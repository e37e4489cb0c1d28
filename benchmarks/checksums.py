"""What verifying costs: a checkpoint, and stored features.

`python -m benchmarks.checksums` saves a random encoder in the released layout and prints medians of
processor and wall time, next to opening it and computing the digest of its weights. Then it stores
features and reads them as a probe does that trains on them: every row once per epoch, in random
order, as float32; a block is verified when it is first opened. They are compared with blocks of an
earlier version, which have no checksums. All files are in the page cache; a disk would make the
share smaller.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from bench.encoders.encoder import open_encoder, weight_digest
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.vjepa import VIT_SIZES, save_released
from bench.encoders.weights import intact
from bench.features import block_file
from bench.features.key import canonical
from bench.features.store import FeatureSet, RowNote

ROUNDS = 5
MEGABYTES, EPOCHS, BATCH = 256, 20, 64
ROW = (1, 1, 1568, 384)  # tokens of a clip


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
    with tempfile.TemporaryDirectory() as folder:
        plain, checked = (stored(Path(folder) / str(kind), summed=kind) for kind in (False, True))
        for epochs in (1, EPOCHS):
            times = [(pass_over(plain, epochs), pass_over(checked, epochs)) for _ in range(ROUNDS)]
            without, with_ = (min(one) for one in zip(*times, strict=True))
            print(
                f"features, {MEGABYTES} MB, {epochs} epochs, processor time: reading {without:.3f}"
                f" s, with checking {with_:.3f} s, {100 * (with_ / without - 1):.1f} % more"
            )


def stored(home: Path, *, summed: bool) -> FeatureSet:
    """Return stored features, with checksums or as an earlier version wrote them."""
    num_rows = MEGABYTES * 2**20 // (2 * int(np.prod(ROW)))
    facts = {"dtype": "float16", "reads": "tokens", "precision": "fp32"}
    features = FeatureSet(home, facts, shape=ROW, num_rows=num_rows)
    for block in range(-(-num_rows // features.block_rows)):
        x = torch.randn((len(features.rows_of(block)), *ROW)).half()
        notes = [RowNote(decoder="pyav", num_frames=16)] * len(x)
        features.write(block, x, notes)
        if not summed:
            texts = {"rows": canonical([note.facts() for note in notes])}
            features._path(block).write_bytes(save({"x": x}, metadata=texts))
    return features


def pass_over(features: FeatureSet, epochs: int) -> float:
    """Return the processor time of reading all rows that often, in a fresh process."""
    features._block.cache_clear()
    block_file._stored_hash.cache_clear()
    rng = np.random.default_rng(0)
    orders = [rng.permutation(features.num_rows) for _ in range(epochs)]

    def work() -> None:
        for order in orders:
            for start in range(0, len(order), BATCH):
                features.read(order[start : start + BATCH]).float()

    return seconds(work)[0]


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the processor and the wall time of `work`."""
    begin = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - begin[0], time.perf_counter() - begin[1]


if __name__ == "__main__":
    main()
