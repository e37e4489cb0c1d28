import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from bench.encoders.encoder import open_encoder, weight_digest
from bench.encoders.networks.video_vit import VideoViT, VitArchitecture
from bench.errors import BenchError, CheckpointError
from bench.files import partial_name, remove_leftovers
from bench.pretrain.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    save_evaluation_folder,
)
from bench.pretrain.masks import MultiBlock, draw_masks
from bench.pretrain.objective import JointEmbedding, fresh_networks
from bench.pretrain.predictor import PredictorArchitecture
from bench.pretrain.recipe import PretrainRecipe
from bench.pretrain.schedule import step_values
from bench.pretrain.step import make_optimizer, train_step
from bench.types import ClipPlan
from tests.encoders.files import CHECKPOINT, HEADS, content

# The architecture of the released-layout fixture (its README: 28 wide, 3 deep; predictor 24 and 2).
RECIPE = PretrainRecipe(
    name="fixture",
    encoder=VitArchitecture(
        width=28, depth=3, num_heads=4, patch_size=8, num_frames=8, image_size=32
    ),
    predictor=PredictorArchitecture(width=24, depth=2),
    masks=(
        MultiBlock(num_blocks=4, spatial_scale=(0.15, 0.15)),
        MultiBlock(num_blocks=1, spatial_scale=(0.5, 0.5)),
    ),
    plan=ClipPlan.parse("8x1x1@1"),
    num_steps=10,
    batch_size=2,
    mask_batch=2,
    warmup_steps=2,
    lr=1e-3,
    start_lr=1e-4,
    ema=(0.9, 1.0),
    precision="fp32",
)
# One start of Python and torch serves every process of this file.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch.distributed.fsdp", "bench.pretrain.checkpoint"])
FACTS = {
    "step": 3,
    "seed": 7,
    "recipe": RECIPE.facts(),
    "epoch": 1,
    "loss": 0.25,
    "batch_size": 2,
    "world_size": 1,
    "lr": 1e-3,
}


def made(
    recipe: PretrainRecipe = RECIPE, seed: int = 0
) -> tuple[JointEmbedding, VideoViT, torch.optim.Optimizer]:
    networks, target = fresh_networks(recipe, seed=seed)
    return networks, target, make_optimizer(networks, recipe)


def trained(
    parts: tuple[JointEmbedding, VideoViT, torch.optim.Optimizer],
    first: int,
    last: int,
    recipe: PretrainRecipe = RECIPE,
) -> tuple[JointEmbedding, VideoViT, torch.optim.Optimizer]:
    """Make the steps `first` to `last` (from 1); what a step reads depends on its number alone."""
    networks, target, optimizer = parts
    a = recipe.encoder
    for step in range(first, last + 1):
        draws = torch.Generator().manual_seed(step)
        clips = torch.randn(2, 3, a.num_frames, a.image_size, a.image_size, generator=draws)
        masks = draw_masks(recipe.masks, a.grid, 2, batch=step, generator=draws)
        values = step_values(recipe, step)
        train_step(recipe, networks, target, optimizer, [(clips, masks)], 1, values)
    return parts


def state_of(
    parts: tuple[JointEmbedding, VideoViT, torch.optim.Optimizer],
) -> dict[str, torch.Tensor]:
    """Everything that a later step depends on, by name."""
    networks, target, optimizer = parts
    names = {id(p): n for n, p in networks.named_parameters()}
    held = {**networks.state_dict(), **{f"ema {n}": t for n, t in target.state_dict().items()}}
    for parameter, entry in optimizer.state.items():
        held.update({f"{key} {names[id(parameter)]}": t for key, t in entry.items()})
    return {name: tensor.clone() for name, tensor in held.items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(
        torch.equal(first[n], second[n]) and first[n].dtype == second[n].dtype for n in first
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint after 3 steps, and the state that was saved."""
    path = tmp_path_factory.mktemp("run") / "latest.pth.tar"
    parts = trained(made(), 1, 3)
    save_checkpoint(path, *parts, facts=FACTS)
    return path, state_of(parts)


# ------------------------------------------------------------------------------------- going on
def test_loaded_state_and_facts_are_those_saved(
    saved: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    path, state = saved
    parts = made(seed=9)
    assert load_checkpoint(path, *parts) == json.loads(json.dumps(FACTS))
    assert same(state_of(parts), state)
    assert all(p.requires_grad for p in parts[0].parameters())
    assert not any(p.requires_grad for p in parts[1].parameters())


def test_training_goes_on_as_if_it_had_not_stopped(
    saved: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    parts = made(seed=9)
    load_checkpoint(saved[0], *parts)
    assert same(state_of(trained(parts, 4, 5)), state_of(trained(made(), 1, 5)))


def test_state_before_the_first_step_is_loaded_over_a_later_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", *made(), facts=FACTS)
    parts = trained(made(seed=9), 1, 1)
    load_checkpoint(tmp_path / "a", *parts)
    assert same(state_of(parts), state_of(made()))


def test_loaded_weights_do_not_hang_on_the_file(
    saved: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    path = tmp_path / "copy"
    path.write_bytes(saved[0].read_bytes())
    parts = made(seed=9)
    load_checkpoint(path, *parts)
    before = path.read_bytes()
    trained(parts, 4, 4)
    assert path.read_bytes() == before


def test_facts_come_back_as_they_were_saved(saved: Any) -> None:
    assert load_checkpoint(saved[0], *made()) == json.loads(json.dumps(FACTS))


def test_parameters_that_never_had_a_gradient_stay_without_state(tmp_path: Path) -> None:
    networks, _, optimizer = parts = made()
    networks.predictor.mask_tokens[1].requires_grad_(False)
    trained(parts, 1, 1)
    assert networks.predictor.mask_tokens[1] not in optimizer.state
    save_checkpoint(tmp_path / "a", *parts, facts=FACTS)
    again = made(seed=9)
    load_checkpoint(tmp_path / "a", *again)
    assert same(state_of(again), state_of(parts))


# -------------------------------------------------------------------------------- released layout
def test_file_has_the_keys_names_shapes_and_order_of_the_released_layout(
    saved: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    released, ours = content(), torch.load(saved[0], weights_only=True)
    assert list(ours) == [*released, "frozenbench"]
    for key in ("encoder", "predictor", "target_encoder"):
        assert [(n, t.shape) for n, t in ours[key].items()] == [
            (n, t.shape) for n, t in released[key].items()
        ]
    counters = [ours[key] for key in ("scaler", "epoch", "loss", "batch_size", "world_size", "lr")]
    assert counters == [None, 1, 0.25, 2, 1, 1e-3]


def test_optimizer_has_the_groups_of_the_released_file(
    saved: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    released, ours = content()["opt"], torch.load(saved[0], weights_only=True)["opt"]
    for theirs, group in zip(released["param_groups"], ours["param_groups"], strict=True):
        assert group["params"] == theirs["params"]
        assert group.get("WD_exclude") == theirs.get("WD_exclude")
        assert (group["fused"], group["foreach"]) == (None, None)


def released_optimizer(
    held: dict[str, Any],
) -> tuple[dict[str, dict[str, nn.Parameter]], torch.optim.AdamW]:
    """AdamW as the released code builds it: frozen tables are listed, and decay by their shape."""
    networks = {}
    for key in ("encoder", "predictor"):
        networks[key] = {
            name: nn.Parameter(tensor.clone(), requires_grad="pos_embed" not in name)
            for name, tensor in held[key].items()
        }
    groups = [
        {
            "params": [
                p
                for name, p in networks[key].items()
                if (p.ndim != 1 and "bias" not in name) == decays
            ],
            **({} if decays else {"WD_exclude": True, "weight_decay": 0}),
        }
        for decays in (True, False)
        for key in ("encoder", "predictor")
    ]
    return networks, torch.optim.AdamW(groups)


def test_released_optimizer_takes_our_state_tensor_by_tensor(
    saved: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    path, state = saved
    held = torch.load(path, weights_only=True)
    networks, optimizer = released_optimizer(held)
    assert [len(g["params"]) for g in optimizer.param_groups] == [14, 13, 27, 20]
    optimizer.load_state_dict(held["opt"])
    for key, parameters in networks.items():
        for name, parameter in parameters.items():
            if "pos_embed" in name:
                assert parameter not in optimizer.state
                continue
            bare = f"{key}.{name.removeprefix('module.backbone.')}"
            for moment in ("exp_avg", "exp_avg_sq", "step"):
                assert torch.equal(optimizer.state[parameter][moment], state[f"{moment} {bare}"])
    values = step_values(RECIPE, 3)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (values.lr, values.weight_decay),
        (values.lr, values.weight_decay),
        (values.lr, 0),
        (values.lr, 0),
    ]


def test_state_of_the_released_optimizer_goes_on_here(
    saved: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    held = torch.load(saved[0], weights_only=True)
    _, optimizer = released_optimizer(held)
    optimizer.load_state_dict(held["opt"])
    del held["frozenbench"]
    torch.save({**held, "opt": optimizer.state_dict()}, tmp_path / "theirs.pth.tar")
    parts = made(seed=9)
    facts = load_checkpoint(tmp_path / "theirs.pth.tar", *parts)
    assert facts == {
        "step": None, "epoch": 1, "loss": 0.25, "batch_size": 2, "world_size": 1, "lr": 1e-3,
    }  # fmt: skip
    assert same(state_of(parts), saved[1])


def test_training_can_start_from_released_weights() -> None:
    networks, target, optimizer = parts = made()
    facts = load_checkpoint(CHECKPOINT, *parts)
    assert (facts["step"], facts["epoch"], facts["batch_size"]) == (None, 0, 2)
    released = content()
    for key, module in (
        ("encoder", networks.encoder),
        ("predictor", networks.predictor),
        ("target_encoder", target),
    ):
        bare = {n.removeprefix("module.backbone."): t for n, t in released[key].items()}
        assert same(module.state_dict(), bare)
    assert not optimizer.state
    trained(parts, 1, 1)


# ---------------------------------------------------------------------------------- wrong files
def without(*path: object) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        for key in path[:-1]:
            held = held[key]
        del held[path[-1]]

    return change


def put(value: Any, *path: object) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        for key in path[:-1]:
            held = held[key]
        held[path[-1]] = value

    return change


NORM = "module.backbone.norm.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("target_encoder"), "not a pretraining checkpoint: it has no target_encoder"),
        (without("opt"), "it has no opt; give"),
        (without("encoder", NORM), r"\[encoder\] has 40 of the 41 .* missing: norm.weight\. Not"),
        (put(torch.zeros(2), "encoder", "module.backbone.x"), "unexpected: x"),
        (put(torch.zeros(3), "target_encoder", NORM), r"norm.weight \(file \[3\], network \[28\]"),
        (
            put({}, "predictor"),
            r"\[predictor\] is empty: this file can be evaluated but not resumed",
        ),
        (put({}, "opt"), "not an optimizer state"),
        (without("opt", "state", 1), "missing: exp_avg of patch_embed.proj.weight, exp_avg_sq of"),
        (without("opt", "state", 1, "step"), "missing: step of patch_embed.proj.weight"),
        (put({"step": torch.ones(())}, "opt", "state", 0), "unexpected: step of pos_embed"),
        (put(torch.zeros(2), "opt", "state", 1, "exp_avg"), r"proj.weight \(file \[2\], network"),
        (put([1], "opt", "param_groups", 0, "params"), "groups of 1, 13, 27, 20 parameters, but"),
        (put({}, "opt", "state"), r"has 0 of the 216 tensors"),
        (put("2", "frozenbench", "format"), "with the version of frozenbench that wrote it"),
    ],
)
def test_incomplete_file_is_refused_by_name_and_changes_nothing(
    saved: tuple[Path, dict[str, torch.Tensor]],
    tmp_path: Path,
    change: Callable[..., Any],
    says: str,
) -> None:
    held = torch.load(saved[0], weights_only=True)
    change(held)
    torch.save(held, tmp_path / "broken.pth.tar")
    parts = trained(made(seed=9), 1, 1)
    before = state_of(parts)
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(tmp_path / "broken.pth.tar", *parts)
    assert same(state_of(parts), before)


def test_checkpoint_of_another_recipe_is_refused(
    saved: tuple[Path, dict[str, torch.Tensor]],
) -> None:
    other = replace(RECIPE, predictor=replace(RECIPE.predictor, depth=1))
    with pytest.raises(CheckpointError, match=r"\[predictor\] .*unexpected: predictor_blocks\.1"):
        load_checkpoint(saved[0], *made(other))


def test_file_for_evaluation_alone_is_no_checkpoint(
    saved: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    torch.save(content()["target_encoder"], tmp_path / "bare.pt")
    with pytest.raises(CheckpointError, match="it has no encoder, predictor, opt, target_encoder"):
        load_checkpoint(tmp_path / "bare.pt", *made())


def test_file_cut_short_is_refused(
    saved: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    whole = saved[0].read_bytes()
    (tmp_path / "short.pth.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut short"):
        load_checkpoint(tmp_path / "short.pth.tar", *made())


# --------------------------------------------------------------------------------- interruptions
def test_full_disk_leaves_the_old_checkpoint_and_no_leftover(
    saved: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "latest.pth.tar"
    path.write_bytes(saved[0].read_bytes())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(BenchError, match=r"cannot write .*latest\.pth\.tar"):
            save_checkpoint(path, *made(), facts=FACTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == saved[0].read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def save_until_killed(path: Path, first: Event) -> None:
    parts = made()
    while True:
        save_checkpoint(path, *parts, facts=FACTS)
        first.set()


def test_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path, first = tmp_path / "latest.pth.tar", PROCESSES.Event()
    writer = PROCESSES.Process(target=save_until_killed, args=(path, first))
    writer.start()
    assert first.wait(120)
    writer.kill()
    writer.join()
    parts = made(seed=9)
    load_checkpoint(path, *parts)
    assert same(state_of(parts), state_of(made()))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


# ----------------------------------------------------------------------------- evaluation folders
def test_evaluation_folder_opens_with_the_features_of_the_target(tmp_path: Path) -> None:
    networks, target, _ = trained(made(), 1, 2)
    folder = tmp_path / "fixture" / "encoders" / "step_000000002"
    save_evaluation_folder(folder, target, name="fixture", facts={"step": 2})
    assert sorted(p.name for p in folder.iterdir()) == [
        "encoder.json", "model.safetensors", "pretraining.json",
    ]  # fmt: skip
    assert json.loads((folder / "pretraining.json").read_text()) == {"step": 2}
    encoder = open_encoder(f"vjepa:{folder}", {})
    assert weight_digest(encoder.network) == weight_digest(target)
    clip = torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoder(clip).last, target(clip).last)
    assert not torch.equal(encoder(clip).last, networks.encoder(clip).last)


def test_evaluation_folder_replaces_one_of_its_name_and_an_unfinished_one(tmp_path: Path) -> None:
    folder = tmp_path / "step_000000002"
    unfinished = partial_name(tmp_path / ".step_000000002")
    unfinished.mkdir()
    (unfinished / "stray").write_text("of a killed writer")
    for seed in (0, 1):
        target = made(seed=seed)[1]
        save_evaluation_folder(folder, target, name="fixture", facts={"seed": seed})
    assert list(tmp_path.iterdir()) == [folder]
    assert weight_digest(open_encoder(f"vjepa:{folder}", {}).network) == weight_digest(target)
    assert not (folder / "stray").exists()


def test_checkpoint_is_an_encoder_file_too(saved: tuple[Path, dict[str, torch.Tensor]]) -> None:
    for key in ("encoder", "target_encoder"):
        network = open_encoder(f"vjepa:{saved[0]}", {**HEADS, "key": key}).network
        prefix = "ema " if key == "target_encoder" else "encoder."
        kept = {n.removeprefix(prefix): t for n, t in saved[1].items() if n.startswith(prefix)}
        assert same(dict(network.state_dict()), kept)


# --------------------------------------------------------------------------------------- engines
def reload_sharded(rank: int, meeting: str, source: Path, out: Path) -> None:
    """Load a checkpoint into networks sharded over two processes, and save it again."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    networks, target, _ = made(seed=9)
    for network in (*networks.encoder.blocks, networks, *target.blocks, target):
        fully_shard(network, mesh=init_device_mesh("cpu", (2,)))
    optimizer = make_optimizer(networks, RECIPE)
    facts = load_checkpoint(source, networks, target, optimizer)
    held = [*networks.parameters(), *target.parameters()]
    held += [e[k] for e in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq")]
    assert all(isinstance(tensor, DTensor) for tensor in held)
    assert len(optimizer.state) == len(list(networks.parameters()))
    save_checkpoint(out / "again.pth.tar", networks, target, optimizer, facts=facts)
    save_evaluation_folder(out / "folder", target, name="fixture", facts=facts)
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_sharding_processes_read_and_write_the_same_bytes_as_one(
    saved: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    arguments = (f"file://{tmp_path}/meeting", saved[0], tmp_path)
    running = [PROCESSES.Process(target=reload_sharded, args=(rank, *arguments)) for rank in (0, 1)]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0]
    assert (tmp_path / "again.pth.tar").read_bytes() == saved[0].read_bytes()
    parts = made(seed=9)
    facts = load_checkpoint(saved[0], *parts)
    save_evaluation_folder(tmp_path / "plain", parts[1], name="fixture", facts=facts)
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "folder" / file.name).read_bytes() == file.read_bytes()
