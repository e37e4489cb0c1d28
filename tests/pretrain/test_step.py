import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.encoders.networks.video_vit import VideoViT, VitArchitecture
from bench.encoders.weights.checkpoints import load_all
from bench.errors import BenchError
from bench.pretrain.masks import Mask, MultiBlock, draw_masks
from bench.pretrain.objective import JointEmbedding, fresh_networks
from bench.pretrain.predictor import Predictor, PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import StepValues, step_values
from bench.pretrain.step import (
    DivergedError,
    apply_values,
    clip_gradients,
    make_optimizer,
    train_step,
    update_target,
)
from bench.types import ClipPlan
from tests.encoders.files import FIXTURES, bare

RUNS = json.loads((FIXTURES / "pretrain_step.json").read_text())
LOSS, WEIGHT, SUM = 2e-6, 2e-5, 2e-4
PREFIX = "module.backbone."
BLOCKS = MultiBlock(num_blocks=2, spatial_scale=(0.3, 0.3))
VALUES = StepValues(lr=1e-3, weight_decay=0.1, momentum=0.9, clips=False)
RECIPE = PretrainRecipe(
    name="tiny",
    encoder=VitArchitecture(
        width=28, depth=3, num_heads=4, patch_size=8, tubelet_size=2, num_frames=8, image_size=32
    ),
    predictor=PredictorArchitecture(width=24, depth=2),
    masks=(BLOCKS, BLOCKS),
    plan=ClipPlan(num_frames=8, num_clips=1, num_views=1, stride=4),
    num_steps=1,
    batch_size=2,
    mask_batch=2,
    warmup_steps=1,
    lr=6.25e-4,
    start_lr=2e-4,
    precision="fp32",
)


def golden_recipe(run: dict) -> PretrainRecipe:
    """What the settings of a released run are called here."""
    return replace(
        RECIPE,
        num_steps=run["epochs"] * run["ipe"],
        warmup_steps=run["warmup_epochs"] * run["ipe"],
        schedule_stretch=run["ipe_scale"],
        ema=tuple(run["ema"]),
        clip_norm=run["clip_grad"],
        # The released code clips in epochs after number `warmup_epochs`, counted from 0.
        clip_after=(run["warmup_epochs"] + 1) * run["ipe"],
        loss_exponent=run["loss_exp"],
        std_weight=run["reg_coeff"],
    )


def golden_chunk(number: int) -> tuple[torch.Tensor, list[Mask]]:
    held = np.load(FIXTURES / "pretrain_step_batches.npz")
    masks = [
        Mask(
            context=torch.from_numpy(held[f"mask_enc_{kind}_{number}"]),
            target=torch.from_numpy(held[f"mask_pred_{kind}_{number}"]),
        )
        for kind in (0, 1)
    ]
    return torch.from_numpy(held[f"clip_{number}"]), masks


def golden_start() -> dict[str, torch.nn.Module]:
    networks = {
        "encoder": VideoViT(RECIPE.encoder),
        "predictor": Predictor(RECIPE.predictor, RECIPE.encoder),
        "target_encoder": VideoViT(RECIPE.encoder).requires_grad_(False),
    }
    for key, network in networks.items():
        load_all(network, bare(key), "v1_encoder.pt")
    return networks


# A golden run's name, its facts, the networks after it, reports and optimizer.
Run = tuple[str, dict[str, Any], dict[str, torch.nn.Module], list[Any], torch.optim.Optimizer]


@pytest.fixture(scope="module", params=RUNS)
def repeated(request: pytest.FixtureRequest) -> Run:
    """A released run made again: its golden, the networks after it, reports and optimizer."""
    run = RUNS[request.param]
    recipe, networks = golden_recipe(run), golden_start()
    trained = JointEmbedding(networks["encoder"], networks["predictor"])
    optimizer = make_optimizer(trained, recipe)  # no moments yet, as in the golden checkpoint
    reports = []
    for done, batch in enumerate(run["batches"]):
        values = step_values(recipe, run["start_epoch"] * run["ipe"] + done + 1)
        chunks = [golden_chunk(batch)]
        reports.append(
            train_step(recipe, trained, networks["target_encoder"], optimizer, chunks, 1, values)
        )
    return request.param, run, networks, reports, optimizer


def test_losses_are_those_of_the_released_run(repeated: Run) -> None:
    _, run, _, reports, _ = repeated
    wanted = [step["loss"] for step in run["steps"]]
    spreads = [step["reg-loss"] for step in run["steps"]]
    assert [float(r.loss) for r in reports] == pytest.approx(wanted, rel=0, abs=LOSS)
    assert [float(r.std_loss) for r in reports] == pytest.approx(spreads, rel=0, abs=LOSS)


def test_gradient_norms_are_those_of_the_released_run_where_it_clips(
    repeated: Run,
) -> None:
    name, run, _, reports, _ = repeated
    for report, step in zip(reports, run["steps"], strict=True):
        if name == "clipped_steps":
            norms = (step["enc-grad-norm"], step["pred-grad-norm"])
            got = (float(report.encoder_norm), float(report.predictor_norm))
            assert got == pytest.approx(norms, rel=0, abs=LOSS)
            assert min(norms) > run["clip_grad"]
        else:  # the released code logs 0 there, ours the norm
            assert step["enc-grad-norm"] == 0
            assert report.encoder_norm > 0.1


@pytest.mark.parametrize("key", ["encoder", "predictor", "target_encoder"])
def test_weights_after_the_run_are_the_released_ones(repeated: Run, key: str) -> None:
    name, run, networks, _, _ = repeated
    ours = networks[key].state_dict()
    compared = 0
    for long_name, wanted in run[key].items():
        bare_name = long_name.removeprefix(PREFIX)
        # The gradient of key biases is zero but for rounding, which AdamW turns into steps.
        # Position tables are constants here; in the released target their rounding adds up.
        if not bare_name.endswith(("attn.qkv.bias", "pos_embed")):
            values = ours[bare_name].double().flatten()
            places = torch.arange(1, len(values) + 1, dtype=torch.float64)
            got = {
                "sum": values.sum(),
                "abs_sum": values.abs().sum(),
                "sq_sum": values.square().sum(),
                "idx_dot": (values * places.cos()).sum(),
            }
            for statistic, number in got.items():
                assert float(number) == pytest.approx(wanted[statistic], rel=0, abs=SUM), long_name
            compared += 1
    assert compared == {"predictor": 30, "encoder": 37, "target_encoder": 37}[key]
    full = torch.load(FIXTURES / "pretrain_step.pt", weights_only=True)[name][key]
    for long_name, tensor in full.items():
        got = ours[long_name.removeprefix(PREFIX)]
        torch.testing.assert_close(got, tensor, rtol=0, atol=WEIGHT, msg=long_name)


def test_position_tables_do_not_move(repeated: Run) -> None:
    _, _, networks, _, _ = repeated
    for key, table in (
        ("encoder", "pos_embed"),
        ("target_encoder", "pos_embed"),
        ("predictor", "predictor_pos_embed"),
    ):
        assert torch.equal(networks[key].state_dict()[table], bare(key)[table])


def test_optimizer_has_the_released_groups(repeated: Run) -> None:
    _, run, _, _, optimizer = repeated
    for ours, wanted in zip(optimizer.param_groups, run["final_param_groups"], strict=True):
        assert ours["lr"] == pytest.approx(wanted["lr"], rel=0, abs=1e-12)
        assert ours["weight_decay"] == pytest.approx(wanted["weight_decay"], rel=0, abs=1e-12)
        assert (list(ours["betas"]), ours["eps"]) == (wanted["betas"], wanted["eps"])
    counts = [len(group["params"]) for group in optimizer.param_groups]
    theirs = [group["n_params"] for group in run["final_param_groups"]]
    # The released matrices count one frozen position table in either network.
    assert counts == [theirs[0] - 1, theirs[1] - 1, theirs[2], theirs[3]]


def stepped(recipe: PretrainRecipe, num_chunks: int, steps: int = 2) -> dict[str, torch.Tensor]:
    networks, target = fresh_networks(recipe, seed=0)
    optimizer = make_optimizer(networks, recipe)
    draws = torch.Generator().manual_seed(1)
    for step in range(steps):
        clips = torch.randn(4, 3, 8, 32, 32, generator=draws)
        masks = draw_masks(recipe.masks, recipe.encoder.grid, 4, batch=step, generator=draws)
        size = 4 // num_chunks
        chunks = [
            (clips[i : i + size], [mask.rows(i, i + size) for mask in masks])
            for i in range(0, 4, size)
        ]
        train_step(recipe, networks, target, optimizer, iter(chunks), num_chunks, VALUES)
    weights = {f"trained.{name}": tensor for name, tensor in networks.state_dict().items()}
    return weights | {f"target.{name}": tensor for name, tensor in target.state_dict().items()}


@pytest.mark.parametrize(
    "recipe",
    [RECIPE, replace(RECIPE, target="pixels"), replace(RECIPE, std_weight=0.5)],
    ids=["features", "pixels", "regularised"],
)
@pytest.mark.parametrize("num_chunks", [2, 4])
def test_step_in_chunks_is_the_step_in_one(recipe: PretrainRecipe, num_chunks: int) -> None:
    whole, split = stepped(recipe, 1), stepped(recipe, num_chunks)
    for name, tensor in whole.items():
        got = split[name]
        if name.endswith("attn.qkv.bias"):  # a key bias moves with the rounding of its gradient
            query_and_value = [0, 2]
            tensor, got = (t.view(3, -1)[query_and_value] for t in (tensor, got))
        torch.testing.assert_close(got, tensor, rtol=0, atol=1e-6, msg=name)


def test_vectors_and_biases_do_not_decay_and_mask_tokens_do() -> None:
    networks, _ = fresh_networks(RECIPE, seed=0)
    optimizer = make_optimizer(networks, RECIPE)
    apply_values(optimizer, VALUES)
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    for name, parameter in networks.named_parameters():
        is_matrix = not name.endswith("bias") and "norm" not in name
        assert (id(parameter) in decayed) == is_matrix, name
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(list(networks.parameters()))
    assert {group["lr"] for group in optimizer.param_groups} == {1e-3}


@torch.no_grad()
def test_target_moves_towards_the_encoder_by_one_minus_momentum() -> None:
    encoder, target = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for network, value in ((encoder, 5.0), (target, 1.0)):
        for parameter in network.parameters():
            parameter.fill_(value)
    update_target(target, encoder, 0.75)  # 0.75 * 1 + 0.25 * 5
    assert [float(p) for p in target.parameters()] == [2.0, 2.0]
    update_target(target, encoder, 1.0)
    assert [float(p) for p in target.parameters()] == [2.0, 2.0]
    assert [float(p) for p in encoder.parameters()] == [5.0, 5.0]


def test_gradients_are_scaled_to_the_limit_and_the_norm_before_is_told() -> None:
    network = torch.nn.Linear(1, 1)
    for limit, wanted in ((None, [3.0, 4.0]), (10.0, [3.0, 4.0]), (1.0, [0.6, 0.8])):
        network.weight.grad, network.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
        assert float(clip_gradients(network, limit)) == 5.0
        got = [float(p.grad) for p in network.parameters()]
        assert got == pytest.approx(wanted, abs=1e-6)


def test_step_that_diverges_changes_no_weight() -> None:
    networks, target = fresh_networks(RECIPE, seed=0)
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    clips, masks = golden_chunk(0)
    chunks = [(torch.full_like(clips, float("nan")), masks)]
    optimizer = make_optimizer(networks, RECIPE)
    with pytest.raises(DivergedError, match=r"loss nan, encoder gradient nan.*lower lr"):
        train_step(RECIPE, networks, target, optimizer, chunks, 1, VALUES)
    for name, tensor in networks.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert issubclass(DivergedError, BenchError)
    assert issubclass(DivergedError, FloatingPointError)


def test_bf16_step_is_near_the_fp32_step() -> None:
    norms = []
    for precision in ("fp32", "bf16"):
        recipe = replace(RECIPE, precision=precision)
        networks, target = fresh_networks(recipe, seed=0)
        optimizer = make_optimizer(networks, recipe)
        report = train_step(recipe, networks, target, optimizer, [golden_chunk(0)], 1, VALUES)
        assert report.loss.dtype == torch.float32
        assert all(p.dtype == torch.float32 for p in networks.parameters())
        norms.append([float(report.loss), float(report.encoder_norm)])
    assert norms[1] == pytest.approx(norms[0], rel=0.02)
