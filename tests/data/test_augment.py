"""Random training views: distributions, determinism, and each step against another reckoning."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from bench.data.views import autoaugment, randaugment
from bench.data.views.augment import AUGMENTATIONS, augment, crop_resize, erase, sample_crop
from bench.data.views.pixel_recipe import Recipe
from bench.data.views.transforms import normalise
from bench.errors import UsageError
from bench.types import IMAGENET_MEAN, IMAGENET_STD, ClipPlan

GOLDEN = np.load(Path(__file__).parents[1] / "fixtures" / "eval_views.npz")
CLIP = GOLDEN["video"]
STILL = CLIP[:1]


def view_of(
    name: str, clip: np.ndarray, seed: int, *, size: int = 24, flip: bool = True
) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    return augment(name, clip, size=size, mean=mean, std=std, flip=flip, rng=rng)


def clip_for(name: str) -> np.ndarray:
    return STILL if AUGMENTATIONS[name].kind == "image" else CLIP


# ------------------------------------------------------------------------------- crop and resize
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pinned_crop_equals_the_released_pretraining_transform(dtype: torch.dtype) -> None:
    frames = CLIP[:2].astype(dtype)
    box = tuple(int(side) for side in GOLDEN["pretrain_crop_ijhw"])
    view = normalise(crop_resize(frames, box, 32), IMAGENET_MEAN, IMAGENET_STD)
    golden = torch.from_numpy(GOLDEN["pretrain_noflip"])
    torch.testing.assert_close(view, golden, rtol=1e-5, atol=1e-6)
    flipped = torch.from_numpy(GOLDEN["pretrain_flip_frame0"])
    torch.testing.assert_close(view[:, 0].flip(-1), flipped, rtol=1e-5, atol=1e-6)


def test_crop_area_and_shape_are_uniform_in_their_ranges() -> None:
    rng = np.random.default_rng(0)
    scale, ratio, side = (0.08, 0.5), (3 / 4, 4 / 3), 1000
    # At most sqrt(0.5 * 4/3) = 0.82 of a side: every first box fits, so nothing is redrawn.
    boxes = [sample_crop(side, side, scale=scale, ratio=ratio, rng=rng) for _ in range(4000)]
    top, left, height, width = np.array(boxes).T
    area = (height * width / side**2 - scale[0]) / (scale[1] - scale[0])
    shape = np.log(width / height) / math.log(4 / 3) / 2 + 0.5
    for unit in (area, shape, top / (side - height), left / (side - width)):
        assert unit.min() > -0.01 and unit.max() < 1.01
        # Kolmogorov-Smirnov distance of 4000 uniform draws: below 0.0307 in 99.9 % of cases.
        steps = np.arange(1, 4001) / 4000
        assert np.abs(np.sort(unit) - steps).max() < 0.0307


def test_released_crop_covers_8_to_100_percent_and_stays_inside() -> None:
    rng = np.random.default_rng(1)
    fractions = []
    for _ in range(2000):
        box = sample_crop(240, 320, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), rng=rng)
        top, left, height, width = box
        assert top >= 0 and left >= 0 and top + height <= 240 and left + width <= 320
        fractions.append(height * width / (240 * 320))
    assert 0.079 < min(fractions) < 0.09 and 0.95 < max(fractions) <= 1.0


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (10, 1000, (0, 493, 10, 13)),  # 13 = round(10 * 4/3), 493 = (1000 - 13) // 2
        (1000, 30, (480, 0, 40, 30)),  # 40 = 30 / (3/4), 480 = (1000 - 40) / 2
    ],
)
def test_crop_that_never_fits_falls_back_to_the_centre(
    height: int, width: int, box: tuple[int, int, int, int]
) -> None:
    rng = np.random.default_rng(0)
    assert sample_crop(height, width, scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3), rng=rng) == box


# ------------------------------------------------------------------------------- random erasing
def test_erased_box_is_the_same_in_all_frames_and_its_noise_is_not() -> None:
    view = torch.full((3, 4, 40, 50), 7.0)
    top, left, height, width = erase(view, tries=100, rng=np.random.default_rng(3))
    inside = view[:, :, top : top + height, left : left + width]
    assert torch.count_nonzero(view != 7.0) == inside.numel() == 12 * height * width
    for frame in range(1, 4):
        assert not torch.equal(inside[:, frame], inside[:, 0])
    assert abs(inside.mean()) < 0.1 and abs(inside.std() - 1) < 0.1


def test_erased_boxes_keep_their_area_and_shape_ranges() -> None:
    rng = np.random.default_rng(4)
    boxes = [erase(torch.zeros(1, 1, 200, 200), tries=100, rng=rng) for _ in range(1000)]
    _, _, height, width = np.array(boxes).T
    area, shape = height * width / 200**2, height / width
    assert 0.019 < area.min() < 0.03 and 0.31 < area.max() < 0.34
    assert 0.28 < shape.min() < 0.34 and 2.9 < shape.max() < 3.5
    assert abs(np.log(shape).mean()) < 0.1


def test_view_is_left_alone_when_no_box_is_smaller_than_the_frame() -> None:
    outcomes = set()
    for seed in range(30):
        view = torch.full((3, 2, 5, 100), 7.0)  # five rows: most boxes are too high
        box = erase(view, tries=1, rng=np.random.default_rng(seed))
        outcomes.add(box is None)
        assert torch.count_nonzero(view != 7.0) == (0 if box is None else 6 * box[2] * box[3])
    assert outcomes == {True, False}


def test_a_quarter_of_the_released_views_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    erased = []
    monkeypatch.setattr(
        "bench.data.views.augment.erase", lambda view, **_: erased.append(view.shape)
    )
    monkeypatch.setattr(randaugment, "draw_steps", lambda rng: ())
    for seed in range(400):
        view_of("vjepa_released", CLIP[:1, :8, :8], seed, size=8)
    assert 70 <= len(erased) <= 130  # 100 expected, standard deviation 8.7


# ----------------------------------------------------------------------------------- the recipes
def test_released_recipe_equals_its_steps_in_the_released_order() -> None:
    """Randaugment, [0, 1], normalise, then crop; ours crops first."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        steps = randaugment.draw_steps(rng)
        top, left, height, width = sample_crop(
            90, 120, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), rng=rng
        )
        pixels = torch.from_numpy(randaugment.apply_steps(CLIP, steps).copy()).float() / 255
        pixels = (pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        crop = pixels[:, top : top + height, left : left + width].permute(0, 3, 1, 2)
        expected = functional.interpolate(crop, size=(24, 24), mode="bilinear")
        expected = expected.transpose(0, 1).contiguous()
        if rng.random() < 0.25:
            erase(expected, tries=100, rng=rng)
        view = view_of("vjepa_released", CLIP, seed)
        torch.testing.assert_close(view, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_seed_fixes_the_view_and_global_generators_stay_untouched(name: str) -> None:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    views = [view_of(name, clip_for(name), seed) for seed in (5, 5, 6)]
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()
    assert views[0].shape == (3, len(clip_for(name)), 24, 24)
    assert views[0].dtype == torch.float32 and views[0].is_contiguous()
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert before[0] == after[0] and torch.equal(before[2], after[2])
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_read_only_clip_is_augmented_and_left_unchanged(name: str) -> None:
    clip = clip_for(name).copy()
    clip.flags.writeable = False
    for seed in range(4):
        assert torch.equal(view_of(name, clip, seed), view_of(name, clip_for(name), seed))


@pytest.mark.parametrize("name", ["vjepa_released", "vjepa_paper"])
def test_frames_of_a_clip_share_all_parameters(name: str) -> None:
    still = np.repeat(STILL, 3, axis=0)
    for seed in range(12):
        same = view_of(name, still, seed)[:, 0] == view_of(name, still, seed)[:, 2]
        # Only an erased box, at most a third of the frame, holds different noise.
        assert same.float().mean() > 0.6


def writing() -> np.ndarray:
    """A picture that reads from dark to bright, left to right."""
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    return np.broadcast_to(ramp[None, None, :, None], (2, 48, 64, 3))


def test_text_stays_readable_where_flips_are_not_allowed() -> None:
    for seed in range(50):
        row = view_of("vjepa_paper", writing(), seed, flip=False)[0, 0, 0]
        assert row[0] < row[-1]


def test_half_of_the_paper_views_are_mirrored_where_flips_are_allowed() -> None:
    rows = [view_of("vjepa_paper", writing(), seed, size=8)[0, 0, 0] for seed in range(300)]
    mirrored = sum(bool(row[0] > row[-1]) for row in rows)
    assert 120 <= mirrored <= 180  # 150 expected, standard deviation 8.7


def test_released_video_recipe_never_mirrors() -> None:
    for seed in range(10):
        allowed, forbidden = (view_of("vjepa_released", CLIP, seed, flip=f) for f in (True, False))
        assert torch.equal(allowed, forbidden)


def test_image_recipe_equals_its_steps_on_pictures() -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        top, left, height, width = sample_crop(
            90, 120, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), rng=rng
        )
        crop = Image.fromarray(STILL[0]).crop((left, top, left + width, top + height))
        view = crop.resize((24, 24), Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        steps = autoaugment.draw_steps(rng)
        # 255 times the ImageNet means, rounded.
        pixels = randaugment.apply_steps(np.asarray(view)[None], steps, fill=(124, 116, 104))
        expected = normalise(torch.from_numpy(pixels.copy()), IMAGENET_MEAN, IMAGENET_STD)
        if rng.random() < 0.25:
            erase(expected, tries=10, rng=rng)
        torch.testing.assert_close(view_of("vjepa_image", STILL, seed), expected, rtol=0, atol=0)


def test_repeated_still_stays_still_and_moving_clip_is_refused_by_the_image_recipe() -> None:
    views = view_of("vjepa_image", np.repeat(STILL, 3, axis=0), 2)
    assert views.shape == (3, 3, 24, 24)
    for frame in range(3):
        assert torch.equal(views[:, frame], view_of("vjepa_image", STILL, 2)[:, 0])
    with pytest.raises(UsageError, match="is for stills"):
        view_of("vjepa_image", CLIP, 2)


def test_unknown_augmentation_names_the_closest() -> None:
    with pytest.raises(UsageError, match="'vjepa_released'"):
        view_of("vjepa_relased", CLIP, 0)
    with pytest.raises(UsageError, match="'score'"):
        identity("scores")


# ------------------------------------------------------------------------------------- identity
def identity(name: str, **changes: Any) -> dict[str, Any]:
    options = {"size": 224, "num_views": 3, "flip": True, "kind": "video"} | changes
    plan = ClipPlan(num_frames=16, num_clips=1, num_views=options.pop("num_views"), stride=4)
    recipe = Recipe(view=name, plan=plan, mean=IMAGENET_MEAN, std=IMAGENET_STD, **options)
    return recipe.facts()["pixels"]


@pytest.mark.parametrize("name", ["score", *AUGMENTATIONS])
def test_identity_survives_json_and_tells_transforms_apart(name: str) -> None:
    own = identity(name)
    assert json.loads(json.dumps(own)) == own
    assert own["format"] >= 1 and "torch" in own["libraries"]
    assert own != identity(name, size=256)
    others = [identity(other) for other in ("score", *AUGMENTATIONS) if other != name]
    assert own not in others


def test_identity_holds_what_changes_the_numbers_and_nothing_else() -> None:
    assert identity("score") != identity("score", num_views=1)
    assert identity("score") == identity("score", flip=False)
    assert "pillow" not in identity("score")["libraries"]
    assert "pillow" in identity("score", kind="image", num_views=1)["libraries"]
    assert identity("vjepa_paper") != identity("vjepa_paper", flip=False)
    assert "pillow" not in identity("vjepa_paper")["libraries"]
    assert identity("vjepa_released") == identity("vjepa_released", flip=False, num_views=1)
    assert "pillow" in identity("vjepa_released")["libraries"]
