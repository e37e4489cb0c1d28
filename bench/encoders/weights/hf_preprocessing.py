"""The preprocessing of a model on the hub, from its `preprocessor_config.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import CheckpointError
from bench.files import parse_json
from bench.types import IMAGENET_MEAN, IMAGENET_STD

FILES = ("preprocessor_config.json", "video_preprocessor_config.json")
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Size (pixels; None if unspecified) and normalisation of clips, geometry of stills."""

    size: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_fraction: float = 0.875
    notes: tuple[str, ...] = ()


def read_preprocessing(folder: Path) -> Preprocessing:
    """Return the preprocessing of the folder's file, or ImageNet's normalisation and a note.

    Pixel values are `value * rescale_factor - offset`, then `(value - mean) / std`; both steps
    become one mean and one standard deviation for values between 0 and 1.

    Raises:
        CheckpointError: the file cannot be parsed.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        return Preprocessing(
            notes=(f"no {FILES[0]} next to the weights: pixels are normalised as for ImageNet",)
        )
    try:
        card = parse_json(path.read_text())
        mean, std = _levels(card)
        size, fraction, notes = _geometry(card)
        return Preprocessing(
            size=size,
            mean=mean,
            std=std,
            interpolation=RESAMPLING[int(card.get("resample", 2))],
            crop_fraction=fraction,
            notes=notes,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} cannot be parsed ({error!r}); copy or download it again."
        ) from error


def _levels(
    card: dict[str, Any],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    scale = (
        255 * float(card.get("rescale_factor", 1 / 255)) if card.get("do_rescale", True) else 255
    )
    offset = 1.0 if card.get("offset") else 0.0
    means, stds = [0.0] * 3, [1.0] * 3
    if card.get("do_normalize", True):
        means, stds = card.get("image_mean", IMAGENET_MEAN), card.get("image_std", IMAGENET_STD)
    mean = tuple((float(one) + offset) / scale for one in means)
    std = tuple(float(one) / scale for one in stds)
    (red, green, blue), (red_std, green_std, blue_std) = mean, std
    return (red, green, blue), (red_std, green_std, blue_std)


def _geometry(card: dict[str, Any]) -> tuple[int | None, float, tuple[str, ...]]:
    size, crop = card.get("size") or {}, card.get("crop_size") or {}
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    short = size.get("shortest_edge")
    if card.get("do_center_crop", bool(crop)) and crop.get("height"):
        side = int(crop["height"])
        return side, 1.0 if short is None else min(1.0, side / int(short)), ()
    if short is not None:
        return int(short), 1.0, ()
    note = "stills are centre-cropped; the model's card squashes them to a square"
    return (int(size["height"]), 1.0, (note,)) if "height" in size else (None, 0.875, ())
