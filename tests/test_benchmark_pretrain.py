from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.encoders.networks.video_vit import VitArchitecture
from bench.launch.distributed import World
from bench.pretrain.engine import disable_fused_attention
from bench.pretrain.masks import Mask, MultiBlock, draw_masks
from bench.pretrain.objective import fresh_networks
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import StepValues
from bench.pretrain.step import make_optimizer, train_step
from bench.types import ClipPlan
from benchmarks.plain_pretrain import PlainPretraining
from benchmarks.pretrain import Turn, flop_of_clip, measure, recipe_of, report

CPU = torch.device("cpu")
RECIPE = PretrainRecipe(
    name="tiny",
    encoder=VitArchitecture(
        width=32, depth=2, num_heads=4, patch_size=8, num_frames=4, image_size=32
    ),
    predictor=PredictorArchitecture(width=24, depth=2),
    masks=(
        MultiBlock(num_blocks=3, spatial_scale=(0.15, 0.15)),
        MultiBlock(num_blocks=2, spatial_scale=(0.4, 0.4)),
    ),
    plan=ClipPlan(num_frames=4, num_clips=1, num_views=1, stride=4),
    num_steps=1,
    batch_size=3,
    mask_batch=3,
    warmup_steps=1,
    lr=1e-3,
    start_lr=1e-3,
    initial_std=0.1,
    clip_norm=0.1,
    precision="fp32",
)


def drawn(recipe: PretrainRecipe, number: int) -> tuple[torch.Tensor, list[Mask]]:
    draws = torch.Generator().manual_seed(number)
    a = recipe.encoder
    clips = torch.randn(3, 3, a.num_frames, a.image_size, a.image_size, generator=draws)
    return clips, draw_masks(recipe.masks, a.grid, 3, batch=number, generator=draws)


@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("clips_norms", [False, True])
def test_plain_step_gives_the_losses_norms_and_weights_of_ours(
    exponent: float, clips_norms: bool
) -> None:
    recipe = replace(RECIPE, loss_exponent=exponent)
    values = StepValues(lr=1e-3, weight_decay=0.1, momentum=0.9, clips=clips_norms)
    networks, target = fresh_networks(recipe, seed=0)
    plain = PlainPretraining(recipe, networks, target, CPU)
    optimizer = make_optimizer(networks, recipe)
    for number in range(4):
        clips, masks = drawn(recipe, number)
        ours = train_step(recipe, networks, target, optimizer, [(clips, masks)], 1, values)
        loss, norms = plain.step(clips, masks, values)
        assert loss == pytest.approx(float(ours.loss), abs=1e-5)
        assert norms == pytest.approx([float(ours.encoder_norm), float(ours.predictor_norm)], 1e-4)
        assert not clips_norms or max(norms) > recipe.clip_norm
    for got, wanted in (
        (plain.encoder, networks.encoder),
        (plain.predictor, networks.predictor),
        (plain.target_encoder, target),
    ):
        held, expected = got.state_dict(), wanted.state_dict()
        assert held.keys() == expected.keys()
        for name, tensor in expected.items():
            own = held[name]
            if name.endswith("attn.qkv.bias"):  # a key bias moves with the rounding of its gradient
                tensor, own = (t.view(3, -1)[[0, 2]] for t in (tensor, own))
            torch.testing.assert_close(own, tensor, rtol=0, atol=1e-5, msg=name)


def test_counted_operations_are_those_that_torch_counts_in_our_step() -> None:
    networks, target = fresh_networks(RECIPE, seed=0)
    for network in (networks, target):
        disable_fused_attention(network)  # the counter knows no fused attention on a CPU
    optimizer = make_optimizer(networks, RECIPE)
    clips, masks = drawn(RECIPE, 1)
    values = StepValues(lr=1e-3, weight_decay=0.1, momentum=0.9, clips=False)
    with FlopCounterMode(display=False) as counter:
        train_step(RECIPE, networks, target, optimizer, [(clips, masks)], 1, values)
    assert counter.get_total_flops() == 3 * flop_of_clip(RECIPE, masks)


def test_another_model_keeps_the_masks_and_their_batch() -> None:
    recipe = recipe_of("vit_tiny", 112, 2, "fp32")
    assert recipe.encoder.grid == (8, 7, 7)
    assert (recipe.batch_size, recipe.mask_batch, recipe.precision) == (2, 24, "fp32")
    assert [mask.num_blocks for mask in recipe.masks] == [8, 2]
    assert recipe_of("vit_large", None, 48, "bf16").mask_batch == 48


def test_both_steps_are_timed_in_turns() -> None:
    _, turns = measure(RECIPE, World(device=CPU), 2, compile_blocks=False)
    assert len(turns) == 2
    assert all(min(t.plain, t.ours, t.flop, t.peak) > 0 for t in turns)


def test_report_has_ratio_and_shares_as_medians_of_turns() -> None:
    # 3 clips a step; shares of the matmul: ours 1/2, 1/4, 1/2; plain 1/8, 1/4, 1/4.
    turns = [
        Turn(plain=8.0, ours=2.0, flop=1e9, peak=1e9),
        Turn(plain=4.0, ours=4.0, flop=1e9, peak=1e9),
        Turn(plain=4.0, ours=2.0, flop=1e9, peak=1e9),
    ]
    lines = report(RECIPE, CPU, turns, [0, 0], compiled=False).splitlines()
    assert lines[-3:] == [
        "| plain | 0.75 | 4.0000 | 25.0 % | - |",
        "| ours | 1.50 | 2.0000 | 50.0 % | - |",
        "| ours / plain | 2.00 | | | |",
    ]
