"""Stored, live and given features: every row once an epoch, in an order one can have again."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.config import Machine
from bench.data.manifest import Manifest
from bench.errors import DataError, UnreadableMedia
from bench.features import source as source_module
from bench.features import store as store_module
from bench.features.arrays import ArraySource, read_npz
from bench.features.counts import Counts
from bench.features.source import StoredSource
from bench.types import FeatureSource, Reads
from tests.features import small
from tests.features.small import (
    AUGMENTED,
    make_manifest,
    make_videos,
    run,
    tiny_encoder,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_manifest(make_videos(tmp_path_factory.mktemp("videos")))


def stored(manifest: Manifest, home: Path, reads: Reads = "vector", **how: Any) -> Any:
    sets, _ = run(tiny_encoder(), manifest, home, readouts=(reads,), **how)
    return StoredSource(sets[reads], manifest, reads)


def live(
    manifest: Manifest,
    reads: Reads = "vector",
    *,
    workers: int = 0,
    batch_size: int = 8,
    **how: Any,
) -> Any:
    machine = Machine(home=Path(), workers=workers, batch_size=batch_size)
    return small.live(tiny_encoder(), manifest, reads, machine=machine, **how)


def given(manifest: Manifest, reads: str = "vector") -> ArraySource:
    shape = (len(manifest), 12) if reads == "vector" else (len(manifest), 16, 12)
    x = np.random.default_rng(0).standard_normal(shape)
    return ArraySource(x, manifest.labels)


@pytest.fixture(params=["stored", "live", "given"])
def source(request: pytest.FixtureRequest, manifest: Manifest, tmp_path: Path) -> FeatureSource:
    make = {"stored": lambda: stored(manifest, tmp_path), "live": lambda: live(manifest)}
    return make.get(request.param, lambda: given(manifest))()


def whole_epoch(
    source: FeatureSource, number: int = 0, batch_size: int = 4, seed: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batches = list(source.epoch(number, batch_size=batch_size, seed=seed))
    return (
        torch.cat([batch.x for batch in batches]),
        torch.cat([batch.y for batch in batches]),
        torch.cat([batch.row for batch in batches]),
    )


def test_every_epoch_has_every_row_once_with_its_label(
    source: FeatureSource, manifest: Manifest
) -> None:
    for number, seed in ((0, None), (0, 5), (1, 5)):
        x, y, row = whole_epoch(source, number, seed=seed)
        assert Counter(row.tolist()) == Counter(range(9)) and len(x) == 9
        assert y.tolist() == manifest.labels[row.numpy()].tolist()
    assert x.dtype == torch.float32 and y.dtype == row.dtype == torch.int64


def test_order_follows_rows_without_a_seed_and_seed_and_epoch_with_one(
    source: FeatureSource,
) -> None:
    orders = {
        key: whole_epoch(source, *key[:1], seed=key[1])[2].tolist()
        for key in ((0, None), (0, 5), (1, 5), (0, 6))
    }
    assert orders[0, None] == list(range(9))
    assert len({tuple(order) for order in orders.values()}) == 4
    assert whole_epoch(source, 1, batch_size=2, seed=5)[2].tolist() == orders[1, 5]


def test_features_belong_to_their_row_and_do_not_depend_on_the_batch(source: FeatureSource) -> None:
    x, _, _ = whole_epoch(source)
    for batch_size in (1, 9):
        shuffled, _, row = whole_epoch(source, batch_size=batch_size, seed=1)
        torch.testing.assert_close(shuffled, x[row], rtol=0, atol=1e-6)


def test_a_subset_has_the_same_features(source: FeatureSource, manifest: Manifest) -> None:
    x, _, _ = whole_epoch(source)
    part = source.subset(np.array([7, 2, 4])).subset(np.array([2, 0]))
    some, y, row = whole_epoch(part)
    torch.testing.assert_close(some, x[[4, 7]], rtol=0, atol=1e-6)
    assert row.tolist() == [0, 1] and y.tolist() == manifest.labels[[4, 7]].tolist()
    assert len(part) == 2 and part.labels.tolist() == y.tolist()
    assert (part.num_classes, part.width, part.reads) == (3, 12, source.reads)


@pytest.mark.parametrize("reads", ["vector", "tokens"])
def test_live_and_stored_agree_within_float16(
    manifest: Manifest, tmp_path: Path, reads: str
) -> None:
    kept, fresh = stored(manifest, tmp_path, reads), live(manifest, reads, workers=2)
    x, y, _ = whole_epoch(kept)
    x_live, y_live, _ = whole_epoch(fresh)
    assert x.shape == x_live.shape == ((9, 2, 12) if reads == "vector" else (9, 2, 16, 12))
    assert torch.equal(y, y_live)
    # float16 keeps 11 bits; values are of order 1.
    torch.testing.assert_close(x, x_live, rtol=2**-11, atol=2**-11)


def test_live_features_may_enter_a_graph(manifest: Manifest) -> None:
    x, _, _ = whole_epoch(live(manifest))
    weight = torch.ones(12, requires_grad=True)
    (x @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum((0, 1)))


def test_live_bits_do_not_depend_on_batch_size(manifest: Manifest) -> None:
    first = whole_epoch(live(manifest), seed=2, batch_size=1)
    second = whole_epoch(live(manifest, workers=2, batch_size=64), seed=2, batch_size=7)
    assert torch.equal(first[0], second[0])


def test_epochs_read_the_stored_draws_in_turn(manifest: Manifest, tmp_path: Path) -> None:
    source = stored(manifest, tmp_path, recipe=AUGMENTED, draws=2, dtype="float32")
    zero, one, two = (whole_epoch(source, number)[0] for number in range(3))
    assert zero.shape == (9, 1, 12)
    assert torch.equal(zero, two) and not torch.equal(zero, one)


def test_an_epoch_of_live_features_is_the_draw_of_its_number(
    manifest: Manifest, tmp_path: Path
) -> None:
    kept = stored(manifest, tmp_path, recipe=AUGMENTED, draws=2, dtype="float32")
    fresh = live(manifest, recipe=AUGMENTED)
    for number in (0, 1):
        torch.testing.assert_close(
            whole_epoch(fresh, number)[0], whole_epoch(kept, number)[0], rtol=0, atol=1e-5
        )
    assert not torch.equal(whole_epoch(fresh, 2)[0], whole_epoch(fresh, 0)[0])


def test_the_draw_of_a_row_is_the_same_in_a_subset(manifest: Manifest) -> None:
    whole = whole_epoch(live(manifest, recipe=AUGMENTED), 1)[0]
    part = whole_epoch(live(manifest.subset(np.array([6, 3])), recipe=AUGMENTED), 1)[0]
    torch.testing.assert_close(part, whole[[6, 3]], rtol=0, atol=1e-6)


def test_vectors_from_memory_and_from_disk_are_the_same(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BLOCK_BYTES", 2 * 96)
    source = stored(manifest, tmp_path)
    from_memory = whole_epoch(source, seed=3)[0]
    monkeypatch.setattr(source_module, "CACHED_BYTES", 0)
    assert torch.equal(whole_epoch(source, seed=3)[0], from_memory)


def test_rows_leave_out_what_cannot_be_read(manifest: Manifest, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"")
    paths = [*manifest.media[:2], broken, manifest.media[3]]
    sets, _ = run(tiny_encoder(), make_manifest(paths), tmp_path)
    bad = sets["vector"].unreadable(np.arange(4))
    rows = np.setdiff1d(np.arange(4), list(bad))
    source = StoredSource(sets["vector"], make_manifest(paths), "vector", rows=rows)
    assert whole_epoch(source)[1].tolist() == [0, 1, 0]
    with pytest.raises(UnreadableMedia, match=r"broken.mp4 cannot be read"):
        whole_epoch(live(make_manifest(paths)))


def test_live_work_is_counted(manifest: Manifest) -> None:
    counts = Counts()
    source = live(manifest, counts=counts)
    for number in range(2):
        whole_epoch(source, number)
    assert (counts.decoded, counts.encoder_calls) == (18, 18)
    assert set(counts.seconds) == {"decode", "encode"}


def test_leaving_an_epoch_early_is_possible(source: FeatureSource) -> None:
    batches = source.epoch(0, batch_size=1)
    next(batches)
    batches.close()


def test_given_arrays_are_vectors_or_tokens(manifest: Manifest) -> None:
    assert whole_epoch(given(manifest))[0].shape == (9, 1, 12)
    tokens = given(manifest, "tokens")
    assert tokens.reads == "tokens" and whole_epoch(tokens)[0].shape == (9, 1, 16, 12)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.zeros((2, 3, 4, 5)), np.zeros(2, int), r"\[rows, width\]"),
        (np.zeros((2, 3), int), np.zeros(2, int), "floating point"),
        (np.zeros((2, 3)), np.zeros(3, int), "one integer label per row"),
        (np.zeros((2, 3)), np.zeros(2), "one integer label per row"),
        (np.zeros((2, 3)), np.array([0, -1]), "has the label -1"),
        (np.array([[0.0], [np.nan]]), np.zeros(2, int), "first in row 1"),
        (np.zeros((0, 3)), np.zeros(0, int), "at least one row"),
    ],
)
def test_arrays_that_cannot_be_features_are_refused(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        ArraySource(x, y)
    np.savez(tmp_path / "file.npz", x=x, y=y)
    with pytest.raises(DataError, match=rf"file.npz.*{says}"):
        read_npz(tmp_path / "file.npz")


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(DataError, match="label 4 is outside the 4 classes"):
        ArraySource(np.zeros((2, 3)), np.array([0, 4]), num_classes=4)


def test_npz_files_are_read_back(tmp_path: Path) -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.array([1, 0], dtype=np.int32)
    np.savez(tmp_path / "good.npz", x=x, y=y)
    x_read, y_read = read_npz(tmp_path / "good.npz")
    assert x_read.dtype == np.float32 and y_read.dtype == np.int64
    assert x_read.tolist() == x.tolist() and y_read.tolist() == [1, 0]


def test_files_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.npz"):
        read_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text.npz is not an .npz of plain arrays"):
        read_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "lacks.npz", x=np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"lacks.npz must have the arrays x and y"):
        read_npz(tmp_path / "lacks.npz")
    np.savez(tmp_path / "pickled.npz", x=np.array([{}]), y=np.zeros(1, int))
    with pytest.raises(DataError, match="plain arrays"):
        read_npz(tmp_path / "pickled.npz")


def test_sources_of_other_seeds_share_nothing(manifest: Manifest) -> None:
    first = whole_epoch(live(manifest, recipe=AUGMENTED))[0]
    second = whole_epoch(live(manifest, recipe=replace(AUGMENTED, seed=4)))[0]
    assert not torch.equal(first, second)


def test_an_archive_that_would_fill_the_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x, y = tmp_path / "zeros.npz", np.zeros((500, 200)), np.zeros(500, dtype=int)
    np.savez_compressed(path, x=x, y=y)
    assert len(read_npz(path)[1]) == 500
    monkeypatch.setattr("bench.features.arrays.UNSUSPICIOUS_BYTES", 100_000)
    with pytest.raises(DataError, match=r"would unpack [\d,]+ bytes to 804,"):
        read_npz(path)
    np.savez(path, x=x, y=y)
    assert len(read_npz(path)[1]) == 500
