"""Schedules: learning rate, weight decay and EMA momentum of each step."""

from __future__ import annotations

from dataclasses import dataclass

from bench.pretrain.recipe import PretrainRecipe
from bench.schedules import cosine_lr, cosine_weight_decay, linear_lr


@dataclass(frozen=True, kw_only=True)
class StepValues:
    """The values of one step; `clips` is whether it clips gradients."""

    lr: float
    weight_decay: float
    momentum: float
    clips: bool


def step_values(recipe: PretrainRecipe, step: int) -> StepValues:
    """Return the values of a step, counted from 1, set before its update, as released."""
    total = recipe.schedule_steps
    first, last = recipe.ema
    if recipe.lr_decay == "linear":
        lr = linear_lr(step, reference=recipe.lr, final=recipe.final_lr, total_steps=total)
    else:
        lr = cosine_lr(
            step,
            reference=recipe.lr,
            final=recipe.final_lr,
            start=recipe.start_lr,
            warmup_steps=recipe.warmup_steps,
            total_steps=total,
        )
    return StepValues(
        lr=lr,
        weight_decay=cosine_weight_decay(
            step,
            reference=recipe.weight_decay,
            final=recipe.final_weight_decay,
            total_steps=total,
        ),
        # The released momentum divides by the stretched length before rounding it down.
        momentum=first + (step - 1) * (last - first) / (recipe.schedule_stretch * recipe.num_steps),
        clips=recipe.clip_norm is not None and step > recipe.clip_after,
    )
