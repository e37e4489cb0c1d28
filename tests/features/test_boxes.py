"""Features of boxes on key frames: the same bits however asked for, nothing decoded twice."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.config import Machine
from bench.data.boxes.regions import RegionReadout
from bench.data.decode.decode import read_frames
from bench.data.manifest import Manifest
from bench.data.views.key_views import is_mirrored, key_view
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.transforms import normalise
from bench.encoders.encoder import Encoder
from bench.errors import UnreadableMedia
from bench.evaluate.prepare import _first
from bench.features import store as store_module
from bench.features.counts import Counts
from bench.features.in_memory import hold
from bench.features.region_readout import roi, roi_tokens
from bench.features.source import StoredSource
from bench.types import FeatureSource, Progress, Reads, Silent, Tokens
from tests.features import small
from tests.features.small import block_bytes, extraction_of, run, tiny_encoder
from tests.features.small_boxes import (
    FLIPPED,
    FPS,
    RECIPE,
    REGION,
    SECONDS,
    make_box_manifest,
    make_box_videos,
)

BOTH = ("vector", "tokens")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_box_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def manifest(videos: list[Path]) -> Manifest:
    return make_box_manifest(videos)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows of vectors (2 x 12 float16), and of one row of tokens (8 x 12)."""
    monkeypatch.setattr(store_module, "BLOCK_BYTES", 4 * 48)


def fill(
    manifest: Manifest,
    home: Path,
    *,
    encoder: Encoder | None = None,
    recipe: Recipe = RECIPE,
    region: RegionReadout = REGION,
    **how: Any,
) -> tuple[dict[str, store_module.FeatureSet], Counts]:
    return run(encoder or tiny_encoder(), manifest, home, recipe=recipe, region=region, **how)


def clip_by_hand(path: Path, second: int, *, mirror: bool = False) -> torch.Tensor:
    """The normalised clip around a key frame, of frames named one by one."""
    centre = second * FPS

    def choose(num_frames: int, fps: float) -> np.ndarray:
        return np.array([np.clip(centre - 4 + 2 * np.arange(4), 0, num_frames - 1)])

    frames = read_frames(path, choose, decoder="pyav")
    pixels = key_view(frames.pixels[frames.index[0]], "keyframe", size=16, patch=8)
    clip = torch.from_numpy(pixels)
    return normalise(clip.flip(-2) if mirror else clip, RECIPE.mean, RECIPE.std)


def by_hand(
    manifest: Manifest, row: int, *, mirror: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vector and tokens of one box, from an encoder call of its own."""
    regions = manifest.regions
    second = int(regions.micros[row]) // 1_000_000
    clip = clip_by_hand(manifest.media[row], second, mirror=mirror)
    tokens = tiny_encoder()(clip, layers=(0, 1))
    maps = [layer.unflatten(1, tokens.grid).permute(0, 1, 4, 2, 3) for layer in tokens.layers]
    corners = regions.corners[row : row + 1].copy()
    if mirror:
        corners[:, [0, 2]] = 1 - corners[:, [2, 0]]
    first = np.zeros(1, dtype=np.int64)
    vector = roi(torch.cat(maps, dim=2).mean(1), first, corners, "mean")
    return vector[0], roi_tokens(maps[-1], first, corners, 2)[0]


def test_features_are_those_of_each_box_alone(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    sets, counts = fill(manifest, tmp_path, readouts=BOTH, dtype="float32")
    rows = np.arange(len(manifest))
    vectors, tokens = sets["vector"].read(rows), sets["tokens"].read(rows)
    assert vectors.shape == (len(rows), 1, 1, 24) and tokens.shape == (len(rows), 1, 8, 12)
    for row in (*range(0, len(rows), 5), len(rows) - 1):
        vector, cut = by_hand(manifest, row)
        torch.testing.assert_close(vectors[row, 0, 0], vector, rtol=0, atol=1e-5)
        torch.testing.assert_close(tokens[row, 0], cut, rtol=0, atol=1e-5)
    # Takes: key frames 0-7, 8-11 of a; 12-14 of b; 15, 16-18 of c.
    assert counts.decoded == 5
    assert counts.decoders == {"pyav": len(manifest)}


def test_layers_are_read_without_the_final_norm_where_asked(
    manifest: Manifest, tmp_path: Path
) -> None:
    how = {"rows": np.array([0]), "dtype": "float32"}
    normed, _ = fill(manifest, tmp_path, **how)
    plain, _ = fill(manifest, tmp_path, region=replace(REGION, norm=False), **how)
    a, b = (sets["vector"].read(np.array([0]))[0, 0, 0] for sets in (normed, plain))
    assert not torch.allclose(a[:12], b[:12], atol=1e-2)
    torch.testing.assert_close(a[12:], b[12:], rtol=0, atol=1e-6)


def test_draws_mirror_key_frames_and_their_boxes(manifest: Manifest, tmp_path: Path) -> None:
    sets, counts = fill(manifest, tmp_path, recipe=FLIPPED, draws=2, dtype="float32")
    assert counts.decoded == 10
    rows = np.arange(0, len(manifest), 3)
    seen = set()
    for draw in (0, 1):
        found = sets["vector"].read(rows, draw)
        for place, row in enumerate(rows):
            mirror = is_mirrored("keyframe_flip", 3, draw, int(manifest.regions.clip[row]))
            expected, _ = by_hand(manifest, row, mirror=mirror)
            torch.testing.assert_close(found[place, 0, 0], expected, rtol=0, atol=1e-5)
            seen.add(mirror)
    assert seen == {False, True}


class PlaceTelling(nn.Module):
    """Tokens to which the place of their clip in its call is added: 1 for the first, 2, ..."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
    ) -> Tokens:
        tokens = self.network(pixels, keep=keep, layers=layers)
        place = torch.arange(1.0, len(pixels) + 1)[:, None, None]
        return replace(tokens, layers=tuple(layer + place for layer in tokens.layers))


@pytest.mark.parametrize("clips_per_call", [3, 4, 16])
def test_boxes_filled_piece_by_piece_have_the_same_bytes(
    manifest: Manifest, tmp_path: Path, small_blocks: None, clips_per_call: int
) -> None:
    plain = tiny_encoder(clips_per_call=clips_per_call)
    # Rounding alone would not always tell a clip that is not at its place.
    encoder = Encoder(PlaceTelling(plain.network), plain.spec)
    for name, recipe, draws in (("plain", RECIPE, 1), ("flipped", FLIPPED, 3)):
        whole, pieces = tmp_path / name / "whole", tmp_path / name / "pieces"
        how = {"encoder": encoder, "recipe": recipe, "draws": draws}
        fill(manifest, whole, readouts=BOTH, **how)
        for rows in ([37], [5, 4], [20], [0, 12, 30]):
            fill(manifest, pieces, rows=np.array(rows), readouts=("tokens",), **how)
        fill(manifest, pieces, readouts=("vector",), workers=2, batch_size=1, **how)
        fill(manifest.subset(np.array([3, 25, 11])), pieces, readouts=BOTH, **how)
        fill(manifest, pieces, readouts=BOTH, batch_size=64, **how)
        assert block_bytes(pieces) == block_bytes(whole)


def test_two_ranks_fill_what_one_does(videos: list[Path], tmp_path: Path) -> None:
    seconds = (np.arange(1, 13).repeat(5), *SECONDS[1:])  # 138 rows: three stretches
    manifest = make_box_manifest(videos, seconds)
    assert len(manifest) > 2 * 64
    _, alone = fill(manifest, tmp_path / "one")
    parts = [fill(manifest, tmp_path / "two", rank=rank, world=2)[1] for rank in (0, 1)]
    assert block_bytes(tmp_path / "two") == block_bytes(tmp_path / "one")
    assert sum((part.decoders for part in parts), Counter()) == alone.decoders


def test_key_frames_of_a_limited_split_fill_their_calls(manifest: Manifest, tmp_path: Path) -> None:
    part = _first(manifest, 7)
    wanted = manifest.regions.clip[np.arange(7) * len(manifest) // 7]
    assert len(part) == np.isin(manifest.regions.clip, wanted).sum()
    assert part.regions.clip.max() + 1 == len(set(wanted.tolist()))
    sets, counts = fill(part, tmp_path, dtype="float32")
    # Seven clips in calls of four, of which each may meet the other shape.
    assert counts.encoder_calls <= 4
    expected, _ = by_hand(part, len(part) - 1)
    found = sets["vector"].read(np.array([len(part) - 1]))[0, 0, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_second_request_decodes_nothing(manifest: Manifest, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    _, first = fill(manifest, tmp_path, encoder=encoder)
    encoder.network.forward = None  # a call would fail
    _, second = fill(manifest, tmp_path, encoder=encoder)
    assert (second.decoded, second.encoder_calls) == (0, 0)
    assert second.rows_read_from_store == len(manifest)
    assert (second.decoders, second.repeated_frames) == (first.decoders, first.repeated_frames)


def test_repeated_frames_of_a_key_frame_are_counted_once(
    videos: list[Path], tmp_path: Path
) -> None:
    # Frames -4, -2, 0, 2 around second 0 are 0, 0, 0, 2: two stand in, whatever the boxes.
    # Second 1 of the same look has 2, 4, 6, 8.
    manifest = make_box_manifest(videos, ([0, 0, 0, 1, 1], [1], [2]))
    assert len(manifest) > 5
    _, counts = fill(manifest, tmp_path)
    assert counts.repeated_frames == 2


def test_damage_costs_only_the_rows_that_it_must(videos: list[Path], tmp_path: Path) -> None:
    late = make_box_manifest(
        videos, (range(1, 15), *SECONDS[1:])
    )  # seconds 13 and 14 are not there
    gone = make_box_manifest([*videos[:2], tmp_path / "gone.mp4"], (range(1, 15), *SECONDS[1:]))
    sets, counts = fill(gone, tmp_path / "gone", readouts=BOTH)
    rows = np.arange(len(gone))
    bad = sets["vector"].unreadable(rows)
    second, video = gone.regions.micros // 1_000_000, gone.regions.video
    assert sorted(bad) == rows[(second > 12) & (video == 0) | (video == 2)].tolist()
    assert all(note.missing == (video[row] == 2) for row, note in bad.items())
    assert "second 13" in bad[int(rows[second == 13][0])].error
    assert str(tmp_path) not in str(bad)
    assert sum(counts.decoders.values()) == len(gone) - len(bad)
    whole, _ = fill(late, tmp_path / "late", readouts=BOTH)
    good = np.setdiff1d(rows, list(bad))
    for reads in BOTH:
        assert torch.equal(sets[reads].read(good), whole[reads].read(good))
    kept = StoredSource(sets["vector"], gone, "vector", rows=good)
    assert len(list(kept.epoch(0, batch_size=1))) == len(good)
    with pytest.raises(UnreadableMedia, match="cannot be read"):
        list(live(gone).epoch(0, batch_size=4))


def test_boxes_outside_of_the_centre_are_counted(videos: list[Path], tmp_path: Path) -> None:
    manifest = make_box_manifest(videos)
    regions = manifest.regions
    regions.corners[0] = [0.0, 0.2, 0.1, 0.8]  # the first video is wide: its sides are cut off
    region = replace(REGION, view="centre")
    recipe = replace(RECIPE, view="keyframe_centre")
    for _ in range(2):
        sets, counts = fill(manifest, tmp_path, region=region, recipe=recipe)
        notes = list(sets["vector"].notes(np.arange(len(manifest))))
        assert notes[0].is_outside
        assert counts.boxes_outside == sum(note.is_outside for note in notes) < len(manifest) / 2


def test_row_bytes_are_the_size_of_the_arrays(manifest: Manifest, tmp_path: Path) -> None:
    sets, _ = fill(manifest, tmp_path, readouts=BOTH, dtype="float16")
    for reads in BOTH:
        assert 3 * sets[reads].row_bytes == sets[reads].read(np.arange(3)).nbytes


# ------------------------------------------------------------------------------------- names
@pytest.fixture
def name(videos: list[Path], tmp_path: Path) -> Callable[..., str]:
    def digest_of(
        manifest: Manifest | None = None,
        *,
        reads: str = "vector",
        region: RegionReadout = REGION,
        recipe: Recipe = RECIPE,
        watch: Progress | None = None,
    ) -> str:
        how = {"readouts": [reads], "recipe": recipe, "region": region, "draws": None}
        extraction = extraction_of(tiny_encoder(), manifest or make_box_manifest(videos), **how)
        return extraction.feature_sets(tmp_path, watch or Silent())[reads].digest

    return digest_of


def moved(manifest: Manifest, **how: Any) -> Manifest:
    regions = replace(manifest.regions, **how)
    return replace(manifest, regions=regions, media=regions.by_row)


def test_what_changes_a_box_changes_the_name(name: Callable[..., str], manifest: Manifest) -> None:
    regions = manifest.regions
    corners, micros = regions.corners.copy(), regions.micros.copy()
    corners[7, 2] += 1e-6
    micros[-1] += 1
    names = [
        name(),
        name(moved(manifest, corners=corners)),
        name(moved(manifest, micros=micros)),
        name(moved(manifest, start=1.0)),
        name(moved(manifest, start=None)),
        name(moved(manifest, media=[regions.media[place] for place in (2, 1, 0)])),
        name(reads="tokens"),
        name(reads="tokens", region=replace(REGION, bins=3)),
        name(region=replace(REGION, pool="max")),
        name(region=replace(REGION, norm=False)),
        name(region=replace(REGION, num_layers=1)),
        name(recipe=replace(RECIPE, view="keyframe_centre")),
        name(recipe=FLIPPED),
    ]
    assert len(set(names)) == len(names)


def test_what_changes_no_box_keeps_the_name(name: Callable[..., str], manifest: Manifest) -> None:
    other = replace(
        moved(manifest, videos=["x", "y", "z"], frame_rate=25.0, facts={"threshold": 0.8}),
        name="other",
        ids=[str(row) for row in range(len(manifest))],
        labels=np.zeros_like(manifest.labels),
        classes=["p", "q", "r"],
    )
    assert name(other) == name(manifest.subset(np.array([4, 2]))) == name()
    assert name(region=replace(REGION, bins=3)) == name()


def test_every_video_is_digested_once(name: Callable[..., str]) -> None:
    totals = {}

    class Watch(Silent):
        def start(self, title: str, total: int) -> None:
            totals[title] = total

    name(watch=Watch())
    assert totals == {"media digests": 3}


# ----------------------------------------------------------------------------------- sources
def stored(manifest: Manifest, home: Path, reads: str = "vector", **how: Any) -> StoredSource:
    sets, _ = fill(manifest, home, readouts=(reads,), dtype="float32", **how)
    return StoredSource(sets[reads], manifest, reads)


def live(
    manifest: Manifest,
    reads: Reads = "vector",
    recipe: Any = RECIPE,
    *,
    workers: int = 0,
    counts: Any = None,
) -> Any:
    machine = Machine(home=Path(), workers=workers)
    how = {"recipe": recipe, "region": REGION, "machine": machine, "counts": counts}
    return small.live(tiny_encoder(), manifest, reads, **how)


def held(manifest: Manifest, home: Path, reads: str = "vector") -> StoredSource:
    how = {"readouts": BOTH, "recipe": RECIPE, "region": REGION}
    extraction = extraction_of(tiny_encoder(), manifest, **how)
    machine = Machine(home=home, workers=0, batch_size=2)
    found = hold(extraction, machine, progress=Silent(), counts=Counts())
    return StoredSource(found[reads], manifest, reads)


def epoch(
    source: FeatureSource, number: int = 0, seed: int | None = None, batch_size: int = 4
) -> tuple[torch.Tensor, ...]:
    batches = list(source.epoch(number, batch_size=batch_size, seed=seed))
    return tuple(torch.cat([getattr(b, what) for b in batches]) for what in ("x", "y", "row"))


@pytest.mark.parametrize("reads", BOTH)
def test_stored_live_and_held_features_and_orders_are_the_same(
    manifest: Manifest, tmp_path: Path, reads: str
) -> None:
    sources = [
        stored(manifest, tmp_path, reads),
        live(manifest, reads, workers=2),
        held(manifest, tmp_path, reads),
    ]
    for seed in (None, 7):
        x, y, row = epoch(sources[0], seed=seed)
        assert sorted(row.tolist()) == list(range(len(manifest)))
        assert y.tolist() == manifest.labels[row.numpy()].tolist()
        assert x.shape[1:] == ((1, 24) if reads == "vector" else (1, 8, 12))
        for other in sources[1:]:
            x_other, y_other, row_other = epoch(other, seed=seed, batch_size=7)
            assert torch.equal(row, row_other) and torch.equal(y, y_other)
            torch.testing.assert_close(x, x_other, rtol=0, atol=1e-5)
    assert {source.width for source in sources} == {24 if reads == "vector" else 12}
    assert all(source.groups.tolist() == manifest.regions.video.tolist() for source in sources)


def test_shuffled_key_frames_keep_their_boxes_together(manifest: Manifest, tmp_path: Path) -> None:
    source = stored(manifest, tmp_path)
    orders = {}
    for number, seed in ((0, 5), (1, 5), (0, 6)):
        row = epoch(source, number, seed)[2].numpy()
        clips = manifest.regions.clip[row]
        runs = clips[np.flatnonzero(np.diff(clips, prepend=-1))]
        assert len(runs) == len(set(runs)) == sum(map(len, SECONDS))
        assert all((np.diff(row[clips == clip]) == 1).all() for clip in runs)
        orders[number, seed] = tuple(runs)
    assert len(set(orders.values())) == 3
    assert all(order != tuple(sorted(order)) for order in orders.values())


def test_live_epoch_decodes_every_key_frame_once(manifest: Manifest) -> None:
    counts = Counts()
    source = live(manifest, counts=counts)
    epoch(source, seed=1)
    # Neighbours that meet in the shuffled order share a look, and none is looked at twice.
    assert 5 < counts.decoded <= sum(map(len, SECONDS))
    # 19 clips of two shapes fill calls of four as they come: each of at most five calls twice.
    assert counts.encoder_calls <= 10


def test_epochs_of_live_boxes_are_draws(manifest: Manifest, tmp_path: Path) -> None:
    kept = stored(manifest, tmp_path, recipe=FLIPPED, draws=2)
    fresh = live(manifest, recipe=FLIPPED)
    for number in (0, 1):
        x, _, row = epoch(fresh, number, seed=2)
        x_kept, _, row_kept = epoch(kept, number, seed=2)
        assert torch.equal(row, row_kept)
        torch.testing.assert_close(x, x_kept, rtol=0, atol=1e-5)
    assert not torch.equal(epoch(kept, 0)[0], epoch(kept, 1)[0])


def test_subset_of_a_source_keeps_groups_and_features(manifest: Manifest, tmp_path: Path) -> None:
    rows = np.array([30, 2, 3, 17])
    for source in (stored(manifest, tmp_path), live(manifest), held(manifest, tmp_path)):
        part = source.subset(rows)
        x, y, row = epoch(part, seed=3)
        assert part.groups.tolist() == manifest.regions.video[rows].tolist()
        assert sorted(row.tolist()) == [0, 1, 2, 3]
        torch.testing.assert_close(x, epoch(source)[0][rows[row.numpy()]], rtol=0, atol=1e-5)
        assert y.tolist() == manifest.labels[rows[row.numpy()]].tolist()
    part = manifest.subset(rows)
    torch.testing.assert_close(
        epoch(live(part))[0], epoch(live(manifest))[0][rows], rtol=0, atol=1e-5
    )
    assert live(part).groups.tolist() == manifest.regions.video[rows].tolist()
