"""A pretraining recipe: everything that affects the final weights, except data and seed.

Terms and numbers are from V-JEPA, arXiv 2404.08471, section 4 and appendix, or from the released
configurations if they differ.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.encoders.networks.video_vit import INITIAL_STD, VitArchitecture
from bench.errors import UsageError, closest
from bench.pretrain.masks import MaskKind, Range
from bench.pretrain.predictor import PredictorArchitecture
from bench.registry import convert, split_setting
from bench.types import ClipPlan

NESTED = ("encoder", "predictor", "plan")


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """How to pretrain an encoder.

    `plan` selects the frames of a clip; `crop_scale` and `crop_aspect` are for the random resized
    crop. `batch_size` is the number of clips per step over all processes. `mask_batch` is the
    number of clips whose mask lists are cut to a common length: it affects how much is masked, so
    it belongs to the recipe, not the machine (see `docs/pretraining.md`).

    `initial_std` is that of the initial weights: the released 0.02 suits widths of about 1,000.
    Schedules span `schedule_stretch * num_steps` steps, of which the first `num_steps` are run; a
    linear decay, as in V-JEPA 2's cool-down, has no warm-up. Gradient norms of encoder and
    predictor are clipped to `clip_norm` after step `clip_after`. `ema` is the first and last
    momentum of the target encoder. `target` is what to predict: `features` of the target encoder
    with the loss |difference|^`loss_exponent` / `loss_exponent`, or normalised `pixels` with the
    mean squared error. `std_weight` scales the released regulariser, off in every released config.

    Raises:
        UsageError: an invalid number.
    """

    name: str
    encoder: VitArchitecture
    predictor: PredictorArchitecture
    masks: tuple[MaskKind, ...]
    plan: ClipPlan
    num_steps: int
    batch_size: int
    mask_batch: int
    warmup_steps: int
    lr: float
    start_lr: float
    final_lr: float = 1e-6
    initial_std: float = INITIAL_STD
    lr_decay: Literal["cosine", "linear"] = "cosine"
    weight_decay: float = 0.04
    final_weight_decay: float = 0.4
    ema: tuple[float, float] = (0.998, 1.0)
    schedule_stretch: float = 1.25
    clip_norm: float | None = 10.0
    clip_after: int = 0
    target: Literal["features", "pixels"] = "features"
    loss_exponent: float = 1.0
    std_weight: float = 0.0
    crop_scale: Range = (0.3, 1.0)
    crop_aspect: Range = (0.75, 1.35)
    flip: bool = True
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        for key in ("num_steps", "batch_size", "mask_batch"):
            if getattr(self, key) < 1:
                raise UsageError(f"recipe {self.name}: {key} must be at least 1.")
        if not self.masks or self.predictor.num_mask_tokens != len(self.masks):
            raise UsageError(
                f"recipe {self.name}: {len(self.masks)} masks with"
                f" {self.predictor.num_mask_tokens} mask tokens; give one token per mask."
            )
        if self.plan.num_frames != self.encoder.num_frames or self.plan.num_clips != 1:
            raise UsageError(
                f"recipe {self.name}: the plan {self.plan} must read one clip of the encoder's"
                f" {self.encoder.num_frames} frames."
            )
        _check_pairs(self)
        _check_numbers(self)

    @property
    def schedule_steps(self) -> int:
        """Length of the schedules in steps, beyond the last step of training."""
        return int(self.schedule_stretch * self.num_steps)

    def facts(self) -> dict[str, Any]:
        """Return every value, JSON-serialisable; masks include their kind."""
        values = dataclasses.asdict(self)
        values["masks"] = [
            {"kind": type(mask).__name__, **dataclasses.asdict(mask)} for mask in self.masks
        ]
        return values


def with_settings(recipe: PretrainRecipe, settings: Sequence[str]) -> PretrainRecipe:
    """Return the recipe with `KEY=VALUE` settings applied; `encoder.depth=6` sets a nested value.

    Raises:
        UsageError: a malformed setting, an unknown key, or a value of the wrong type.
    """
    values: dict[str, dict[str, Any]] = {"": {}, **{key: {} for key in NESTED}}
    for setting in settings:
        key, text = split_setting(setting, "--set KEY=VALUE")
        table, _, inner = key.rpartition(".")
        if table not in values:
            raise UsageError(f"--set {key}: {table!r} has no settings.{closest(table, NESTED)}")
        holder = getattr(recipe, table) if table else recipe
        values[table][inner] = _value(holder, inner, text, key)
    top: Mapping[str, Any] = {
        **values[""],
        **{key: replace(getattr(recipe, key), **values[key]) for key in NESTED if values[key]},
    }
    return replace(recipe, **top)


def _value(holder: Any, inner: str, text: str, key: str) -> Any:
    hints = typing.get_type_hints(type(holder))
    plain = [name for name in hints if name not in (*NESTED, "masks", "name")]
    if inner in NESTED:
        raise UsageError(f"--set {key}: {inner} is a table; write --set {inner}.KEY=VALUE.")
    if inner in hints and inner not in plain:
        raise UsageError(
            f"--set {key}: {inner} cannot be set on the command line; write your own recipe, see"
            " docs/pretraining.md."
        )
    if inner not in plain:
        raise UsageError(f"--set {key}: unknown setting.{closest(inner, plain)}")
    return convert(text, hints[inner], f"--set {key}")


def _check_pairs(recipe: PretrainRecipe) -> None:
    for key, largest in (("ema", 1.0), ("crop_scale", 1.0), ("crop_aspect", math.inf)):
        pair = getattr(recipe, key)
        if len(pair) != 2:
            raise UsageError(
                f"recipe {recipe.name}: {key} needs two numbers, not {len(pair)}: {key}=FIRST,LAST."
            )
        if not all(0 <= number <= largest for number in pair):
            raise UsageError(
                f"recipe {recipe.name}: {key} {pair} must lie within 0 to {largest:g}."
            )
    for key in ("crop_scale", "crop_aspect"):
        low, high = getattr(recipe, key)
        if not 0 < low <= high:
            raise UsageError(
                f"recipe {recipe.name}: {key} {low} to {high} must be positive and ascending."
            )


def _check_numbers(recipe: PretrainRecipe) -> None:
    above = dict.fromkeys(("lr", "loss_exponent", "clip_norm"), 0.0)
    least = dict.fromkeys(("start_lr", "final_lr", "weight_decay", "final_weight_decay"), 0.0)
    least |= {"std_weight": 0.0, "warmup_steps": 0.0, "clip_after": 0.0, "schedule_stretch": 1.0}
    for key, bound in (above | least).items():
        number = getattr(recipe, key)
        # NaN fails every comparison, so compare for what is valid.
        is_valid = number is None or (number > bound if key in above else number >= bound)
        if not is_valid or number == math.inf:
            words = "above" if key in above else "at least"
            raise UsageError(
                f"recipe {recipe.name}: {key} is {number}; it must be a number {words} {bound:g}."
            )
