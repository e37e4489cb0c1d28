"""Deterministic views against the released transforms' output and hand-worked pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2

from bench.data.views.transforms import normalise, score_views
from bench.errors import UsageError
from bench.types import IMAGENET_MEAN, IMAGENET_STD

# `video` uint8 [4,90,120,3] and what the released validation transforms make of it at size 32,
# with OpenCV's INTER_LINEAR as the resizer.
GOLDEN = np.load(Path(__file__).parents[1] / "fixtures" / "eval_views.npz")
VIDEO = GOLDEN["video"]
PORTRAIT = np.ascontiguousarray(VIDEO.transpose(0, 2, 1, 3))


def levels_apart(ours: np.ndarray, golden: np.ndarray) -> np.ndarray:
    assert ours.dtype == np.uint8 and ours.shape == golden.shape
    return np.abs(ours.astype(int) - golden.astype(int))


# Torch rounds to uint8 once per axis, OpenCV keeps 11 fractional bits up to the end: about a
# quarter of the values end one level apart, none further. The counts are those measured (of 36,864,
# 36,864 and 12,288 values), with some room for other processors.
@pytest.mark.parametrize(
    ("pixels", "num_views", "names", "most_apart"),
    [
        (VIDEO, 3, [f"landscape_view{v}_u8" for v in range(3)], 8913),
        (PORTRAIT, 3, [f"portrait_view{v}_u8" for v in range(3)], 8516),
        (VIDEO, 1, ["single_view_u8"], 3641),
    ],
    ids=["landscape", "portrait", "single"],
)
def test_video_views_are_within_one_grey_level_of_the_released_ones(
    pixels: np.ndarray, num_views: int, names: list[str], most_apart: int
) -> None:
    views = score_views(pixels, size=32, num_views=num_views, kind="video")
    apart = levels_apart(views, np.stack([GOLDEN[name] for name in names]))
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 1.1 * most_apart


def test_normalised_frame_equals_the_released_one() -> None:
    frame = torch.from_numpy(GOLDEN["landscape_view0_u8"][:1])
    ours = normalise(frame, IMAGENET_MEAN, IMAGENET_STD)
    assert ours.shape == (3, 1, 32, 32) and ours.dtype == torch.float32
    golden = torch.from_numpy(GOLDEN["landscape_view0_frame0_f32"])
    torch.testing.assert_close(ours[:, 0], golden, rtol=0, atol=1e-6)


def test_normalise_moves_channels_before_time_under_any_leading_axes() -> None:
    pixels = torch.zeros(2, 5, 4, 6, 7, 3, dtype=torch.uint8)
    pixels[1, 2, 3, 4, 5] = torch.tensor([0, 51, 255], dtype=torch.uint8)
    out = normalise(pixels, (0.0, 0.1, 0.5), (1.0, 0.2, 0.25))
    assert out.shape == (2, 5, 3, 4, 6, 7)
    # 0/255; (51/255 - 0.1) / 0.2 = 0.5; (1 - 0.5) / 0.25 = 2
    torch.testing.assert_close(out[1, 2, :, 3, 4, 5], torch.tensor([0.0, 0.5, 2.0]))
    assert pixels.sum() == 306


def test_normalise_leaves_float_pixels_as_they_were() -> None:
    pixels = torch.full((1, 1, 1, 3), 255.0).movedim(-1, 0).contiguous().movedim(0, -1)
    normalise(pixels, (0.5,) * 3, (0.5,) * 3)
    assert pixels.eq(255).all()


def test_halving_a_video_averages_two_by_two_blocks() -> None:
    # 2x4 to short side 1: centres fall at y = 0.5 and x = 0.5, 2.5, so each value is the mean of
    # four: (0+4+8+20)/4 = 8 and (100+104+120+156)/4 = 120. Views start at 0 and 1.
    red = np.array([[0, 4, 100, 104], [8, 20, 120, 156]], dtype=np.uint8)
    pixels = np.stack([red, red, red], axis=-1)[None]
    views = score_views(pixels, size=1, num_views=2, kind="video")
    assert views[:, 0, 0, 0].tolist() == [[8, 8, 8], [120, 120, 120]]


def test_small_video_is_enlarged() -> None:
    # 1x2 to 2x4: centres fall at x = -0.25, 0.25, 0.75, 1.25; the outer two repeat the border.
    pixels = np.array([0, 100], dtype=np.uint8).reshape(1, 1, 2, 1).repeat(3, axis=3)
    views = score_views(pixels, size=2, num_views=2, kind="video")
    assert views.shape == (2, 1, 2, 2, 3)
    assert views[0, 0, :, :, 0].tolist() == [[0, 25], [0, 25]]
    assert views[1, 0, :, :, 1].tolist() == [[75, 100], [75, 100]]


def test_views_step_along_the_long_side_of_either_orientation() -> None:
    # Short side already 4, long side 11: three views at 0, 3, 6 (7 // 2 = 3 apart).
    wide = np.arange(4 * 11 * 3, dtype=np.uint8).reshape(1, 4, 11, 3)
    views = score_views(wide, size=4, num_views=3, kind="video")
    for view, start in zip(views, (0, 3, 6), strict=True):
        assert np.array_equal(view, wide[:, :, start : start + 4])
    tall = np.ascontiguousarray(wide.transpose(0, 2, 1, 3))
    turned = score_views(tall, size=4, num_views=3, kind="video")
    assert np.array_equal(turned, views.transpose(0, 1, 3, 2, 4))


def test_uint8_resize_is_within_one_level_of_resizing_in_float() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 45, 61, 3), dtype=np.uint8)
    ours = score_views(pixels, size=32, num_views=1, kind="video")
    exact = functional.interpolate(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float(),
        size=(36, 36 * 61 // 45),
        mode="bilinear",
        align_corners=False,
    ).permute(0, 2, 3, 1)
    apart = np.abs(ours[0] - exact[:, 2:34, 8:40].numpy())
    assert apart.max() < 1.01  # one level, and what rounding twice may add
    assert abs((ours[0] - exact[:, 2:34, 8:40].numpy()).mean()) < 0.1


def test_still_view_equals_torchvisions_resize_and_centre_crop() -> None:
    rng = np.random.default_rng(1)
    for shape in [(50, 77), (80, 41), (30, 31), (64, 64)]:
        pixels = rng.integers(0, 256, (1, *shape, 3), dtype=np.uint8)
        view = score_views(pixels, size=32, num_views=1, kind="image")
        transform = v2.Compose([v2.Resize(int(32 * 256 / 224)), v2.CenterCrop(32)])
        expected = np.asarray(transform(Image.fromarray(pixels[0])))
        assert view.shape == (1, 1, 32, 32, 3)
        assert np.array_equal(view[0, 0], expected)


def test_read_only_and_sliced_frames_are_taken_without_changing_them() -> None:
    frames = VIDEO.copy()
    expected = score_views(frames[::2, :, ::2].copy(), size=32, num_views=3, kind="video")
    frames.flags.writeable = False
    views = score_views(frames[::2, :, ::2], size=32, num_views=3, kind="video")
    assert np.array_equal(views, expected)
    assert np.array_equal(frames, VIDEO)


def test_frames_do_not_depend_on_their_neighbours() -> None:
    together = score_views(VIDEO, size=32, num_views=3, kind="video")
    alone = [score_views(VIDEO[u : u + 1], size=32, num_views=3, kind="video") for u in range(4)]
    assert np.array_equal(together, np.concatenate(alone, axis=1))


@pytest.mark.parametrize(("kind", "num_views"), [("image", 3), ("video", 0)])
def test_impossible_number_of_views_is_refused(kind: str, num_views: int) -> None:
    with pytest.raises(UsageError, match=f"{num_views} views"):
        score_views(VIDEO, size=32, num_views=num_views, kind=kind)
