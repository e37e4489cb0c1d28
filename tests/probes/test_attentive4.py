"""The registered probe of V-JEPA 2: fitting, saving, and files of the official and the hub form."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2ForVideoClassification

from bench.data.discover.label_map import LabelMap
from bench.errors import CheckpointError, UsageError
from bench.evaluate.head_order import in_named_order
from bench.types import Silent
from probes.attentive import attentive
from probes.attentive4 import Attentive4Probe, attentive4
from probes.stack.fit import FittedStack
from probes.stack.released_blocks import read_released_blocks, to_released
from probes.stack.train_heads import TrainingRecipe
from tests.probes.sources import FIXTURES, MemorySource, accuracy, blobs

CPU = torch.device("cpu")
FILE = FIXTURES / "attentive_v2.pt"


def fit(probe: Attentive4Probe, source: MemorySource, seed: int = 0) -> FittedStack:
    return probe.fit(source, seed=seed, device=CPU, progress=Silent())


def write_heads(path: Path, count: int, change: Callable[..., torch.Tensor] | None = None) -> Path:
    """Write a file of `count` heads, told apart by the classifier's bias."""
    [head] = torch.load(FILE, weights_only=True)["classifiers"]
    heads = []
    for number in range(count):
        heads.append({name: tensor.clone() for name, tensor in head.items()})
        heads[-1]["module.linear.bias"] += number
    if change:
        change(heads[-1])
    torch.save({"classifiers": heads, "epoch": 20, "scaler": None}, path)
    return path


def test_defaults_are_the_released_sweep_of_twenty_heads() -> None:
    probe = attentive4()
    assert len(probe.heads) == 20
    assert dict(probe.heads[0].settings) == {"lr": 5e-3, "weight_decay": 0.01}
    assert dict(probe.heads[-1].settings) == {"lr": 1e-4, "weight_decay": 0.8}
    assert probe.recipe == TrainingRecipe(epochs=20, batch_size=256, decay_all=True)
    assert probe.settings == {
        "num_heads": 16,
        "epochs": 20,
        "batch_size": 256,
        "warmup": 0.0,
        "start_lr": 0.0,
        "drop_last": False,
        "precision": "fp32",
    }
    assert attentive4(released_head=3).settings["released_head"] == 3


def test_fitted_probe_separates_classes_that_differ_by_pairs_of_tokens_and_is_restored() -> None:
    source = blobs(rows=48, classes=3, width=16, seed=1, spread=1.5, tokens=5)
    probe = attentive4(num_heads=2, epochs=8, batch_size=16, lr=(3e-3, 1e-5), weight_decay=(0.01,))
    fitted = fit(probe, source)
    unseen = blobs(rows=60, classes=3, width=16, seed=2, spread=1.5, tokens=5)
    before = fitted.probabilities(unseen.x)
    high, low = accuracy(before, unseen.y)
    assert high > 0.9 > low
    again = probe.restore(*fitted.state())
    assert torch.equal(again.probabilities(unseen.x), before)
    assert fitted.log["steps"] == 24
    alone = fitted.only(1)
    assert [dict(h.settings) for h in alone.heads] == [{"lr": 1e-5, "weight_decay": 0.01}]
    torch.testing.assert_close(alone.probabilities(unseen.x)[0], before[1], atol=1e-6, rtol=0)


def test_head_of_a_sweep_is_what_it_is_alone() -> None:
    source = blobs(rows=12, classes=3, width=8, seed=1, tokens=4)
    probe = attentive4(num_heads=2, epochs=3, batch_size=4, lr=(1e-3, 1e-4), weight_decay=(0.1,))
    got = fit(probe.only(1), source).probabilities(source.x)[0]
    expected = fit(probe, source).probabilities(source.x)[1]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_last_small_batch_is_dropped_only_when_asked() -> None:
    source = blobs(rows=11, classes=3, width=8, seed=1, tokens=4)
    steps = {
        drop: fit(
            attentive4(
                num_heads=2, epochs=2, batch_size=4, lr=(1e-3,), weight_decay=(0.1,), drop_last=drop
            ),
            source,
        ).log["steps"]
        for drop in (False, True)
    }
    assert steps == {False: 6, True: 4}
    probe = attentive4(num_heads=2, batch_size=12, drop_last=True)
    with pytest.raises(UsageError, match=r"11 training rows are fewer than a batch of 12"):
        fit(probe, source)


def test_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match=r"width 28 is not divisible by 16 attention heads"):
        fit(attentive4(), blobs(rows=6, classes=2, width=28, seed=0, tokens=3))


def test_every_head_of_a_released_file_is_read_and_one_is_scored(tmp_path: Path) -> None:
    path = write_heads(tmp_path / "latest.pt", 3)
    stack, _ = read_released_blocks(path, num_attention_heads=4)
    assert stack.num_probes == 3
    x = torch.randn(2, 1, 9, 28, generator=torch.Generator().manual_seed(0))
    for head in range(3):
        fitted = attentive4(num_heads=4, released_head=head).read_released(path)
        assert fitted.log == {"released": "latest.pt", "head": head}
        which = {"released_head": head} if head else {}
        known = {"num_heads": 4, "epochs": 20, "precision": "fp32"}
        assert fitted.told.settings == {**known, **which}
        expected = stack(x[:, 0])[head].softmax(-1)
        torch.testing.assert_close(fitted.probabilities(x)[0], expected, atol=1e-6, rtol=0)
    # Heads differ by a constant in all logits: equal shares, and yet each its own bias.
    assert (stack.linear_bias[2] - stack.linear_bias[0]).tolist() == pytest.approx([2.0] * 7)
    with pytest.raises(UsageError, match=r"has 3 heads.*released_head is 3"):
        attentive4(num_heads=4, released_head=3).read_released(path)


def test_released_file_is_written_again_tensor_by_tensor() -> None:
    [content] = torch.load(FILE, weights_only=True)["classifiers"]
    written = to_released(read_released_blocks(FILE, num_attention_heads=4)[0], 0)
    assert {f"module.{name}" for name in written} == set(content)
    for name, tensor in written.items():
        assert torch.equal(tensor, content[f"module.{name}"]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("module.linear.bias"), r"head 1 of .*missing: linear.bias"),
        (
            lambda s: s.pop("module.pooler.blocks.1.attn.proj.bias"),
            r"missing: pooler.blocks.1.attn.proj.bias",
        ),
        (lambda s: s.update({"module.extra": torch.zeros(1)}), "unexpected: extra"),
        (
            lambda s: s.update({"module.linear.weight": torch.zeros(7, 9)}),
            r"wrong shape: linear.weight \(file \[7, 9\], network \[7, 28\]\)",
        ),
        (
            lambda s: s.update({"module.linear.bias": 3}),
            "entries that are not tensors, .*linear.bias",
        ),
    ],
)
def test_incomplete_heads_are_refused_by_name(
    tmp_path: Path, change: Callable[..., Any], message: str
) -> None:
    path = write_heads(tmp_path / "latest.pt", 2, change)
    with pytest.raises(CheckpointError, match=message):
        attentive4(num_heads=4).read_released(path)


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "module.module"])
def test_names_of_wrappers_are_left_out(tmp_path: Path, wrapper: str) -> None:
    content = torch.load(FILE, weights_only=True)
    named = {
        name.removeprefix("module.").replace("mlp.", f"{wrapper}.mlp."): tensor
        for name, tensor in content["classifiers"][0].items()
    }
    torch.save({**content, "classifiers": [named]}, tmp_path / "latest.pt")
    found = attentive4(num_heads=4).read_released(tmp_path / "latest.pt").module.state_dict()
    expected = attentive4(num_heads=4).read_released(FILE).module.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_probe_files_of_both_versions_name_the_probe_that_reads_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"V-JEPA 1.*--probe attentive"):
        attentive4(num_heads=4).read_released(FIXTURES / "attentive_v1.pt")
    with pytest.raises(UsageError, match=r"V-JEPA 2.*--probe attentive4"):
        attentive(num_heads=4).read_released(FILE)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such probe file"):
        attentive4().read_released(tmp_path / "none.pt")
    torch.save({"encoder": {}}, tmp_path / "encoder.pt")
    with pytest.raises(CheckpointError, match=r"no list 'classifiers', only encoder"):
        attentive4().read_released(tmp_path / "encoder.pt")
    torch.save({"classifiers": [{"x": torch.zeros(1)}]}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a multi-block attentive probe"):
        attentive4().read_released(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="28 is not divisible by 16"):
        attentive4().read_released(FILE)


def hub_model(
    tmp_path: Path, heads: int = 2, eps: float = 1e-2, **facts: Any
) -> tuple[VJEPA2ForVideoClassification, Path]:
    """A tiny random model with a classification head, as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=heads,
        crop_size=16,
        patch_size=8,
        frames_per_clip=4,
        num_pooler_layers=3,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        layer_norm_eps=eps,
        initializer_range=0.3,
        **{"num_labels": 5, **facts},
    )
    model = transformers.VJEPA2ForVideoClassification(config).eval()
    model.save_pretrained(tmp_path)
    return model, tmp_path / "model.safetensors"


@pytest.mark.parametrize(("heads", "eps"), [(2, 1e-2), (4, 1e-6), (8, 1e-1)])
def test_hub_file_gives_the_numbers_of_transformers(tmp_path: Path, heads: int, eps: float) -> None:
    """Heads and epsilon leave no trace in the tensors; the config next to them has both."""
    model, path = hub_model(tmp_path, heads, eps)
    tokens = torch.randn(3, 8, 24, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = model.classifier(model.pooler(tokens)).softmax(-1)
    fitted = attentive4().read_released(path)
    assert fitted.module.num_blocks == 4
    assert fitted.told.settings == {"num_heads": heads, "precision": "fp32"}
    assert fitted.told.classes == ()
    again = attentive4().restore(*fitted.state())
    assert torch.equal(again.probabilities(tokens[:, None]), fitted.probabilities(tokens[:, None]))
    got = fitted.probabilities(tokens[:, None])[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert expected.std(dim=0).min() > 1e-3  # rows are told apart, so the parity says something


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 4}, r"has num_attention_heads 4, not 2"),
        ({"num_attention_heads": "2"}, r"has num_attention_heads '2', not 2"),
        ({"num_pooler_layers": 2}, r"has num_pooler_layers 2, not 3"),
        ({"hidden_size": 48}, r"has hidden_size 48, not 24"),
        ({"hidden_act": "relu"}, r"has hidden_act 'relu', not 'gelu'"),
        ({"id2label": {"0": "a", "1": "b"}}, r"has 2 names in id2label, not 5"),
        ({"layer_norm_eps": None}, r"layer_norm_eps None"),
        ({"model_type": "videomae"}, r"has model_type 'videomae', not 'vjepa2'"),
    ],
)
def test_hub_file_that_its_config_contradicts_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    _, path = hub_model(tmp_path)
    config = path.with_name("config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(CheckpointError, match=message):
        attentive4(num_heads=2).read_released(path)


def test_hub_file_without_its_config_needs_the_number_of_heads(tmp_path: Path) -> None:
    _, path = hub_model(tmp_path)
    path.with_name("config.json").unlink()
    with pytest.raises(CheckpointError, match=r"there is no config\.json .*probe\.num_heads=N"):
        attentive4().read_released(path)
    assert attentive4(num_heads=2).read_released(path).module.num_attention_heads == 2


def test_hub_file_puts_its_classes_into_the_order_of_the_task(tmp_path: Path) -> None:
    names = ["Opening_door", "closing door", "running", "Sitting [down]", "waving"]
    _, path = hub_model(tmp_path, id2label=dict(enumerate(names)))
    fitted = attentive4().read_released(path)
    assert fitted.told.classes == tuple(names)
    x = torch.randn(3, 1, 8, 24, generator=torch.Generator().manual_seed(3))
    order = [3, 0, 4, 2, 1]
    task = LabelMap(names=["sitting down", "opening door", "waving", "running", "closing door"],
                    source="task")  # fmt: skip
    got = in_named_order(fitted, task, "config.json").probabilities(x)
    assert torch.equal(got, fitted.probabilities(x)[..., order])
    other = LabelMap(names=["a", "b", "c", "d", "e"], source="task")
    with pytest.raises(UsageError, match=r"config\.json should name .*--head-classes fit"):
        in_named_order(fitted, other, "config.json")


def test_hub_file_with_a_tensor_too_few_or_too_many_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _, path = hub_model(tmp_path)
    content = load_file(path)
    name = "pooler.self_attention_layers.1.self_attn.k_proj.bias"
    save_file({n: t for n, t in content.items() if n != name}, tmp_path / "few.safetensors")
    with pytest.raises(CheckpointError, match=r"has no .*1\.self_attn\.k_proj\.bias"):
        attentive4(num_heads=2).read_released(tmp_path / "few.safetensors")
    save_file({**content, "pooler.more": torch.zeros(2)}, tmp_path / "many.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected: pooler\.more"):
        attentive4(num_heads=2).read_released(tmp_path / "many.safetensors")
