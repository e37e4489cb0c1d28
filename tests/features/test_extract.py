"""Extraction: the same bits however it is run, nothing twice, nothing replaced in silence."""

import json
from collections import namedtuple
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.decode.decode import read_frames
from bench.data.manifest import Manifest
from bench.data.views.clip_frames import frame_indices
from bench.data.views.transforms import normalise, score_views
from bench.encoders.encoder import Encoder
from bench.errors import BenchError, UsageError
from bench.features import extract as extract_module
from bench.features import store as store_module
from tests.features.small import (
    AUGMENTED,
    PLAN,
    RECIPE,
    block_bytes,
    make_manifest,
    make_videos,
    run,
    tiny_encoder,
)
from tests.media import write_video

CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "video"
BOTH = ("vector", "tokens")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def manifest(videos: list[Path]) -> Manifest:
    return make_manifest(videos)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four rows of vectors (96 bytes each), and of one row of tokens (768 bytes)."""
    monkeypatch.setattr(store_module, "BLOCK_BYTES", 4 * 96)


def by_hand(encoder: Encoder, path: Path) -> torch.Tensor:
    """Tokens `[V, S, N, D]` of one video, straight from the parts and in one encoder call."""
    frames = read_frames(path, lambda num_frames, fps: frame_indices(PLAN, num_frames))
    views = score_views(frames.pixels, size=16, num_views=2, kind="video")
    clips = torch.from_numpy(views[:, frames.index]).flatten(0, 1)
    tokens = encoder(normalise(clips, RECIPE.mean, RECIPE.std)).last
    return tokens.reshape(2, 2, *tokens.shape[1:])


def test_features_are_those_of_the_parts_put_together_by_hand(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    encoder = tiny_encoder()
    sets, _ = run(encoder, manifest, tmp_path, readouts=BOTH, dtype="float32")
    rows = np.array([8, 0, 3])
    vectors, tokens = sets["vector"].read(rows), sets["tokens"].read(rows)
    assert vectors.shape == (3, 2, 2, 12) and tokens.shape == (3, 2, 16, 12)
    for place, row in enumerate(rows):
        expected = by_hand(encoder, manifest.media[row])
        torch.testing.assert_close(vectors[place], expected.mean(2), rtol=0, atol=1e-5)
        torch.testing.assert_close(tokens[place], expected.flatten(1, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("batch_size", "workers"), [(7, 0), (64, 0), (1, 2), (64, 2)])
def test_batch_size_and_workers_change_no_bit(
    manifest: Manifest, tmp_path: Path, small_blocks: None, batch_size: int, workers: int
) -> None:
    encoder = tiny_encoder()
    run(encoder, manifest, tmp_path / "reference", readouts=BOTH, batch_size=1)
    run(
        encoder,
        manifest,
        tmp_path / "other",
        readouts=BOTH,
        batch_size=batch_size,
        workers=workers,
    )
    assert block_bytes(tmp_path / "other") == block_bytes(tmp_path / "reference")


def test_draws_do_not_depend_on_workers(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    encoder = tiny_encoder()
    for workers in (0, 2):
        run(encoder, manifest, tmp_path / str(workers), recipe=AUGMENTED, draws=3, workers=workers)
    assert block_bytes(tmp_path / "0") == block_bytes(tmp_path / "2")


def test_readouts_filled_alone_and_together_have_the_same_bytes(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    encoder = tiny_encoder(clips_per_call=3)
    run(encoder, manifest, tmp_path / "together", readouts=BOTH)
    for reads in BOTH[::-1]:
        run(encoder, manifest, tmp_path / "apart", readouts=(reads,))
    assert block_bytes(tmp_path / "apart") == block_bytes(tmp_path / "together")


def test_rows_filled_piece_by_piece_have_the_same_bytes(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    # 3 clips in a call and 4 clips in a row: calls straddle the blocks.
    encoder = tiny_encoder(clips_per_call=3)
    run(encoder, manifest, tmp_path / "whole")
    for rows, decoded in (([8], 1), ([5, 4], 4), ([0, 8], 4)):
        _, counts = run(encoder, manifest, tmp_path / "pieces", rows=np.array(rows))
        assert counts.decoded == decoded
    assert block_bytes(tmp_path / "pieces") == block_bytes(tmp_path / "whole")


def test_two_ranks_fill_what_one_does(tmp_path: Path) -> None:
    paths = make_videos(tmp_path / "videos", 2) * 35  # 70 rows: two stretches
    manifest, encoder = make_manifest(paths), tiny_encoder()
    _, alone = run(encoder, manifest, tmp_path / "one")
    parts = [run(encoder, manifest, tmp_path / "two", rank=rank, world=2)[1] for rank in (0, 1)]
    assert [part.decoded for part in parts] == [64, 6] and alone.decoded == 70
    assert block_bytes(tmp_path / "two") == block_bytes(tmp_path / "one")


def test_a_second_request_decodes_and_encodes_nothing(manifest: Manifest, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    _, first = run(encoder, manifest, tmp_path)
    assert (first.decoded, first.encoder_calls, first.rows_read_from_store) == (9, 9, 0)
    encoder.network.forward = None  # a call would fail
    _, second = run(encoder, manifest, tmp_path, batch_size=64, workers=2)
    assert (second.decoded, second.encoder_calls, second.rows_read_from_store) == (0, 0, 9)
    assert second.decoders == first.decoders and second.repeated_frames == first.repeated_frames


@pytest.mark.skipif(find_spec("decord") is None, reason="decord is not installed")
def test_films_that_decord_would_show_otherwise_are_counted_with_the_reason(
    tmp_path: Path,
) -> None:
    cases = [CASES / name for name in ("hflip.mp4", "tkhd90.mkv", "two_streams.mp4")]
    manifest = make_manifest([*cases, write_video(tmp_path / "usual.mp4", 12)])
    encoder = tiny_encoder()
    by_decord, counts = run(
        encoder, manifest, tmp_path, recipe=replace(RECIPE, decoder="decord"), dtype="float32"
    )
    assert counts.decoders == {
        "decord": 1,
        "pyav (decord: inexact with a turned picture)": 2,
        "pyav (decord: inexact with several video streams)": 1,
    }
    by_pyav, counts = run(encoder, manifest, tmp_path, dtype="float32")
    assert counts.decoders == {"pyav": 4} and counts.decoded == 4  # features of its own
    for one, other in zip(by_decord.values(), by_pyav.values(), strict=True):
        np.testing.assert_array_equal(one.read(np.arange(4)), other.read(np.arange(4)))


def test_a_readout_that_is_there_is_not_written_again(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    encoder = tiny_encoder()
    run(encoder, manifest, tmp_path, readouts=("tokens",))
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("block-*")}
    _, counts = run(encoder, manifest, tmp_path, readouts=BOTH)
    assert counts.decoded == 9
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_only_blocks_of_the_needed_rows_are_filled(
    manifest: Manifest, tmp_path: Path, small_blocks: None
) -> None:
    sets, counts = run(tiny_encoder(), manifest, tmp_path, rows=np.array([5]))
    assert counts.decoded == 4
    assert sets["vector"].missing(np.arange(9)) == [0, 2]
    with pytest.raises(BenchError, match="incomplete: rows 0 to 3 are not in"):
        sets["vector"].read(np.array([5, 2]))


def test_a_subset_reads_the_features_of_its_parent(manifest: Manifest, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    whole, _ = run(encoder, manifest, tmp_path)
    part, counts = run(encoder, manifest.subset(np.array([7, 2])), tmp_path)
    assert counts.decoded == 0 and counts.rows_read_from_store == 2
    assert part["vector"].folder == whole["vector"].folder


def test_unreadable_files_are_reported_with_their_reason(
    videos: list[Path], tmp_path: Path, small_blocks: None
) -> None:
    bad, gone = tmp_path / "bad.mp4", tmp_path / "gone.mp4"
    bad.write_bytes(b"no video at all")
    sets, counts = run(tiny_encoder(), make_manifest([*videos[:2], bad, gone]), tmp_path)
    found = sets["vector"].unreadable(np.arange(4))
    assert list(found) == [2, 3]
    assert "bad.mp4" in found[2].error and "gone.mp4" in found[3].error
    assert str(tmp_path) not in str(found)
    assert [found[row].missing for row in found] == [False, True]
    assert sum(counts.decoders.values()) == 2
    # Rows beside an unreadable one are what they are without it.
    alone, _ = run(tiny_encoder(), make_manifest(videos[:2]), tmp_path)
    assert torch.equal(sets["vector"].read(np.arange(2)), alone["vector"].read(np.arange(2)))


def test_repeated_frames_are_counted(tmp_path: Path) -> None:
    # 6 frames, clips of 0 2 4 6: the last frame of both clips stands in for a missing one.
    [path] = make_videos(tmp_path / "one", 1)
    plan = replace(PLAN, num_clips=1)
    _, counts = run(
        tiny_encoder(), make_manifest([path]), tmp_path, recipe=replace(RECIPE, plan=plan)
    )
    assert counts.repeated_frames == len(frame_indices(plan, 6)[0]) - len(
        set(frame_indices(plan, 6)[0].tolist())
    )


def test_images_are_one_frame_repeated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    plan = replace(PLAN, num_clips=1, num_views=1, stride=0)
    recipe = replace(RECIPE, plan=plan, kind="image")
    encoder = tiny_encoder()
    sets, counts = run(
        encoder, make_manifest(paths, "image"), tmp_path, recipe=recipe, dtype="float32"
    )
    image = np.asarray(Image.open(paths[1]))[None]
    view = score_views(image, size=16, num_views=1, kind="image")
    clip = normalise(torch.from_numpy(view.repeat(4, axis=1)), recipe.mean, recipe.std)
    expected = encoder(clip).last.mean(1)
    torch.testing.assert_close(
        sets["vector"].read(np.array([1]))[0, 0], expected, rtol=0, atol=1e-5
    )
    assert counts.decoders == {"pillow": 2} and counts.repeated_frames == 0


def test_layers_are_tapped_and_joined(manifest: Manifest, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    settings = {"rows": np.array([0]), "dtype": "float32"}
    first, _ = run(encoder, manifest, tmp_path, layers=(0,), **settings)
    both, _ = run(encoder, manifest, tmp_path, layers=(0, 1), **settings)
    last, _ = run(encoder, manifest, tmp_path, **settings)
    row = np.array([0])
    joined = torch.cat([first["vector"].read(row), last["vector"].read(row)], dim=-1)
    assert torch.equal(both["vector"].read(row), joined)


def test_tokens_of_several_layers_follow_each_other_within_a_clip(
    manifest: Manifest, tmp_path: Path
) -> None:
    encoder = tiny_encoder()
    settings = {"rows": np.array([0]), "dtype": "float32", "readouts": ("tokens", "vector")}
    first, _ = run(encoder, manifest, tmp_path, layers=(0,), **settings)
    both, _ = run(encoder, manifest, tmp_path, layers=(0, 1), **settings)
    last, _ = run(encoder, manifest, tmp_path, **settings)
    row = np.array([0])
    clips = [
        one["tokens"].read(row).unflatten(2, (2, -1))  # two clips of eight tokens a view
        for one in (first, last)
    ]
    assert clips[0].shape == (1, 2, 2, 8, 12)
    joined = torch.cat(clips, dim=3).flatten(2, 3)
    assert torch.equal(both["tokens"].read(row), joined)
    vectors = torch.cat([first["vector"].read(row), last["vector"].read(row)], dim=-1)
    assert torch.equal(both["vector"].read(row), vectors)


def test_values_beyond_float16_are_refused_with_the_way_out(
    manifest: Manifest, tmp_path: Path
) -> None:
    encoder = tiny_encoder()
    encoder.network.norm.weight.data.fill_(1e6)
    with pytest.raises(BenchError, match=r"maximum of float16.*--set dtype=float32"):
        run(encoder, manifest, tmp_path)
    run(encoder, manifest, tmp_path, dtype="float32")


def test_values_that_are_not_finite_name_the_row(manifest: Manifest, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    encoder.network.norm.weight.data[0] = float("nan")
    with pytest.raises(BenchError, match="non-finite features for row 0"):
        run(encoder, manifest, tmp_path)


def test_a_disk_without_the_space_is_refused_before_decoding(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(extract_module.shutil, "disk_usage", lambda path: usage(1, 1, 200))
    with pytest.raises(BenchError, match=r"need 0.864 kB.*features=live"):
        run(tiny_encoder(), manifest, tmp_path, workers=0)
    assert not list(tmp_path.rglob("block-*"))


def test_row_bytes_are_the_size_of_the_arrays(manifest: Manifest, tmp_path: Path) -> None:
    for reads in BOTH:
        sets, _ = run(tiny_encoder(), manifest, tmp_path, readouts=(reads,))
        assert sets[reads].row_bytes == sets[reads].read(np.arange(9))[0].nbytes


def test_draws_must_fit_the_recipe(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        run(tiny_encoder(), manifest, tmp_path, recipe=AUGMENTED, draws=0)
    with pytest.raises(UsageError, match="all draws of the score view are equal"):
        run(tiny_encoder(), manifest, tmp_path, draws=2)


def test_an_encoder_that_contradicts_its_spec_is_named(manifest: Manifest, tmp_path: Path) -> None:
    encoder = tiny_encoder()
    encoder.spec = replace(encoder.spec, patch_size=4)
    with pytest.raises(BenchError, match="encoder tiny gave features of shape"):
        run(encoder, manifest, tmp_path, readouts=("tokens",))


def test_the_facts_stand_beside_the_blocks(manifest: Manifest, tmp_path: Path) -> None:
    sets, _ = run(tiny_encoder(), manifest, tmp_path)
    store = sets["vector"]
    assert json.loads((store.folder / "facts.json").read_text()) == store.facts
    assert store.folder == tmp_path / "features" / store.digest[:2] / store.digest
    assert (store.folder / "000" / "block-000000.safetensors").is_file()
