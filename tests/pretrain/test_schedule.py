import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.recipes import vjepa_vitl16
from bench.pretrain.schedule import step_values
from tests.pretrain.test_recipe import RECIPE

SCHEDULES = json.loads((Path(__file__).parent.parent / "fixtures" / "schedules.json").read_text())
EXACT = 1e-12


def released(name: str) -> PretrainRecipe:
    config = SCHEDULES[name]["config"]
    ipe = config.get("ipe") or SCHEDULES[name]["ipe"]
    return replace(
        RECIPE,
        num_steps=ipe * config["epochs"],
        warmup_steps=ipe * config["warmup"],
        schedule_stretch=config["ipe_scale"],
        ema=tuple(config["ema"]),
        lr_decay="linear" if config.get("is_anneal") else "cosine",
        **{
            key: config[key]
            for key in ("lr", "start_lr", "final_lr", "weight_decay", "final_weight_decay")
        },
    )


@pytest.mark.parametrize(
    "name",
    [
        "v1_pretrain_vitl16",
        "v2_pretrain_vitl16_as_released",
        "v2_pretrain_vitg16",
        "ijepa_in1k_vith14",
        "v2_cooldown_vitl16",
        "v2_cooldown_vitg16_384",
    ],
)
def test_values_of_every_step_are_those_of_the_released_run(name: str) -> None:
    recipe = released(name)
    for row in SCHEDULES[name]["rows"]:
        values = step_values(recipe, row["step"])
        momentum = row.get("ema_momentum", recipe.ema[0])
        assert values.lr == pytest.approx(row["lr"], rel=0, abs=EXACT)
        assert values.weight_decay == pytest.approx(row["weight_decay"], rel=0, abs=EXACT)
        assert values.momentum == pytest.approx(momentum, rel=0, abs=EXACT)


def test_recipe_vjepa_vitl16_has_the_released_schedule() -> None:
    recipe = vjepa_vitl16()
    assert recipe.schedule_steps == SCHEDULES["v1_pretrain_vitl16"]["T_max"]
    assert recipe.warmup_steps == SCHEDULES["v1_pretrain_vitl16"]["warmup_steps"]
    for row in SCHEDULES["v1_pretrain_vitl16"]["rows"]:
        values = step_values(recipe, row["step"])
        got = (values.lr, values.weight_decay, values.momentum)
        wanted = (row["lr"], row["weight_decay"], row["ema_momentum"])
        assert got == pytest.approx(wanted, rel=0, abs=EXACT)


def test_training_ends_before_its_schedules_do() -> None:
    # Protocol: at step 90,000 of schedules over 112,500.
    values = step_values(vjepa_vitl16(), 90_000)
    assert values.lr == pytest.approx(7.50e-5, abs=5e-8)
    assert values.weight_decay == pytest.approx(0.3656, abs=5e-5)
    assert values.momentum == pytest.approx(0.9996, abs=5e-8)


def test_momentum_divides_by_the_stretched_length_before_it_is_cut_to_whole_steps() -> None:
    # 3 steps stretched by 1.25 are 3.75; cosines run over 3 of them, the momentum over 3.75.
    recipe = replace(RECIPE, num_steps=3, warmup_steps=0, ema=(0.9, 1.0))
    momenta = [step_values(recipe, step).momentum for step in (1, 2, 3)]
    assert momenta == pytest.approx([0.9, 0.9 + 0.1 / 3.75, 0.9 + 0.2 / 3.75], abs=EXACT)
    assert recipe.schedule_steps == 3
    assert step_values(recipe, 3).weight_decay == pytest.approx(0.4, abs=EXACT)


def test_gradients_are_clipped_after_the_step_that_the_recipe_names() -> None:
    recipe = replace(RECIPE, clip_after=6)
    assert [step_values(recipe, step).clips for step in (1, 6, 7, 10)] == [False, False, True, True]
    assert not step_values(replace(recipe, clip_norm=None), 7).clips
    # The released code: in epochs after number 40, counted from 0, of 300 steps.
    assert not step_values(vjepa_vitl16(), 41 * 300).clips
    assert step_values(vjepa_vitl16(), 41 * 300 + 1).clips
