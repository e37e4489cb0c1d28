"""Stored features: whatever byte is damaged, the block is refused or gives the same numbers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from bench.errors import BenchError
from bench.features import block_file, store
from bench.features.block_file import DamagedBlockError
from bench.features.key import canonical
from bench.features.store import FeatureSet, RowNote
from tests.commands import Bench, Records

FACTS = {"dtype": "float16", "reads": "vector", "precision": "fp32"}
SHAPE = (1, 1, 2, 40)
ROWS = np.arange(100)


def opened(home: Path) -> FeatureSet:
    return FeatureSet(home, FACTS, shape=SHAPE, num_rows=100)


def write(home: Path) -> Path:
    """Two blocks; returns the first."""
    features = opened(home)
    features.start()
    x = torch.randn((100, *SHAPE), generator=torch.Generator().manual_seed(0))
    for block in range(2):
        rows = features.rows_of(block)
        features.write(block, x[rows], [RowNote(decoder="pyav", num_frames=8)] * len(rows))
    return min(features.folder.rglob("block-*"))


@pytest.fixture
def block(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda block, other: block.write_bytes(block.read_bytes()[:-1]),
        lambda block, other: block.write_bytes(block.read_bytes() + b"\0"),
        lambda block, other: block.write_bytes(b""),
        lambda block, other: shutil.copy(other, block),
    ],
    ids=["cut", "longer", "empty", "another home's block of other facts"],
)
def test_a_block_of_another_length_or_place_is_refused(
    tmp_path: Path, block: Path, damage: Callable[[Path, Path], None]
) -> None:
    other = FeatureSet(tmp_path, {**FACTS, "media": "others"}, shape=SHAPE, num_rows=100)
    other.write(0, torch.zeros((64, *SHAPE)), [RowNote()] * 64)
    damage(block, min(other.folder.rglob("block-*")))
    with pytest.raises(DamagedBlockError, match=r"block-000000\.safetensors is damaged"):
        opened(tmp_path).read(ROWS)


def test_blocks_that_changed_places_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BLOCK_BYTES", 2 * 2 * 80)  # blocks of two rows, all of one size
    block = write_small(tmp_path)
    second = block.with_name("block-000001.safetensors")
    kept = block.read_bytes()
    block.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    with pytest.raises(DamagedBlockError, match="for this place"):
        opened(tmp_path).read(np.arange(2))


def write_small(home: Path) -> Path:
    features = opened(home)
    for block in range(2):
        features.write(block, torch.full((2, *SHAPE), float(block)), [RowNote()] * 2)
    return min(features.folder.rglob("block-*"))


def test_older_blocks_without_checksums_are_read_and_named(
    tmp_path: Path, block: Path, caplog: pytest.LogCaptureFixture, bench: Bench
) -> None:
    x = torch.ones((64, *SHAPE), dtype=torch.float16)
    rows = canonical([RowNote(decoder="decord").facts()] * 64)
    block.write_bytes(save({"x": x}, metadata={"rows": rows}))
    features = opened(tmp_path)
    assert features.read(np.arange(3)).eq(1).all()
    assert [note.decoder for note in features.notes(np.arange(2))] == ["decord"] * 2
    assert caplog.text.count("without checksums") == 1
    code, out, _ = bench("store", "verify", "--home", tmp_path, home=False)
    assert code == 0 and "0 damaged, 1 not checksummed" in out


def test_verify_finds_damage_and_repair_deletes_it(
    tmp_path: Path, block: Path, bench: Bench
) -> None:
    code, out, _ = bench("store", "verify", "--home", tmp_path, home=False)
    assert code == 0 and "3 files: 0 damaged, 0 not checksummed" in out
    bad = bytearray(block.read_bytes())
    bad[-7] ^= 4
    block.write_bytes(bad)
    facts = block.parents[1] / "facts.json"
    facts.write_text(facts.read_text().replace("fp32", "fp16"))
    code, out, _ = bench("store", "verify", "--home", tmp_path, home=False)
    assert code == 5 and "3 files: 2 damaged" in out and str(block) in out and str(facts) in out
    code, out, _ = bench("store", "verify", "--repair", "--home", tmp_path, home=False)
    assert code == 0 and "2 damaged (deleted)" in out
    assert opened(tmp_path).missing(ROWS) == [0]
    with pytest.raises(BenchError, match="rerun the same command"):
        opened(tmp_path).read(ROWS)
    write(tmp_path)
    code, _, _ = bench("store", "verify", "--home", tmp_path, home=False)
    assert code == 0


def test_stored_features_are_read_from_a_read_only_home(tmp_path: Path, block: Path) -> None:
    expected = opened(tmp_path).read(ROWS)
    places = [*tmp_path.rglob("*"), tmp_path]
    before = {place: place.stat().st_mtime_ns for place in places}
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        assert torch.equal(opened(tmp_path).read(ROWS), expected)
        assert {place: place.stat().st_mtime_ns for place in places} == before
    finally:
        for place in reversed(places):
            place.chmod(0o755 if place.is_dir() else 0o644)


def test_verify_of_a_record_reads_its_stored_features(
    video_set: Path, tmp_path: Path, bench: Bench, records: Records
) -> None:
    [record] = records(
        "-m", "random:vit_digits", "-t", "folder", "--workers", "0", "--data", video_set,
        "-p", "knn", "--set", "probe.k=1",
    )  # fmt: skip
    home = tmp_path / "home"
    code, _, err = bench("verify", record["id"], "--home", home, home=False)
    assert code in (0, 3), err
    bad = min((home / "features").rglob(f"{record['features']['score_key']}/*/block-*"))
    content = bytearray(bad.read_bytes())
    content[-40] ^= 1
    bad.write_bytes(content)
    block_file._stored_hash.cache_clear()  # as in another process
    code, said, _ = bench("verify", record["id"], "--home", home, "--json", home=False)
    assert code == 5 and str(bad) in said and "checksum differs" in said
