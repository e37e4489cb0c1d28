"""How a model on the hub wants its pixels: its `preprocessor_config.json` in our words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import CheckpointError
from bench.types import IMAGENET_MEAN, IMAGENET_STD

FILES = ("preprocessor_config.json", "video_preprocessor_config.json")
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Size (pixels; None if it does not say) and normalisation of clips, geometry of stills."""

    size: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop_fraction: float = 0.875
    notes: tuple[str, ...] = ()


def read_preprocessing(folder: Path) -> Preprocessing:
    """Return what the folder's file says; without one, ImageNet's normalisation and a note.

    Levels are `level * rescale_factor - offset`, then `(level - mean) / std`; all of it is one mean
    and one standard deviation of levels between 0 and 1.

    Raises:
        CheckpointError: a file that is not understood.
    """
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        return Preprocessing(
            notes=(f"no {FILES[0]} beside the weights: pixels are normalised as for ImageNet",)
        )
    try:
        said = json.loads(path.read_text())
        mean, std = _levels(said)
        size, fraction, notes = _geometry(said)
        return Preprocessing(
            size=size,
            mean=mean,
            std=std,
            interpolation=RESAMPLING[int(said.get("resample", 2))],
            crop_fraction=fraction,
            notes=notes,
        )
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} is not understood ({error!r}); copy or download it again."
        ) from error


def _levels(said: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    scale = (
        255 * float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 255
    )
    offset = 1.0 if said.get("offset") else 0.0
    means, stds = [0.0] * 3, [1.0] * 3
    if said.get("do_normalize", True):
        means, stds = said.get("image_mean", IMAGENET_MEAN), said.get("image_std", IMAGENET_STD)
    mean = tuple((float(one) + offset) / scale for one in means)
    std = tuple(float(one) / scale for one in stds)
    (red, green, blue), (red_std, green_std, blue_std) = mean, std
    return (red, green, blue), (red_std, green_std, blue_std)


def _geometry(said: dict[str, Any]) -> tuple[int | None, float, tuple[str, ...]]:
    size, crop = said.get("size") or {}, said.get("crop_size") or {}
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    short = size.get("shortest_edge")
    if said.get("do_center_crop", bool(crop)) and crop.get("height"):
        side = int(crop["height"])
        return side, 1.0 if short is None else min(1.0, side / int(short)), ()
    if short is not None:
        return int(short), 1.0, ()
    note = "the centre of stills is kept; the model's card squashes them to a square"
    return (int(size["height"]), 1.0, (note,)) if "height" in size else (None, 0.875, ())
