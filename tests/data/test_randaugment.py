"""RandAugment and AutoAugment: every operation against another implementation or by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment as timm_operations

from bench.data.views import autoaugment, randaugment
from bench.data.views.randaugment import OPERATIONS, Step, apply_steps

CLIP = np.load(Path(__file__).parents[1] / "fixtures" / "eval_views.npz")["video"]

# (magnitude 7, positive), (magnitude 10, negative), worked by hand.
ARGUMENTS = {
    "AutoContrast": (0, 0),
    "Equalize": (0, 0),
    "Invert": (0, 0),
    "Rotate": (21, -30),
    "Posterize": (2, 0),  # 4 - int(2.8), 4 - 4
    "Solarize": (77, 0),  # 256 - int(179.2), 256 - 256
    "SolarizeAdd": (77, 110),  # int(77.0)
    "Color": (1.63, 0.1),
    "Contrast": (1.63, 0.1),
    "Brightness": (1.63, 0.1),
    "Sharpness": (1.63, 0.1),
    "ShearX": (0.21, -0.3),
    "ShearY": (0.21, -0.3),
    "TranslateX": (0.315, -0.45),
    "TranslateY": (0.315, -0.45),
}
THEIR_NAMES = {"TranslateX": "TranslateXRel", "TranslateY": "TranslateYRel"}


def apply(operation: str, argument: float, frames: np.ndarray) -> np.ndarray:
    return apply_steps(frames, [Step(operation=operation, argument=argument)])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_magnitudes_become_the_hand_worked_arguments(operation: str) -> None:
    at_seven, at_ten = ARGUMENTS[operation]
    assert randaugment.argument(operation, 7.0, 1) == pytest.approx(at_seven)
    assert randaugment.argument(operation, 10.0, -1) == pytest.approx(at_ten)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("which", [0, 1])
def test_operation_equals_timms_on_every_frame(operation: str, which: int) -> None:
    value = ARGUMENTS[operation][which]
    if (operation, value) == ("Posterize", 0):
        # Pillow refuses to keep no bit, so by hand.
        assert not apply(operation, value, CLIP).any()
        return
    function = timm_operations.NAME_TO_OP[THEIR_NAMES.get(operation, operation)]
    takes = timm_operations.LEVEL_TO_ARG[THEIR_NAMES.get(operation, operation)] is not None
    options = {"resample": Image.Resampling.BICUBIC, "fillcolor": (128, 128, 128)}
    ours = apply(operation, value, CLIP)
    for frame, picture in zip(CLIP, ours, strict=True):
        expected = function(Image.fromarray(frame), *([value] if takes else []), **options)
        assert np.array_equal(picture, np.asarray(expected))


def test_pointwise_operations_equal_hand_worked_levels() -> None:
    levels = np.array([0, 50, 100, 127, 128, 200, 255], dtype=np.uint8)
    frames = levels[None, None, :, None].repeat(3, axis=3)

    def result(operation: str, argument: float) -> list[int]:
        return apply(operation, argument, frames)[0, 0, :, 0].tolist()

    assert result("Invert", 0) == [255, 205, 155, 128, 127, 55, 0]
    assert result("Posterize", 2) == [0, 0, 64, 64, 128, 192, 192]
    assert result("Solarize", 77) == [0, 50, 155, 128, 127, 55, 0]
    assert result("SolarizeAdd", 77) == [77, 127, 177, 204, 128, 200, 255]
    assert result("SolarizeAdd", 200) == [200, 250, 255, 255, 128, 200, 255]
    assert result("Brightness", 0.5) == [0, 25, 50, 63, 64, 100, 127]


def test_grey_picture_has_no_colour_to_lose_and_flat_picture_no_contrast() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (1, 8, 9, 1), dtype=np.uint8).repeat(3, 3)
    assert np.array_equal(apply("Color", 0.1, grey), grey)
    flat = np.full((1, 8, 9, 3), 90, dtype=np.uint8)
    assert np.array_equal(apply("Contrast", 1.63, flat), flat)
    assert np.array_equal(apply("Sharpness", 1.63, flat), flat)


def test_translation_by_whole_pixels_shifts_and_fills_with_grey() -> None:
    # 0.25 of 120 pixels: content moves 30 to the left. 0.2 of 90 downwards: -18.
    moved = apply("TranslateX", 0.25, CLIP)
    assert np.array_equal(moved[:, :, :90], CLIP[:, :, 30:])
    assert (moved[:, :, 90:] == 128).all()
    moved = apply("TranslateY", -0.2, CLIP)
    assert np.array_equal(moved[:, 18:], CLIP[:, :72])
    assert (moved[:, :18] == 128).all()


def test_autocontrast_stretches_and_equalize_flattens_each_frame_by_itself() -> None:
    frames = np.stack([np.full((4, 4, 3), 10), np.full((4, 4, 3), 100)]).astype(np.uint8)
    frames[0, 0], frames[1, 0] = 20, 150
    stretched = apply("AutoContrast", 0, frames)
    for frame in stretched:
        assert frame.min() == 0 and frame.max() == 255
    assert np.array_equal(stretched[0], stretched[1])


def test_steps_are_drawn_uniformly_with_the_released_probability_and_magnitude() -> None:
    rng = np.random.default_rng(0)
    drawn = [randaugment.draw_steps(rng) for _ in range(3000)]
    counts = Counter(len(steps) for steps in drawn)
    # Binomial(4, 1/2): 187.5, 750, 1125, 750, 187.5 expected.
    for number, expected in enumerate((187.5, 750, 1125, 750, 187.5)):
        assert abs(counts[number] - expected) < 4 * expected**0.5
    names = Counter(step.operation for steps in drawn for step in steps)
    assert set(names) == set(OPERATIONS) and len(OPERATIONS) == 15
    assert all(abs(count - 400) < 80 for count in names.values())  # four standard deviations
    degrees = np.array([s.argument for steps in drawn for s in steps if s.operation == "Rotate"])
    # Magnitude N(7, 0.5) is 21 degrees, give or take 1.5, of either sign.
    assert abs(np.abs(degrees).mean() - 21) < 0.4 and abs(np.abs(degrees).std() - 1.5) < 0.3
    assert 0.4 < (degrees > 0).mean() < 0.6


def test_magnitudes_stay_within_ten() -> None:
    rng = np.random.default_rng(1)
    steps = [randaugment.draw_steps(rng, magnitude=10.0, spread=5.0) for _ in range(500)]
    slopes = [abs(s.argument) for drawn in steps for s in drawn if s.operation == "ShearX"]
    assert max(slopes) == pytest.approx(0.3) and min(slopes) >= 0


def test_no_steps_leave_the_clip_alone() -> None:
    assert np.array_equal(apply_steps(CLIP, []), CLIP)


# ------------------------------------------------------------------------------------ AutoAugment
def test_autoaugment_policy_and_arguments_equal_timms() -> None:
    theirs = timm_operations.auto_augment_policy_original({})
    assert len(autoaugment.POLICY) == len(theirs) == 25
    for pair, their_pair in zip(autoaugment.POLICY, theirs, strict=True):
        for (name, probability, magnitude), their in zip(pair, their_pair, strict=True):
            assert name == their.name.removesuffix("Original")
            assert (probability, magnitude) == (their.prob, their.magnitude)
            value = their.level_fn(magnitude, {})[0] if their.level_fn else 0
            ours = autoaugment.argument(name, magnitude, 1)
            signed = name in ("Rotate", "ShearX")  # timm draws the sign here
            assert ours == pytest.approx(abs(value) if signed else value)


def test_autoaugment_draws_every_pair() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(s.operation for _ in range(2500) for s in autoaugment.draw_steps(rng))
    # Expected number per draw: the probabilities of an operation summed over the 25 pairs, / 25.
    for name in drawn:
        wanted = sum(p for pair in autoaugment.POLICY for n, p, _ in pair if n == name) * 100
        assert abs(drawn[name] - wanted) < 5 * wanted**0.5
    assert set(drawn) == {name for pair in autoaugment.POLICY for name, _, _ in pair}
