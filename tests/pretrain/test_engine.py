import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import UsageError
from bench.launch.distributed import World
from bench.pretrain.chunks import chunk_masks
from bench.pretrain.engine import disable_fused_attention, transformer_blocks, wrap
from bench.pretrain.objective import fresh_networks
from tests.pretrain.two_processes import RECIPE, STEPS, clip, pretrain

ROOT = Path(__file__).parents[2]
ALONE = World(device=torch.device("cpu"))
VARIANTS = ("auto", "ddp:2", "fsdp2", "fsdp2:2:recompute")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    return pretrain(ALONE, "plain")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What two processes under torchrun made, by variant."""
    out = tmp_path_factory.mktemp("two")
    command = "-m torch.distributed.run --standalone --nproc-per-node 2"
    made = subprocess.run(
        [sys.executable, *command.split(), "-m", "tests.pretrain.two_processes", out, *VARIANTS],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert made.returncode == 0, made.stderr
    return {v: torch.load(out / f"{v.replace(':', '_')}.pt") for v in VARIANTS}


def compared(name: str, value: torch.Tensor) -> torch.Tensor:
    """A weight but for what is noise: keys' biases have no gradient, and AdamW scales noise up."""
    if name.endswith("attn.qkv.bias"):
        query, _, content = value.chunk(3)
        return torch.cat([query, content])
    return value


def assert_same_training(made: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, values in expected["report"].items():
        assert made["report"][name] == pytest.approx(values, rel=0, abs=TOLERANCE), name
    assert made["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        found = compared(name, made["weights"][name])
        torch.testing.assert_close(found, compared(name, value), rtol=0, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_processes_train_what_one_trains(
    single: dict[str, Any], shared: dict[str, dict[str, Any]], variant: str
) -> None:
    made = shared[variant]
    assert len(made["report"]["loss"]) == STEPS
    assert single["chunks"] == 2
    assert made["chunks"] == (2 if ":2" in variant else 1)
    assert_same_training(made, single)


@pytest.mark.parametrize("variant", VARIANTS)
def test_processes_end_with_equal_weights(shared: dict[str, dict[str, Any]], variant: str) -> None:
    first, second = shared[variant]["by_rank"]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_several_processes_take_ddp_and_fsdp2_shards_every_parameter(
    shared: dict[str, dict[str, Any]],
) -> None:
    assert [shared[v]["kind"] for v in VARIANTS] == ["ddp", "ddp", "fsdp2", "fsdp2"]
    assert shared["auto"]["sharded"] == []
    assert sorted(shared["fsdp2"]["sharded"]) == sorted(shared["fsdp2"]["weights"])


def test_training_moves_weights_far_beyond_the_tolerance(single: dict[str, Any]) -> None:
    networks, _ = fresh_networks(RECIPE, seed=5)
    start = dict(networks.named_parameters())
    for name in ("encoder.patch_embed.proj.weight", "predictor.predictor_proj.weight"):
        assert (single["weights"][name] - start[name]).abs().mean() > 100 * TOLERANCE


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_the_size_of_chunks_changes_nothing(single: dict[str, Any], micro_batch: int) -> None:
    assert_same_training(pretrain(ALONE, "plain", micro_batch), single)


# ------------------------------------------------------------------------- options of the networks
def gradients(**options: Any) -> list[torch.Tensor]:
    networks, target = fresh_networks(RECIPE, seed=5)
    names = [*networks.state_dict()], [n for n, _ in networks.named_parameters()]
    engine = wrap(networks, target, ALONE, **options)
    masks = chunk_masks(RECIPE, range(4), step=1, seed=0)
    made = engine.model(torch.stack([clip(number) for number in range(4)]), masks)
    torch.stack([prediction.square().mean() for prediction in made]).sum().backward()
    assert ([*networks.state_dict()], [n for n, _ in networks.named_parameters()]) == names
    return [parameter.grad for parameter in networks.parameters()]


def test_recomputing_activations_gives_identical_gradients_and_names() -> None:
    for found, expected in zip(gradients(checkpoint_activations=True), gradients(), strict=True):
        assert torch.equal(found, expected)


def test_recomputing_keeps_less_for_the_backward_pass() -> None:
    def kept(**options: Any) -> int:
        sizes = []

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            gradients(**options)
        return sum(sizes)

    assert kept(checkpoint_activations=True) < 0.5 * kept()


@pytest.mark.slow
def test_compiled_blocks_give_the_gradients_and_names_of_plain_ones() -> None:
    made = gradients(compile_blocks=True, checkpoint_activations=True)
    for found, expected in zip(made, gradients(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_plain_attention_computes_what_fused_attention_does() -> None:
    _, target = fresh_networks(RECIPE, seed=5)
    plain = copy.deepcopy(target)
    disable_fused_attention(plain)
    assert [block.attn.fused_attn for block in transformer_blocks(plain)] == [False, False]
    pixels = clip(0)[None]
    torch.testing.assert_close(plain(pixels).last, target(pixels).last, rtol=0, atol=1e-5)


def test_trained_networks_on_a_cpu_use_plain_attention_and_the_target_does_not() -> None:
    engine = wrap(*fresh_networks(RECIPE, seed=5), ALONE)
    trained, target = [*transformer_blocks(engine.networks)], [*transformer_blocks(engine.target)]
    assert (len(trained), len(target)) == (2 + 1, 2)
    assert not any(block.attn.fused_attn for block in trained)
    assert all(block.attn.fused_attn for block in target)


# --------------------------------------------------------------------------------- which engine
def test_one_process_takes_the_networks_as_they_are() -> None:
    networks, target = fresh_networks(RECIPE, seed=5)
    engine = wrap(networks, target, ALONE, "auto")
    assert engine.kind == "plain"
    assert engine.model is engine.networks is networks and engine.target is target


@pytest.mark.parametrize(
    ("world", "kind", "says"),
    [
        (ALONE, "ddp", "but there is one; start more"),
        (ALONE, "fsdp2", "but there is one; start more"),
        (World(size=2, device=ALONE.device), "plain", "but there are 2; use ddp or fsdp2"),
        (ALONE, "fsdp", "Did you mean 'fsdp2'"),
    ],
)
def test_an_engine_that_does_not_fit_the_processes_is_refused(
    world: World, kind: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        wrap(*fresh_networks(RECIPE, seed=5), world, kind)
