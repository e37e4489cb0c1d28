"""The recipe from a media file to pixels, and the facts that identify those pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import PIL
import torch

from bench.data.boxes.regions import RegionReadout
from bench.data.decode.decode import decoder_versions, resolved
from bench.data.decode.images import picture_versions
from bench.data.views.augment import AUGMENTATIONS
from bench.data.views.clip_frames import DRAWN, KEYFRAME
from bench.data.views.key_views import (
    CENTRE,
    CENTRE_FLIP,
    FLIPS,
    KEY_VIEWS,
    WHOLE,
    WHOLE_FLIP,
    view_size,
)
from bench.data.views.transforms import STILL_CROP
from bench.errors import UsageError, known
from bench.types import ClipPlan, EncoderSpec, Kind

SCORE = "score"
# Part of every feature key: increment it when an augmentation or a score view changes its numbers.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the pixels of a row are made: frames, view or augmentation, and decoder.

    `view` is `score` (deterministic, `plan.num_views` spatial views), the name of an augmentation
    (one view, drawn from (`seed`, draw, row)), or one of `bench.data.views.key_views` (clips around
    key frames). `size` is in pixels; for the whole frame around a box it is the short side, and
    both sides are multiples of `patch`. `flip` says whether an augmentation may mirror. The score
    view of a still is resized to `size` / `crop_fraction` by `interpolation`.
    """

    plan: ClipPlan
    view: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip: bool
    kind: Kind
    decoder: str = "auto"
    seed: int = 0
    patch: int = 1
    crop_fraction: float = STILL_CROP
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed = {self.seed}: it must be at least 0.")

    @property
    def is_random(self) -> bool:
        """Whether two draws of a row differ."""
        return self.view != SCORE and (self.view not in KEY_VIEWS or self.view in FLIPS)

    @property
    def has_drawn_clips(self) -> bool:
        """Whether the clips of a row are drawn, even if all of its draws are the same."""
        return self.is_random or self.plan.sampler == DRAWN

    @property
    def num_views(self) -> int:
        """Spatial views of a row: those of the plan, or one augmented view."""
        return 1 if self.is_random else self.plan.num_views

    @property
    def clips_per_row(self) -> int:
        """The encoder's clips per draw of a row: views times temporal clips."""
        return self.num_views * self.plan.num_clips

    def facts(self) -> dict[str, Any]:
        """Everything that affects pixels and nothing else, as JSON values.

        Raises:
            UsageError: no transform has the name of the view.
        """
        plan = self.plan
        return {
            "frames": plan.num_frames,
            "clips": plan.num_clips,
            "views": self.num_views,
            "sampling": [plan.sampler, plan.stride] if self.kind == "video" else "repeat",
            "view": self.view,
            "pixels": self._pixel_facts(),
            "decoder": picture_versions()
            if self.kind == "image"
            else {"name": resolved(self.decoder), "versions": decoder_versions(self.decoder)},
            "seed": self.seed if self.has_drawn_clips else None,
        }

    def _pixel_facts(self) -> dict[str, Any]:
        known("transform", self.view, (SCORE, *KEY_VIEWS, *AUGMENTATIONS))
        libraries = {"torch": torch.__version__.split("+")[0]}
        if self.has_drawn_clips:
            libraries["numpy"] = np.__version__  # its generators may change their streams
        facts: dict[str, Any]
        if self.view == SCORE:
            facts = {"kind": self.kind, "views": self.num_views}
            pillow = self.kind == "image"
            still = {"crop_fraction": self.crop_fraction, "interpolation": self.interpolation}
            # Keys of stills in the usual geometry keep the form from before these options.
            if pillow and tuple(still.values()) != (STILL_CROP, "bilinear"):
                facts |= still
        elif self.view in KEY_VIEWS:
            facts, pillow = {"patch": self.patch}, False
        else:
            recipe = AUGMENTATIONS[self.view]
            facts = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}
            facts["flip"] = self.flip and recipe.flip
            pillow = recipe.policy != "none"
        if pillow:
            libraries["pillow"] = PIL.__version__
        common = {"size": self.size, "mean": list(self.mean), "std": list(self.std)}
        return {"transform": self.view, "format": FORMAT, **common, **facts, "libraries": libraries}


def score_recipe(spec: EncoderSpec, plan: ClipPlan, kind: Kind, decoder: str) -> Recipe:
    """Return an encoder's deterministic recipe: its size and normalisation, no mirroring."""
    return Recipe(
        plan=plan,
        view=SCORE,
        size=spec.image_size,
        mean=spec.mean,
        std=spec.std,
        flip=False,
        kind=kind,
        decoder=decoder,
        crop_fraction=spec.crop_fraction,
        interpolation=spec.interpolation,
    )


def frames_of(spec: EncoderSpec, kind: Kind) -> int:
    """Return the number of frames of an encoder's clip, for videos or for stills.

    A video encoder gets copies of a still: 16 as released, though two would do (arXiv 2404.08471,
    appendix); an image encoder gets it once.
    """
    if kind == "video":
        return spec.num_frames
    if spec.still_frames is not None:
        return spec.still_frames
    return 1 if spec.takes == "image" else spec.num_frames


def keyframe_recipe(
    spec: EncoderSpec,
    plan: ClipPlan,
    readout: RegionReadout,
    decoder: str,
    *,
    flip: bool = False,
    seed: int = 0,
) -> Recipe:
    """Return the recipe of clips around key frames: one clip and one view per key frame.

    For an encoder with 224 pixels and patches of 16, the `whole` frame has a short side of 256, its
    `centre` is a square of 224. With `flip` every key frame is mirrored with probability 1/2.
    PyAV seeks with a cached index; decord reads the whole index of a film each time it opens it.

    Raises:
        UsageError: a plan of several clips or views.
    """
    if (plan.num_clips, plan.num_views) != (1, 1):
        raise UsageError(
            f"plan {plan}: a key frame has one clip and one view; write"
            f" {replace(plan, num_clips=1, num_views=1)}."
        )
    plain, mirrored = (WHOLE, WHOLE_FLIP) if readout.view == "whole" else (CENTRE, CENTRE_FLIP)
    return replace(
        score_recipe(spec, replace(plan, sampler=KEYFRAME), "video", decoder),
        view=mirrored if flip else plain,
        size=view_size(plain, spec.image_size, spec.patch_size),
        flip=flip,
        decoder=resolved(decoder),
        seed=seed,
        patch=spec.patch_size,
    )
