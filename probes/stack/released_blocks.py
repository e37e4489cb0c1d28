"""V-JEPA 2's released probe files, and the mapping of their names to `AttentiveBlocks`.

On disk (`torch.save`): `{"classifiers": [state dict, ...], "opt", "scaler", "epoch", ...}`, one
state dict per head of the sweep, names prefixed with `module.` if training was distributed; or the
`model.safetensors` of a `VJEPA2ForVideoClassification` on the hub, one head next to its encoder.
Number of heads and LayerNorm epsilon leave no trace in tensors: the hub's `config.json` has both
(1e-6, where the official code trained with 1e-5), and is followed, as transformers does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.encoders.weights.checkpoints import check_coverage, shortened
from bench.encoders.weights.family_files import HUB_CONFIG, hub_config
from bench.encoders.weights.state_dicts import as_float32, num_numbered
from bench.errors import CheckpointError, UsageError
from probes.stack.attentive_blocks import BLOCKS, AttentiveBlocks, Precision
from probes.stack.attentive_head import EPS
from probes.stack.fit import Told
from probes.stack.released_probe import (
    BLOCK,
    MLP,
    bare_state,
    read_probe_file,
    training_of,
    weights_and_biases,
)

log = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]
RELEASED_HEADS = 16
HUB_EPS = 1e-6  # of transformers, where `config.json` does not say it

# Our name -> the released one, within a block and of the probe.
BLOCK_NAMES = weights_and_biases("", norm1="norm1", qkv="attn.qkv", proj="attn.proj", **MLP)
NAMES = {
    **weights_and_biases(BLOCK, norm1="norm1", q="xattn.q", kv="xattn.kv", **MLP),
    **weights_and_biases("", linear="linear"),
}
# The released name -> the hub's; tensors of a longer tuple are concatenated.
HUB_BLOCK = {
    "norm1": ("layer_norm1",),
    "attn.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.proj": ("self_attn.out_proj",),
    "norm2": ("layer_norm2",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}
HUB_QUERY_BLOCK = {
    "norm1": ("layer_norm1",),
    "xattn.q": ("cross_attn.q_proj",),
    "xattn.kv": ("cross_attn.k_proj", "cross_attn.v_proj"),
    "norm2": ("layer_norm2",),
    "mlp.fc1": ("mlp.fc1",),
    "mlp.fc2": ("mlp.fc2",),
}


def read_released_blocks(
    path: Path, *, num_attention_heads: int | None = None, precision: Precision = "fp32"
) -> tuple[AttentiveBlocks, Told]:
    """Read every head of a V-JEPA 2 probe file as one stack, and what the file says of it.

    `num_attention_heads` is the user's; else a hub model has that of its `config.json`, and an
    official file, which does not record it, the released 16.

    Raises:
        CheckpointError: the file is missing or not a probe file, a head has missing, unexpected or
            misshapen tensors, or `config.json` contradicts them or the user.
        UsageError: it is a V-JEPA 1 probe file.
    """
    content = read_probe_file(path)
    if "classifier" in content:
        raise UsageError(
            f"{path}: this is a V-JEPA 1 probe file (one block); read it with --probe attentive."
        )
    if "classifier.weight" in content:
        states, config = [_from_hub(content, path)], hub_config(path)
        told, eps = _told_by_hub(config, states[0], num_attention_heads, path)
        heads = told.settings["num_heads"]
    else:
        states, eps, heads = _heads(content, path), EPS, num_attention_heads or RELEASED_HEADS
        assumed = f"{heads}, as released (not in the file)"
        told = training_of(content, num_heads=num_attention_heads or assumed)
        if num_attention_heads is None:
            log.warning("%s does not record its heads; %d as released", path, RELEASED_HEADS)
    module = from_released(
        states,
        num_attention_heads=heads,
        precision=precision,
        eps=eps,
        what=str(path),
    )
    return module, replace(told, settings={**told.settings, "precision": precision})


def from_released(
    states: Sequence[Tensors],
    *,
    num_attention_heads: int,
    what: str,
    precision: Precision = "fp32",
    eps: float = EPS,
) -> AttentiveBlocks:
    """Return a float32 stack of heads from state dicts with released names.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; `what` is the culprit.
    """
    first = states[0]
    num_blocks = num_numbered(first, r"pooler\.blocks\.(\d+)\.") + 1
    query, classifier = first.get("pooler.query_tokens"), first.get("linear.weight")
    if query is None or classifier is None or num_blocks < 2:
        raise CheckpointError(
            f"{what}: not a multi-block attentive probe, which has pooler.query_tokens,"
            f" linear.weight and pooler.blocks; it has {shortened(first)}."
        )
    width = query.shape[-1]
    if width % num_attention_heads:
        raise CheckpointError(
            f"{what}: width {width} is not divisible by {num_attention_heads} attention heads; set"
            " probe.num_heads to the number it was trained with."
        )
    with torch.device("meta"):
        module = AttentiveBlocks(
            num_probes=len(states),
            width=width,
            num_attention_heads=num_attention_heads,
            num_classes=len(classifier),
            num_blocks=num_blocks,
            precision=precision,
            eps=eps,
        )
    expected = to_released(module, 0)
    for number, state in enumerate(states):
        check_coverage(expected, state, f"head {number} of {what}" if len(states) > 1 else what)
    module = module.to_empty(device="cpu")
    heads = [_to_stack(state, num_blocks - 1) for state in states]
    module.load({name: torch.stack([head[name] for head in heads]) for name in heads[0]})
    return module


def to_released(probes: AttentiveBlocks, index: int) -> dict[str, torch.Tensor]:
    """Return probe `index` of a stack under the released names."""
    tensors = {n: t[index] for n, t in probes.state_dict().items()}
    parts = [tensors.pop(f"{BLOCKS}{part}_bias") for part in "qkv"]
    tensors[f"{BLOCKS}qkv_bias"] = torch.cat(parts, dim=-1)
    tensors["kv_bias"] = torch.cat([tensors.pop("k_bias"), tensors.pop("v_bias")])
    state = {"pooler.query_tokens": tensors["query"][None]}
    for name, released in NAMES.items():
        state[released] = tensors[name]
    for name, released in BLOCK_NAMES.items():
        for block, tensor in enumerate(tensors[BLOCKS + name]):
            state[f"pooler.blocks.{block}.{released}"] = tensor
    return state


def _to_stack(state: Tensors, num_self_attention: int) -> dict[str, torch.Tensor]:
    """Return the tensors of one head under the names of `AttentiveBlocks`, float32."""
    tensors = {name: state[released].float() for name, released in NAMES.items()}
    tensors["query"] = state["pooler.query_tokens"][0].float()
    for name, released in BLOCK_NAMES.items():
        blocks = [state[f"pooler.blocks.{i}.{released}"] for i in range(num_self_attention)]
        tensors[BLOCKS + name] = torch.stack(blocks).float()
    parts = tensors.pop(f"{BLOCKS}qkv_bias").chunk(3, dim=-1)
    tensors.update({f"{BLOCKS}{name}_bias": part for name, part in zip("qkv", parts, strict=True)})
    tensors["k_bias"], tensors["v_bias"] = tensors.pop("kv_bias").chunk(2)
    return tensors


def _heads(content: Mapping[str, Any], path: Path) -> list[dict[str, torch.Tensor]]:
    """Return the state dict of every head, without the distributed-training prefix."""
    classifiers = content.get("classifiers")
    if not isinstance(classifiers, Sequence) or not classifiers:
        raise CheckpointError(
            f"{path}: this file has no list 'classifiers', only {shortened(map(str, content))};"
            " give the checkpoint of a frozen evaluation of V-JEPA 2."
        )
    found = []
    for number, state in enumerate(classifiers):
        if not isinstance(state, Mapping):
            raise CheckpointError(
                f"{path}: head {number} is not a state dict; the file is damaged."
            )
        found.append(bare_state(state, f"{path}: head {number}"))
    return found


def _from_hub(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Return the head of a hub model, without its encoder, under the released names."""
    remaining = {name: t for name, t in content.items() if not name.startswith("vjepa2.")}
    state: dict[str, torch.Tensor] = {}

    def take(released: str, parts: Sequence[str]) -> None:
        for kind in ("weight", "bias"):
            hub_names = [f"{part}.{kind}" for part in parts]
            missing = [name for name in hub_names if name not in remaining]
            if missing:
                raise CheckpointError(
                    f"{path}: this hub model has no {shortened(missing)}; nothing was loaded, give"
                    " its complete file."
                )
            state[f"{released}.{kind}"] = torch.cat([remaining.pop(name) for name in hub_names])

    for released, parts in HUB_QUERY_BLOCK.items():
        hub = "pooler.cross_attention_layer."
        take(f"{BLOCK}{released}", [hub + part for part in parts])
    for block in range(num_numbered(remaining, r"pooler\.self_attention_layers\.(\d+)\.")):
        hub = f"pooler.self_attention_layers.{block}."
        for released, parts in HUB_BLOCK.items():
            take(f"pooler.blocks.{block}.{released}", [hub + part for part in parts])
    take("linear", ["classifier"])
    whole = {**state, **remaining}  # other names are checked by the caller
    return as_float32(whole, str(path))[0]


def _told_by_hub(
    config: Mapping[str, Any], state: Tensors, asked: int | None, path: Path
) -> tuple[Told, float]:
    """Return what a hub model's `config.json` says of its head, and the LayerNorm epsilon.

    Raises:
        CheckpointError: it contradicts the tensors or the user, or the number of heads is unknown.
    """
    where = path.with_name(HUB_CONFIG)
    heads = config.get("num_attention_heads", asked)
    if heads is None:
        raise CheckpointError(
            f"{path}: its tensors do not show the number of attention heads, and there is no"
            f" {HUB_CONFIG} with it next to the file; copy that, or use --set probe.num_heads=N."
        )
    names = config.get("id2label")
    found = {
        "model_type": "vjepa2",
        "hidden_size": state["linear.weight"].shape[-1],
        "num_pooler_layers": num_numbered(state, r"pooler\.blocks\.(\d+)\."),
        "hidden_act": "gelu",
        "num_attention_heads": heads if asked is None else asked,
    }
    wrong = [f"{k} {config[k]!r}, not {v!r}" for k, v in found.items() if config.get(k, v) != v]
    if isinstance(names, Mapping) and len(names) != len(state["linear.weight"]):
        wrong.append(f"{len(names)} names in id2label, not {len(state['linear.weight'])}")
    eps = config.get("layer_norm_eps", HUB_EPS if config else EPS)
    if wrong or not isinstance(heads, int) or heads < 1 or not isinstance(eps, float):
        what = ", ".join(wrong) or f"num_attention_heads {heads!r} and layer_norm_eps {eps!r}"
        raise CheckpointError(
            f"{where} does not describe {path.name} as it is opened: it has {what}; copy both from"
            " the same model, or leave the option out."
        )
    classes = _class_names(names) if isinstance(names, Mapping) else ()
    return Told(settings={"num_heads": heads}, classes=classes), eps


def _class_names(names: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of `id2label` in order; () if they only number the classes."""
    listed = [str(names.get(str(number), number)) for number in range(len(names))]
    is_numbered = all(re.fullmatch(r"(LABEL_)?\d+", name) for name in listed)
    return () if is_numbered else tuple(listed)
