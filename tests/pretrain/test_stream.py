"""Clips follow seed and position alone, as released; what cannot be decoded is named."""

import itertools
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.decode import children
from bench.data.decode.decode import read_frames
from bench.data.views.augment import sample_crop
from bench.data.views.clip_frames import frame_indices
from bench.encoders.networks.video_vit import VitArchitecture
from bench.errors import DataError, UsageError
from bench.pretrain.clip_stream import ClipBatch, clip_batches, training_view
from bench.pretrain.lists import read_lists
from bench.pretrain.masks import RandomTube
from bench.pretrain.order import Order
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.types import ClipPlan
from tests.media import read_numbers, truncate, write_video

GOLDEN = np.load(Path(__file__).parents[1] / "fixtures" / "eval_views.npz")
LENGTHS = (40, 9, 25, 13)  # frames; a clip spans 12
RECIPE = PretrainRecipe(
    name="tiny",
    encoder=VitArchitecture(
        width=12, depth=1, num_heads=1, patch_size=8, num_frames=4, image_size=16
    ),
    predictor=PredictorArchitecture(num_mask_tokens=1),
    masks=(RandomTube(ratio=0.5),),
    plan=ClipPlan(num_frames=4, num_clips=1, num_views=1, stride=3, sampler="vjepa_pretrain"),
    num_steps=1,
    batch_size=4,
    mask_batch=4,
    warmup_steps=0,
    lr=1e-3,
    start_lr=1e-3,
)
SEED = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for number, length in enumerate(LENGTHS):
        write_video(root / f"{number}.mp4", length, size=[(48, 40), (32, 48)][number % 2])
    return root


def stream(
    root: Path,
    batches: Iterable[np.ndarray],
    *,
    recipe: PretrainRecipe = RECIPE,
    workers: int = 0,
    **options: Any,
) -> Iterator[ClipBatch]:
    lists = read_lists([str(root)], None)
    order = Order(lists.sizes, lists.weights, SEED)
    return clip_batches(lists, order, recipe, batches, seed=SEED, workers=workers, **options)


def clips_of(root: Path, batches: Iterable[np.ndarray], **options: Any) -> torch.Tensor:
    return torch.cat([batch.clips for batch in stream(root, batches, **options)])


def row_at(position: int, num_rows: int = 4) -> int:
    return int(Order((num_rows,), None, SEED).rows(np.array([position]))[0])


# ------------------------------------------------------------------------------------- the pixels
def test_pinned_view_equals_the_released_transform() -> None:
    box = tuple(int(side) for side in GOLDEN["pretrain_crop_ijhw"])
    golden = torch.from_numpy(GOLDEN["pretrain_noflip"])
    clip = GOLDEN["video"][: golden.shape[1]]
    torch.testing.assert_close(training_view(clip, box, 32, False), golden, rtol=0, atol=1e-5)
    flipped = training_view(clip, box, 32, True)[:, 0]
    golden = torch.from_numpy(GOLDEN["pretrain_flip_frame0"])
    torch.testing.assert_close(flipped, golden, rtol=0, atol=1e-5)


def test_clips_show_the_frames_of_the_released_choice(tmp_path: Path) -> None:
    for number, length in enumerate(LENGTHS):
        write_video(tmp_path / f"{number}.mp4", length, size=(48, 48))
    whole = replace(
        RECIPE,
        encoder=replace(RECIPE.encoder, image_size=48),
        crop_scale=(1.0, 1.0),
        crop_aspect=(1.0, 1.0),
        flip=False,
    )
    [batch] = stream(tmp_path, [np.arange(12)], recipe=whole)
    for position, clip in enumerate(batch.clips):
        rng = np.random.default_rng((SEED, position, 0, 0))
        expected = frame_indices(RECIPE.plan, LENGTHS[row_at(position)], rng)[0]
        assert read_numbers(clip.permute(1, 2, 3, 0).numpy()).tolist() == expected.tolist()


def test_a_clip_is_one_crop_of_its_frames_mirrored_half_of_the_time(folder: Path) -> None:
    count = 80
    found = clips_of(folder, [np.arange(count)])
    assert found.shape == (count, 3, 4, 16, 16) and found.dtype == torch.float32
    mirrored = 0
    for position, clip in enumerate(found):
        row = row_at(position)
        chosen = frame_indices(
            RECIPE.plan, LENGTHS[row], np.random.default_rng((SEED, position, 0, 0))
        )
        frames = read_frames(folder / f"{row}.mp4", lambda length, fps, c=chosen: c)
        pixels = frames.pixels[frames.index[0]]
        rng = np.random.default_rng((SEED, position, 0, 1))
        box = sample_crop(
            *pixels.shape[1:3], scale=RECIPE.crop_scale, ratio=RECIPE.crop_aspect, rng=rng
        )
        views = [training_view(pixels, box, 16, flip) for flip in (False, True)]
        same = [torch.equal(clip, view) for view in views]
        assert any(same)
        mirrored += same[1]
    assert 24 < mirrored < 56  # 40 expected, 3.5 standard deviations to either side


def test_nothing_is_mirrored_unless_the_recipe_says_so(folder: Path) -> None:
    plain = replace(RECIPE, flip=False)
    one, other = (clips_of(folder, [np.arange(20)], recipe=r) for r in (plain, RECIPE))
    for clip, maybe in zip(one, other, strict=True):
        assert torch.equal(clip, maybe) or torch.equal(clip.flip(-1), maybe)
    assert not torch.equal(one, other)


def test_workers_grouping_and_memory_change_no_pixel(folder: Path) -> None:
    expected = clips_of(folder, [np.arange(24)])
    ways = (
        {"workers": 2},
        {"workers": 1, "keep_decoded_bytes": 10**8},
        {"keep_decoded_bytes": 10**8},
        {"keep_decoded_bytes": 100_000},  # not enough for all of them
    )
    for way, sizes in itertools.product(ways, ((24,), (5, 1, 12, 6))):
        batches = np.split(np.arange(24), np.cumsum(sizes)[:-1])
        assert torch.equal(clips_of(folder, batches, **way), expected)
    backwards = clips_of(folder, [np.arange(24)[::-1]])
    assert torch.equal(backwards.flip(0), expected)


def test_the_number_of_threads_changes_no_pixel(folder: Path) -> None:
    # Above 64 pixels torch resizes by a kernel that rounds differently with several threads.
    large = replace(RECIPE, encoder=replace(RECIPE.encoder, image_size=96))
    expected = clips_of(folder, [np.arange(8)], recipe=large, workers=1)
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            assert torch.equal(clips_of(folder, [np.arange(8)], recipe=large), expected)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)


def test_a_still_is_repeated_among_videos(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "0.mp4", tmp_path / "0.mp4")
    picture = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "1.png")
    for keep in (0, 10**6):
        [batch] = stream(tmp_path, [np.arange(8)], keep_decoded_bytes=keep)
        for position, clip in enumerate(batch.clips):
            is_still = bool((clip == clip[:, :1]).all())
            assert is_still == (row_at(position, 2) == 1)
            if is_still:
                rng = np.random.default_rng((SEED, position, 0, 1))
                box = sample_crop(
                    60, 50, scale=RECIPE.crop_scale, ratio=RECIPE.crop_aspect, rng=rng
                )
                view = training_view(picture[None], box, 16, rng.random() < 0.5)
                assert torch.equal(clip[:, :1], view)


# ---------------------------------------------------------------------------------- broken files
@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_files_are_named_and_batches_stay_full(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    for number in range(40):
        shutil.copy(folder / f"{number % 4}.mp4", tmp_path / f"{number:02d}.mp4")
    clean = clips_of(tmp_path, np.split(np.arange(40), 5))
    truncate(folder / "0.mp4", tmp_path / "05.mp4", 0.4)
    (tmp_path / "31.mp4").write_bytes(b"no video at all" * 40)
    batches = list(stream(tmp_path, np.split(np.arange(40), 5), workers=workers))
    assert [len(batch.clips) for batch in batches] == [8] * 5
    named = dict(itertools.chain.from_iterable(batch.unreadable for batch in batches))
    assert named.keys() == {str(tmp_path / "05.mp4"), str(tmp_path / "31.mp4")}
    for path, reason in named.items():
        assert f"{Path(path).name} cannot be decoded" in reason and str(tmp_path) not in reason
    for position, clip in enumerate(torch.cat([batch.clips for batch in batches])):
        assert clip.isfinite().all()
        is_broken = row_at(position, 40) in (5, 31)
        assert torch.equal(clip, clean[position]) != is_broken


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_without_a_readable_file_is_an_error(tmp_path: Path, workers: int) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(
        DataError, match=r"20 files in a row .*bad\.mp4: .*cannot be decoded"
    ) as said:
        next(stream(tmp_path, [np.arange(2)], workers=workers))
    assert "Traceback" not in str(said.value)


def test_keeping_a_file_does_not_make_it_unreadable(tmp_path: Path) -> None:
    # Frames 51 to 55 of 60 are damaged: clips before them decode, the whole file does not.
    source = write_video(tmp_path / "source.mp4", 60, gop=4)
    data = bytearray(source.read_bytes())
    start, end = data.index(b"mdat"), data.index(b"moov")
    place = start + (end - start) * 9 // 10
    data[place : place + 100] = b"\xff" * 100
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "0.mp4").write_bytes(data)
    shutil.copy(source, tmp_path / "set" / "1.mp4")
    one, other = (
        list(stream(tmp_path / "set", np.split(np.arange(24), 4), keep_decoded_bytes=keep))
        for keep in (0, 10**8)
    )
    assert [batch.unreadable for batch in one] == [batch.unreadable for batch in other]
    assert 0 < sum(len(batch.unreadable) for batch in one) < 12  # of 12 clips of the damaged file
    for plain, kept in zip(one, other, strict=True):
        assert torch.equal(plain.clips, kept.clips)


# ------------------------------------------------------------------------------------ the machine
def test_kept_files_are_decoded_once(folder: Path, tmp_path: Path) -> None:
    videos = shutil.copytree(folder, tmp_path / "videos")
    source = stream(videos, np.split(np.arange(8), 2), keep_decoded_bytes=10**8)
    assert next(source).unreadable == ()  # the first pass, so every file
    shutil.rmtree(videos)
    assert next(source).unreadable == ()
    with pytest.raises(DataError):
        next(stream_of_gone(folder, tmp_path / "again", keep_decoded_bytes=0))
    # Room for the shortest one alone, 9 frames of 32 x 48.
    batch = next(stream_of_gone(folder, tmp_path / "once", keep_decoded_bytes=9 * 32 * 48 * 3))
    assert {Path(path).name for path, _ in batch.unreadable} == {"0.mp4", "2.mp4", "3.mp4"}


def stream_of_gone(folder: Path, copy: Path, **options: Any) -> Iterator[ClipBatch]:
    """A stream whose files vanished after the first pass."""
    shutil.copytree(folder, copy)
    source = stream(copy, np.split(np.arange(8), 2), **options)
    next(source)
    shutil.rmtree(copy)
    return source


@pytest.mark.parametrize("workers", [0, 2])
def test_endless_batches_are_asked_for_only_a_little_ahead(folder: Path, workers: int) -> None:
    asked = []

    def endless() -> Iterator[np.ndarray]:
        for step in itertools.count():
            asked.append(step)
            yield np.arange(2 * step, 2 * step + 2)

    source = stream(folder, endless(), workers=workers)
    for step in range(6):
        assert next(source).seconds_waited >= 0
        # Two batches of the recipe, the one being put together and the one that is begun.
        assert step < len(asked) <= (step + 7 if workers else step + 2)
    source.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_the_generator_of_the_training_is_not_touched(folder: Path, workers: int) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    list(stream(folder, [np.arange(2)], workers=workers))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_option_is_one_sentence_from_any_process(folder: Path, workers: int) -> None:
    with pytest.raises(UsageError, match="unknown decoder 'pyaw'") as said:
        next(stream(folder, [np.arange(2)], workers=workers, decoder="pyaw"))
    assert "Traceback" not in str(said.value)


def test_workers_outlive_the_signal_that_asks_to_save_and_a_killed_one_is_replaced(
    folder: Path,
) -> None:
    positions = np.split(np.arange(40), 20)
    expected = clips_of(folder, positions)
    children._stop_all()
    source = stream(folder, positions, workers=1)
    clips = [next(source).clips]
    [worker] = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGTERM)
    clips += [next(source).clips for _ in range(9)]  # more than was made ahead
    assert worker.is_alive()
    os.kill(worker.pid, signal.SIGKILL)
    rest = list(source)
    assert not any(batch.unreadable for batch in rest)
    assert torch.equal(torch.cat([*clips, *(batch.clips for batch in rest)]), expected)
