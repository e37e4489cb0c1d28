"""Everything that is kept between commands: damage is refused by name, or changes nothing."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.encoders.encoder import open_encoder, weight_digest
from bench.encoders.vjepa import save_encoder
from bench.encoders.weights import intact
from bench.encoders.weights.checkpoints import read_tensors
from bench.errors import BenchError
from bench.evaluate.probe_files import load_fitted
from bench.features import block_file
from bench.features.store import FeatureSet, RowNote
from bench.features.verify_blocks import verify_features
from bench.types import Silent
from tests.encoders.files import CHECKPOINT, HEADS
from tests.probes.test_probe_files import saved

FACTS = {"dtype": "float16", "reads": "vector", "precision": "fp32"}
SHAPE, ROWS = (1, 1, 2, 40), np.arange(100)
Read = Callable[[], Any]


def features(folder: Path) -> Read:
    def opened() -> FeatureSet:
        return FeatureSet(folder, FACTS, shape=SHAPE, num_rows=100)

    opened().start()
    x = torch.randn((100, *SHAPE), generator=torch.Generator().manual_seed(0))
    for block in range(2):
        rows = opened().rows_of(block)
        opened().write(block, x[rows], [RowNote(decoder="pyav", num_frames=8)] * len(rows))

    def read() -> Any:
        found = verify_features(folder, Silent()).damaged
        if any(path.name == "facts.json" for path in found):
            raise BenchError(f"{next(iter(found))} is damaged")
        one = opened()
        return one.read(ROWS).numpy().tobytes(), list(one.notes(ROWS))

    return read


def probe(folder: Path) -> Read:
    saved(folder)

    def read() -> Any:
        found = load_fitted(folder)
        tensors, state = found.fitted.state()
        flat = [(name, x.numpy().tobytes()) for name, x in sorted(tensors.items())]
        return flat, state, dict(found.settings), dict(found.facts)

    return read


def encoder_folder(folder: Path) -> Read:
    save_encoder(folder, open_encoder(f"vjepa:{CHECKPOINT}", HEADS))

    def read() -> Any:
        found = open_encoder(f"vjepa:{folder}", {})
        return weight_digest(found), found.spec

    return read


def archive(folder: Path) -> Read:
    path = folder / "a.pth.tar"
    path.write_bytes(CHECKPOINT.read_bytes())
    return lambda: weight_digest(open_encoder(f"vjepa:{path}", HEADS))


def tensor_file(folder: Path) -> Read:
    """A safetensors file with its digest next to it."""
    path = folder / "model.safetensors"
    torch.manual_seed(0)
    save_file({name: torch.randn(20, 30) for name in "abc"}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")

    def read() -> Any:
        found = read_tensors(path)
        return [(name, x.numpy().tobytes()) for name, x in sorted(found.items())]

    return read


KEPT = (features, probe, encoder_folder, archive, tensor_file)


@pytest.mark.parametrize("kept", KEPT, ids=[one.__name__ for one in KEPT])
@pytest.mark.parametrize(
    ("flips", "sectors"), [(8, 2), pytest.param(200, 20, marks=pytest.mark.slow)]
)
def test_flipped_bits_and_lost_sectors_are_refused_by_name_or_change_nothing(
    tmp_path: Path, kept: Callable[[Path], Read], flips: int, sectors: int
) -> None:
    """In all, 1,000 flips and 100 sectors: anywhere, in each file as often as it is long."""
    read = kept(tmp_path)
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    expected, rng = read(), np.random.default_rng(7)
    sizes = np.array([path.stat().st_size for path in files], dtype=np.float64)
    silent, refused = [], 0
    for trial in range(flips + sectors):
        path = files[int(rng.choice(len(files), p=sizes / sizes.sum()))]
        whole = path.read_bytes()
        damaged, at = bytearray(whole), int(rng.integers(len(whole)))
        if trial < flips:
            damaged[at] ^= 1 << int(rng.integers(8))
        else:
            at -= at % 512
            damaged[at : at + 512] = bytes(len(damaged[at : at + 512]))
        path.write_bytes(damaged)
        # As in another process: several writes within a tick of the clock look like one.
        block_file._stored_hash.cache_clear()
        intact._require_intact.cache_clear()
        try:
            if read() != expected:
                silent.append((path.name, at))
        except BenchError as error:
            refused += 1
            assert str(tmp_path) in str(error), error
        path.write_bytes(whole)
    assert not silent
    assert refused > 0.6 * (flips + sectors)
