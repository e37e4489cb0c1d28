import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import registry
from bench.encoders.networks.video_vit import VitArchitecture
from bench.errors import UsageError
from bench.pretrain.masks import MultiBlock, RandomTube
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe, with_settings
from bench.types import ClipPlan

DOCS = Path(__file__).parents[2] / "docs" / "pretraining.md"
RECIPE = PretrainRecipe(
    name="tiny",
    encoder=VitArchitecture(
        width=24, depth=2, num_heads=4, patch_size=8, num_frames=4, image_size=16
    ),
    predictor=PredictorArchitecture(width=12, depth=1, num_mask_tokens=1),
    masks=(MultiBlock(num_blocks=1, spatial_scale=(0.5, 0.5)),),
    plan=ClipPlan(num_frames=4, num_clips=1, num_views=1, stride=2),
    num_steps=10,
    batch_size=4,
    mask_batch=2,
    warmup_steps=2,
    lr=1e-3,
    start_lr=1e-4,
)


def test_settings_reach_values_of_the_recipe_and_inside_its_tables() -> None:
    got = with_settings(
        RECIPE,
        [
            "num_steps=20",
            "lr=2e-3",
            "ema=0.99,1.0",
            "crop_scale=[0.5, 0.9]",
            "clip_norm=none",
            "flip=false",
            "target=pixels",
            "precision=fp32",
            "encoder.depth=6",
            "encoder.uniform_power=no",
            "predictor.num_heads=3",
            "plan.stride=8",
        ],
    )
    assert got == replace(
        RECIPE,
        num_steps=20,
        lr=2e-3,
        ema=(0.99, 1.0),
        crop_scale=(0.5, 0.9),
        clip_norm=None,
        flip=False,
        target="pixels",
        precision="fp32",
        encoder=replace(RECIPE.encoder, depth=6, uniform_power=False),
        predictor=replace(RECIPE.predictor, num_heads=3),
        plan=replace(RECIPE.plan, stride=8),
    )


def test_no_settings_change_nothing_and_the_last_of_two_counts() -> None:
    assert with_settings(RECIPE, []) == RECIPE
    assert with_settings(RECIPE, ["lr=1", " lr = 2 "]).lr == 2.0


def test_settings_that_need_each_other_are_applied_together() -> None:
    got = with_settings(RECIPE, ["encoder.num_frames=8", "plan.num_frames=8"])
    assert got.encoder.num_frames == got.plan.num_frames == 8
    with pytest.raises(UsageError, match="must read one clip of the encoder's 8 frames"):
        with_settings(RECIPE, ["encoder.num_frames=8"])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("num_step=3", r"--set num_step: .*'num_steps'"),
        ("encoder.dept=3", r"--set encoder\.dept: .*'depth'"),
        ("predictor.nummasktokens=3", r"--set predictor\.nummasktokens: .*'num_mask_tokens'"),
        ("encodr.depth=3", r"--set encodr\.depth: 'encodr' has no settings\. .*'encoder'"),
        ("encoder=vit_tiny", r"--set encoder\.KEY=VALUE"),
        ("masks=tube", r"masks cannot be set on the command line.*docs/pretraining\.md"),
        ("name=other", r"name cannot be set on the command line"),
        ("batch_size", r"has no '='"),
        ("num_steps=1.5", r"--set num_steps should be int, not '1\.5'"),
        ("lr=fast", r"--set lr should be float"),
        ("flip=maybe", r"--set flip should be bool"),
        ("clip_norm=ten", r"--set clip_norm should be"),
        ("target=pixel", r"'pixel' is not one of features, pixels"),
        ("precision=fp16", r"'fp16' is not one of bf16, fp32"),
        ("ema=0.99", r"ema needs two numbers, not 1: ema=FIRST,LAST"),
        ("ema=0.9,0.95,1", r"ema needs two numbers, not 3"),
        ("ema=0.9,1.1", r"ema .*within 0 to 1"),
        ("crop_scale=0.9,0.3", r"crop_scale 0\.9 to 0\.3 must be positive and ascending"),
        ("crop_scale=0,0.3", r"crop_scale 0\.0 to 0\.3"),
        ("crop_scale=0.3,1.2", r"crop_scale .*within 0 to 1"),
        ("crop_aspect=nan,1", r"crop_aspect"),
        ("num_steps=0", r"num_steps must be at least 1"),
        ("mask_batch=0", r"mask_batch must be at least 1"),
        ("lr=nan", r"lr is nan; it must be a number above 0"),
        ("lr=inf", r"lr is inf"),
        ("lr=0", r"lr is 0\.0; it must be a number above 0"),
        ("clip_norm=0", r"clip_norm is 0\.0"),
        ("loss_exponent=-1", r"loss_exponent is -1\.0"),
        ("weight_decay=-0.1", r"weight_decay is -0\.1; it must be a number at least 0"),
        ("warmup_steps=-1", r"warmup_steps is -1"),
        ("schedule_stretch=0.5", r"schedule_stretch is 0\.5; it must be a number at least 1"),
        ("encoder.image_size=17", r"image_size 17 is not a multiple of patch_size 8"),
        ("predictor.num_mask_tokens=2", r"1 masks with 2 mask tokens"),
        ("plan.num_clips=2", r"must read one clip"),
    ],
)
def test_wrong_setting_names_the_culprit_and_what_would_do(setting: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        with_settings(RECIPE, [setting])


def test_facts_are_json_and_say_which_masks() -> None:
    recipe = replace(RECIPE, masks=(RandomTube(ratio=0.5),))
    facts = json.loads(json.dumps(recipe.facts()))
    assert facts["masks"] == [{"kind": "RandomTube", "ratio": 0.5}]
    assert facts["encoder"]["width"] == 24
    assert facts["plan"]["stride"] == 2
    assert facts["ema"] == [0.998, 1.0]


def test_recipes_of_the_documentation_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._ENTRIES, "recipes", dict(registry._ENTRIES["recipes"]))
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    module = {"__name__": "my_recipes"}
    exec(compile(code, str(DOCS), "exec"), module)
    tube, causal = (registry.build("recipes", name, {}) for name in ("tube_90", "causal_6"))
    assert tube.masks == (RandomTube(ratio=0.9),)
    # 6 of 16 frames are 3 of 8 time steps.
    assert [int(8 * mask.max_temporal_keep) for mask in causal.masks] == [3, 3]
    assert all(mask.num_blocks in (8, 2) for mask in causal.masks)
