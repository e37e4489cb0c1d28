"""Boxes on key frames come with the right frames, to scale, whatever they are read with."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.boxes.regions import RegionReadout, Regions
from bench.data.decode import children, recently_probed
from bench.data.decode.decode import read_frames
from bench.data.decode.read_ahead import read_ahead
from bench.data.loader import samples
from bench.data.manifest import Manifest
from bench.data.media.media import FrameFolder
from bench.data.views.key_frames import TAKE, take_of, take_starts
from bench.data.views.key_views import KEY_VIEWS, key_view, mirror_boxes, view_boxes, view_size
from bench.data.views.pixel_recipe import Recipe, keyframe_recipe, score_recipe
from bench.data.views.sample import Sample
from bench.errors import UsageError
from bench.types import ClipPlan, EncoderSpec
from tests.media import paint, read_number, read_numbers, truncate, write_video

FPS = 10
SPEC = EncoderSpec(
    name="tiny",
    width=12,
    depth=2,
    num_heads=2,
    num_frames=4,
    image_size=48,
    patch_size=8,
    tubelet_size=2,
    source="test",
)
PLAN = ClipPlan(num_frames=4, num_clips=1, num_views=1, stride=3)


def recipe_of(
    view: str = "whole",
    *,
    flip: bool = False,
    seed: int = 0,
    plan: ClipPlan = PLAN,
    decoder: str = "auto",
) -> Recipe:
    return keyframe_recipe(SPEC, plan, RegionReadout(view=view), decoder, flip=flip, seed=seed)


def manifest_of(
    media: Sequence[Any], boxes: Sequence[tuple[int, float, Sequence[float]]], **place: Any
) -> Manifest:
    """Make a manifest of `boxes`: (video, second, corners) in order."""
    regions = Regions.of(
        videos=[f"v{number}" for number in range(len(media))],
        media=media,
        video=np.array([video for video, _, _ in boxes]),
        micros=np.array([round(second * 1e6) for _, second, _ in boxes]),
        corners=np.array([corners for _, _, corners in boxes], dtype=np.float64).reshape(-1, 4),
        **place,
    )
    return Manifest(
        name="small",
        split="val",
        kind="video",
        ids=[f"v{v},{s:04g},{','.join(map(str, c))}" for v, s, c in boxes],
        media=regions.by_row,
        labels=np.zeros((len(boxes), 3), dtype=np.int64),
        classes=["stand", "sit", "run"],
        regions=regions,
    )


def every_second(
    video: int,
    seconds: Iterable[float],
    corners: Sequence[tuple[float, float, float, float]] = (
        (0.1, 0.2, 0.5, 0.9),
        (0.25, 0.0, 1.0, 0.5),
    ),
) -> list[tuple[int, float, tuple[float, float, float, float]]]:
    return [(video, second, box) for second in seconds for box in corners]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two cuts of 30 and 12 seconds, of different shapes."""
    folder = tmp_path_factory.mktemp("films")
    return [
        write_video(folder / "a.mp4", 300, fps=FPS, gop=25),
        write_video(folder / "b.mkv", 120, fps=FPS, gop=40, size=(64, 96)),
    ]


@pytest.fixture(scope="module")
def manifest(films: list[Path]) -> Manifest:
    # The files are short: they begin at second 900. Key frames 903 and 913 have no boxes.
    seconds = [s for s in range(900, 920) if s not in (903, 913)]
    return manifest_of(films, every_second(0, seconds) + every_second(1, [900, 901, 911.25]))


def clip_of(sample: Sample, moment: int = 0) -> torch.Tensor:
    out = torch.empty((PLAN.num_frames, *sample.frames.shape[2:]), dtype=torch.uint8)
    sample.copy_clip(moment, out)
    return out


def slowfast_clip(centre: int, num_frames: int, *, frames: int, stride: int) -> list[int]:
    """The published rule, spelled as a loop over a window of frames * stride."""
    half = frames * stride // 2
    window = [centre - half + step for step in range(0, frames * stride, stride)]
    return [min(max(number, 0), num_frames - 1) for number in window]


def by_row(found: Iterator[Any]) -> dict[int, tuple[torch.Tensor, np.ndarray, bool]]:
    """Return row -> (clip as seen, corners, mirrored) of samples that all can be read."""
    seen = {}
    for sample in found:
        assert sample.error is None, sample.error
        for place, row in enumerate(sample.boxes.rows.tolist()):
            moment = int(sample.boxes.moment[place])
            seen[row] = (
                clip_of(sample, moment),
                sample.boxes.corners[place],
                bool(sample.boxes.mirrored[moment]),
            )
    return seen


# ------------------------------------------------------------------------------------------- frames
@pytest.mark.parametrize("plan", [PLAN, ClipPlan.parse("5@3"), ClipPlan.parse("4@9")])
def test_clips_lie_around_their_key_frames_and_stop_at_the_ends(
    manifest: Manifest, plan: ClipPlan
) -> None:
    for sample in samples(manifest, np.arange(len(manifest)), recipe_of(plan=plan)):
        regions, boxes = manifest.regions, sample.boxes
        length = (300, 120)[regions.video[sample.row]]
        assert sample.num_frames == length and sample.num_clips == boxes.num_moments
        shown = read_numbers(sample.pixels[0].numpy())
        for row, moment in zip(boxes.rows, boxes.moment, strict=True):
            centre = round((regions.micros[row] / 1e6 - 900) * FPS)
            expected = slowfast_clip(centre, length, frames=plan.num_frames, stride=plan.stride)
            assert shown[moment].tolist() == expected
            assert boxes.repeated[moment] == len(expected) - len(set(expected))
        assert sample.repeated == boxes.repeated.sum()


def test_a_quarter_second_is_rounded_to_its_frame_and_frames_do_not_wrap_around(
    films: list[Path],
) -> None:
    manifest = manifest_of(films, [(0, 900.26, (0, 0, 1, 1)), (0, 929.9, (0, 0, 1, 1))])
    [sample] = samples(manifest, np.arange(2), recipe_of())
    # 4 * 3 // 2 = 6 frames before frame 3 (2.6 rounded), three apart; the last frame is 299.
    shown = read_numbers(sample.pixels[0].numpy()).tolist()
    assert shown == [[0, 0, 3, 6], [293, 296, 299, 299]]
    assert sample.boxes.repeated.tolist() == [1, 1]


def test_the_start_of_a_file_is_told_or_follows_from_its_length(tmp_path: Path) -> None:
    # 1,300 seconds at one frame a second are no cut of 15 minutes.
    long = write_video(tmp_path / "long.mp4", 1300, fps=1, size=(32, 24), gop=250)
    plan = ClipPlan.parse("1@1")

    def shown(second: float, **place: Any) -> str | int:
        [sample] = samples(
            manifest_of([long], [(0, second, (0, 0, 1, 1))], **place),
            np.array([0]),
            recipe_of(plan=plan),
        )
        return sample.error or read_number(sample.pixels[0, 0, 0].numpy())

    assert shown(1000) == 1000
    assert shown(1000, start=900) == 100
    assert shown(1000, start=899.5) == 100  # frame 100.5, halves to the even one
    assert "is before the file, which begins at second 900" in shown(899, start=900)


def test_key_frames_of_a_varying_rate_are_those_shown_then(tmp_path: Path) -> None:
    # 50 frames 20 ms apart, then 50 frames 60 ms apart: 4 s with 25 frames a second on average.
    steps = [20] * 50 + [60] * 50
    shown = np.cumsum([0, *steps[:-1]])
    film = write_video(tmp_path / "v.mp4", 100, fps=25, timestamps=shown.tolist())
    boxes = [(0, 900 + second, (0, 0, 1, 1)) for second in (0, 0.5, 1, 2.02, 3.9, 4.5)]
    *found, behind = samples(manifest_of([film], boxes), np.arange(6), recipe_of())
    # A clip of 4 frames at stride 3 begins 6 frames before its key frame.
    centres = [int(read_numbers(one.pixels[0, 0, 2:3].numpy())[0]) for one in found]
    assert centres == [0, 25, 50, 67, 98]
    assert "second 904.5 is after the file" in behind.error


def test_pictures_of_a_folder_are_counted_at_the_rate_that_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(60):
        Image.fromarray(paint(number)).save(folder / f"v_{number + 1:06d}.png")
    manifest = manifest_of([FrameFolder(folder)], every_second(0, range(900, 903)), frame_rate=20.0)
    children._stop_all()
    found = list(samples(manifest, np.arange(6), recipe_of()))
    assert read_numbers(found[0].pixels[0].numpy()).tolist() == [
        [0, 0, 0, 3],
        [14, 17, 20, 23],
        [34, 37, 40, 43],
    ]
    list(samples(manifest, np.array([5]), recipe_of()))
    assert probes_of_the_child() == 1  # listed once


def probes_of_the_child() -> int:
    """Return how many files the idle child has probed."""
    [number] = read_ahead([(num_probes, Path(), {})], workers=0, ahead=1)
    return int(number)


def num_probes(path: Path) -> int:
    return recently_probed._kept.cache_info().misses


# -------------------------------------------------------------------------------------------- takes
def test_takes_hold_neighbours_of_one_video_and_draw(manifest: Manifest) -> None:
    regions = manifest.regions
    rows = np.arange(len(manifest))
    starts = take_starts(regions, rows, np.zeros_like(rows))
    takes = [take_of(regions, rows[a:b]) for a, b in pairwise(starts)]
    # 18 key frames of the first film have numbers 0 to 17, those of the second 18, 19 and 20.
    assert [(take.clip, len(take.micros)) for take in takes] == [(0, 8), (8, 8), (16, 2), (18, 3)]
    assert np.concatenate([take.rows for take in takes]).tolist() == rows.tolist()
    assert takes[0].moment.tolist() == np.repeat(np.arange(8), 2).tolist()
    assert takes[0].micros.tolist() == [s * 10**6 for s in (900, 901, 902, 904, 905, 906, 907, 908)]


def test_gaps_other_draws_and_steps_back_begin_a_take(manifest: Manifest) -> None:
    rows = np.array([0, 1, 2, 6, 7, 7, 5, 4, 36, 30])
    draws = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    # Key frames 0 0 1 | 3 3 | (draw 1) 3 | 2 2 | 18 | 15.
    starts = take_starts(manifest.regions, rows, draws)
    assert starts.tolist() == [0, 3, 5, 6, 8, 9, 10]
    assert take_starts(manifest.regions, rows[:0], draws[:0]).tolist() == [0]
    assert list(samples(manifest, rows[:0], recipe_of())) == []


@pytest.mark.parametrize("view", ["whole", "centre"])
def test_pixels_and_boxes_depend_on_neither_neighbours_nor_order_nor_workers(
    manifest: Manifest, view: str
) -> None:
    recipe = recipe_of(view, flip=True, seed=4)
    every = by_row(samples(manifest, np.arange(len(manifest)), recipe, draw=2))
    assert {mirrored for _, _, mirrored in every.values()} == {True, False}
    shuffled = np.random.default_rng(0).permutation(len(manifest))
    part = manifest.subset(np.array([3, 9, 10, 11, 30, 31, 41]))
    for found, names in (
        (by_row(samples(manifest, shuffled, recipe, draw=2)), range(len(manifest))),
        (by_row(samples(manifest, np.arange(42), recipe, draw=2, workers=2)), range(42)),
        (by_row(samples(part, np.arange(7), recipe, draw=2)), part.rows.tolist()),
    ):
        assert len(found) == len(names)
        for row, name in enumerate(names):
            clip, corners, mirrored = found[row]
            assert torch.equal(clip, every[name][0]) and mirrored == every[name][2]
            np.testing.assert_array_equal(corners, every[name][1])


def test_a_film_is_probed_once_for_all_of_its_takes(manifest: Manifest) -> None:
    children._stop_all()
    assert len(list(samples(manifest, np.arange(len(manifest)), recipe_of()))) == 4
    assert probes_of_the_child() == 2


def test_a_file_that_was_written_again_is_probed_again(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 20, fps=FPS)
    manifest = manifest_of([path], [(0, 904, (0, 0, 1, 1))])
    [sample] = samples(manifest, np.array([0]), recipe_of())
    assert "2.00 s (20 frames)" in sample.error
    write_video(path, 60, fps=FPS)
    [sample] = samples(manifest, np.array([0]), recipe_of())
    assert read_number(sample.pixels[0, 0, 2].numpy()) == 40


# --------------------------------------------------------------------------------- views and boxes
def test_sizes_of_the_views_by_hand() -> None:
    assert view_size("keyframe", 224, 16) == 256
    assert view_size("keyframe", 384, 16) == 432  # of 438.9: 27 patches, not 28
    assert view_size("keyframe", 48, 8) == 56  # of 54.9
    assert view_size("keyframe_centre", 224, 16) == 224
    frames = np.zeros((1, 480, 854, 3), dtype=np.uint8)
    # 256 * 854 / 480 = 455.5: 28.5 patches, less a little.
    assert key_view(frames, "keyframe", size=256, patch=16).shape == (1, 1, 256, 448, 3)
    upright = frames.transpose(0, 2, 1, 3)
    assert key_view(upright, "keyframe_flip", size=256, patch=16).shape == (1, 1, 448, 256, 3)
    assert key_view(upright, "keyframe_centre", size=224, patch=16).shape == (1, 1, 224, 224, 3)
    narrow = np.zeros((1, 20, 30, 3), dtype=np.uint8)
    # 8 * 30 / 20 = 12 is as far from 8 as from 16: up.
    assert key_view(narrow, "keyframe", size=8, patch=8).shape == (1, 1, 8, 16, 3)


def test_boxes_of_the_centre_crop_by_hand() -> None:
    # 480 x 640 pixels become 256 x 341, of which columns 58 (58.5, to the even) to 282 are kept
    # and rows 16 to 240.
    corners = np.array(
        [[0, 0, 1, 1], [0.5, 0.5, 0.75, 0.75], [0, 0.5, 0.1, 0.6], [0.4, 0.9, 0.6, 0.99]]
    )
    found, outside = view_boxes(corners, "keyframe_centre", size=224, height=480, width=640)
    assert outside == 1  # the third ends at column 34.1, left of 58
    inside = [(170.5 - 58) / 224, (128 - 16) / 224, (255.75 - 58) / 224, (192 - 16) / 224]
    np.testing.assert_allclose(found[:2], [[0, 0, 1, 1], inside])
    np.testing.assert_allclose(found[2], [0, 0.5, 0, (153.6 - 16) / 224])  # on the edge, no area
    np.testing.assert_allclose(found[3, 1], (230.4 - 16) / 224)
    assert found[3, 3] == 1  # cut at the lower edge
    whole, none = view_boxes(corners, "keyframe", size=256, height=480, width=640)
    assert none == 0 and (whole == corners).all()
    np.testing.assert_allclose(mirror_boxes(corners)[1], [0.25, 0.5, 0.5, 0.75])


@pytest.mark.parametrize("view", ["whole", "centre"])
@pytest.mark.parametrize("shape", [(120, 72), (72, 120)])
def test_boxes_stay_on_what_they_were_drawn_around(
    tmp_path: Path, view: str, shape: tuple[int, int]
) -> None:
    """A bright rectangle in real pictures is found within its box, and nowhere else."""
    (width, height), folder = shape, tmp_path / "v"
    folder.mkdir()
    x1, y1, x2, y2 = 0.55, 0.4, 0.8, 0.6
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    left, right = round(x1 * width), round(x2 * width)
    top, bottom = round(y1 * height), round(y2 * height)
    picture[top:bottom, left:right] = 255
    for number in range(16):
        Image.fromarray(picture).save(folder / f"{number:05d}.png")
    exact = (left / width, top / height, right / width, bottom / height)
    boxes = [(0, number / 4, exact) for number in range(16)]
    manifest = manifest_of([FrameFolder(folder)], boxes, start=0, frame_rate=4.0)
    mirrored = set()
    for clip, corners, is_mirrored in by_row(
        samples(manifest, np.arange(16), recipe_of(view, flip=True))
    ).values():
        mirrored.add(is_mirrored)
        rows, columns = np.nonzero(clip[0, :, :, 0].numpy() > 127)
        tall, wide = clip.shape[1:3]
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(seen, corners * [wide, tall, wide, tall], atol=0.75)
    assert mirrored == {True, False}


@pytest.mark.parametrize("view", ["whole", "centre"])
def test_frames_are_resized_as_if_all_at_once_and_upright(tmp_path: Path, view: str) -> None:
    """Films turned by a quarter are upright before boxes are laid on them."""
    path = write_video(tmp_path / "v.mp4", 60, fps=FPS, size=(72, 128), rotation=90)
    manifest = manifest_of([path], [(0, second, (0, 0, 1, 1)) for second in range(900, 906)])
    recipe = recipe_of(view)
    [sample] = samples(manifest, np.arange(6), recipe)
    whole = read_frames(path, lambda *_: np.unique(sample_frames(6)), decoder="pyav")
    assert whole.pixels.shape == (22, 128, 72, 3)
    expected = key_view(whole.pixels, recipe.view, size=recipe.size, patch=recipe.patch)
    assert torch.equal(sample.frames, torch.from_numpy(expected))
    assert sample.frames.shape[2:4] == ((96, 56) if view == "whole" else (48, 48))


def sample_frames(seconds: int) -> list[list[int]]:
    return [slowfast_clip(10 * second, 60, frames=4, stride=3) for second in range(seconds)]


def test_mirrored_clips_are_the_plain_ones_mirrored(manifest: Manifest) -> None:
    rows = np.arange(len(manifest))
    plain = by_row(samples(manifest, rows, recipe_of()))
    [sample, *_] = samples(manifest, rows, recipe_of(flip=True), draw=1)
    for moment in range(sample.num_clips):
        assert torch.equal(sample.pixels[0, moment], clip_of(sample, moment))
    shares = []
    for draw in range(6):
        found = by_row(samples(manifest, rows, recipe_of(flip=True), draw=draw))
        shares.append([found[row][2] for row in rows])
        for row, (clip, corners, mirrored) in found.items():
            expected, (x1, y1, x2, y2), _ = plain[row]
            assert torch.equal(clip, expected.flip(2) if mirrored else expected)
            assert corners.tolist() == ([1 - x2, y1, 1 - x1, y2] if mirrored else [x1, y1, x2, y2])
    assert len({tuple(share) for share in shares}) == 6  # every draw is another one
    assert 0.3 < np.mean(shares) < 0.7


def test_outside_boxes_are_counted(manifest: Manifest, films: list[Path]) -> None:
    boxes = [(0, 900, (0.0, 0.1, 0.05, 0.9)), (0, 900, (0.4, 0.4, 0.6, 0.6))]
    small = manifest_of(films, boxes)
    [centre] = samples(small, np.arange(2), recipe_of("centre"))
    [whole] = samples(small, np.arange(2), recipe_of())
    assert (centre.boxes.outside, whole.boxes.outside) == (1, 0)
    assert centre.boxes.corners[0, 0] == centre.boxes.corners[0, 2] == 0


# ------------------------------------------------------------------------------------------- damage
def test_key_frames_beyond_the_file_cost_only_their_own_rows(films: list[Path]) -> None:
    manifest = manifest_of(films, every_second(1, [899, 900, 911, 912, 913]))
    found = list(samples(manifest, np.arange(10), recipe_of()))
    assert [sample.boxes.rows.tolist() for sample in found] == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [8, 9],
    ]
    assert [sample.error is None for sample in found] == [False, True, True, False, False]
    assert found[3].error == (
        "b.mkv: the key frame at second 912 is after the file, which begins at second 900 and has"
        " 12.00 s (120 frames); fetch the whole file, or set where it begins (task option start)."
    )
    assert "second 899 is before the file" in found[0].error
    assert not any(sample.missing for sample in found)
    assert read_numbers(found[2].pixels[0, 0].numpy()).tolist() == [104, 107, 110, 113]
    assert found[3].num_clips == 0 and found[3].boxes.moment.tolist() == [0, 0]


def test_damage_inside_a_film_costs_only_the_key_frames_that_need_it(tmp_path: Path) -> None:
    options = {"x264-params": "scenecut=0:keyint=10:min-keyint=10:bframes=0"}
    path = write_video(tmp_path / "v.mp4", 80, fps=FPS, gop=10, options=options)
    data = bytearray(path.read_bytes())
    import av

    with av.open(str(path)) as media:
        packets = [p for p in media.demux(video=0) if p.size]
        hit = packets[31]
        data[hit.pos + 4 : hit.pos + hit.size] = b"\xff" * (hit.size - 4)
    path.write_bytes(bytes(data))
    manifest = manifest_of([path], every_second(0, range(900, 908)))
    found = list(samples(manifest, np.arange(16), recipe_of()))
    # The key frames at 3 and 4 s need frames 24 to 36 and 34 to 43; 31 and what follows is damaged
    # until the keyframe at 40.
    assert [s.boxes.clip for s in found if s.error is not None] == [3, 4]
    assert [s.boxes.clip for s in found] == list(range(8))
    for sample in found:
        if sample.error is None:
            expected = slowfast_clip(10 * sample.boxes.clip, 80, frames=4, stride=3)
            assert read_numbers(sample.pixels[0, 0].numpy()).tolist() == expected


def test_pictures_of_different_sizes_are_no_film(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    folder.mkdir()
    for number in range(40):
        Image.fromarray(paint(number, (96, 64) if number < 30 else (192, 128))).save(
            folder / f"{number:05d}.png"
        )
    manifest = manifest_of(
        [FrameFolder(folder)], every_second(0, range(4)), start=0, frame_rate=10.0
    )
    found = list(samples(manifest, np.arange(8), recipe_of()))
    # Around second 3, frames 24 to 33 have both sizes.
    assert [sample.error is None for sample in found] == [True, True, True, False]
    assert "pixels" in found[3].error


def test_a_missing_film_and_one_that_is_no_video_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>gone</html>")
    media = [tmp_path / "gone.mp4", tmp_path / "page.mp4", FrameFolder(tmp_path / "nothing")]
    boxes = [row for video in range(3) for row in every_second(video, range(900, 903))]
    manifest = manifest_of(media, boxes)
    # The key frames of the folder have numbers 6, 7 and 8, so that they are two takes.
    gone, *page, one, other = samples(manifest, np.arange(18), recipe_of(), workers=1)
    assert gone.missing and gone.boxes.rows.tolist() == list(range(6)) and gone.row == 0
    assert one.missing and one.boxes.rows.tolist() == [12, 13, 14, 15]
    assert other.missing and other.boxes.rows.tolist() == [16, 17]
    assert {sample.error for sample in page} == {
        "page.mp4 cannot be decoded: it is a web page, not a video; fetch the file again."
    }
    assert [sample.boxes.rows.tolist() for sample in page] == [[6, 7], [8, 9], [10, 11]]


def test_a_film_that_ends_early_keeps_its_beginning(tmp_path: Path) -> None:
    faststart = {"movflags": "faststart"}  # its table is in front, and says how long it was
    whole = write_video(tmp_path / "v.mp4", 120, fps=FPS, gop=40, muxer_options=faststart)
    cut = truncate(whole, tmp_path / "cut.mp4", 0.6)
    manifest = manifest_of([cut], every_second(0, range(900, 912)))
    found = list(samples(manifest, np.arange(24), recipe_of()))
    good = [sample.error is None for sample in found]
    assert 1 <= sum(good) < 12 and good == sorted(good, reverse=True)
    assert sum(len(sample.boxes) for sample in found) == 24
    for sample in found[: sum(good)]:
        for moment, shown in enumerate(read_numbers(sample.pixels[0].numpy()).tolist()):
            centre = 10 * (sample.boxes.clip + moment)
            assert shown == slowfast_clip(centre, 120, frames=4, stride=3)
    assert "a packet is incomplete" in found[-1].error


# ------------------------------------------------------------------------------------------- recipe
def test_facts_name_what_changes_pixels() -> None:
    whole = recipe_of()
    assert (whole.view, whole.size, whole.patch, whole.decoder) == ("keyframe", 56, 8, "pyav")
    assert not whole.is_random
    facts = whole.facts()
    assert facts["sampling"] == ["keyframe", 3] and facts["decoder"]["name"] == "pyav"
    assert facts["pixels"]["transform"] == "keyframe" and facts["seed"] is None
    assert {"size", "patch", "mean", "std", "libraries"} <= facts["pixels"].keys()
    assert "decord" not in facts["decoder"]["versions"]
    recipes = [recipe_of(view, flip=flip) for view in ("whole", "centre") for flip in (True, False)]
    assert {recipe.view for recipe in recipes} == set(KEY_VIEWS)
    assert len({str(recipe.facts()) for recipe in recipes}) == 4
    turned = recipe_of("centre", flip=True, seed=5)
    assert turned.is_random and turned.facts()["seed"] == 5
    assert turned.num_views == 1 and turned.size == 48
    augmented = replace(score_recipe(SPEC, PLAN, "video", "auto"), view="vjepa_paper")
    assert augmented.is_random


def test_a_key_frame_has_one_clip_and_one_view() -> None:
    with pytest.raises(UsageError, match=r"plan 4x2x3@3: .* write 4x1x1@3"):
        recipe_of(plan=ClipPlan.parse("4x2x3@3"))


def test_other_decoders_show_the_same_frames(manifest: Manifest) -> None:
    rows = np.arange(8)
    expected = by_row(samples(manifest, rows, recipe_of()))
    found = by_row(samples(manifest, rows, recipe_of(decoder="decord")))
    for row in rows:
        assert (read_numbers(found[row][0].numpy()) == read_numbers(expected[row][0].numpy())).all()


def test_take_is_eight() -> None:
    assert TAKE == 8  # stored features depend on it
