"""Probe files as V-JEPA 2 released them, and their names in a stack of probes of several blocks.

On disk (`torch.save`): `{"classifiers": [state dict, ...], "opt", "scaler", "epoch", ...}`, a state
dict for each head of the sweep, names prefixed with `module.` when training was distributed; or the
`model.safetensors` of a `VJEPA2ForVideoClassification` on the hub, one head beside its encoder.
There LayerNorm has an epsilon of 1e-6; it is 1e-5 here for these files too, as they were trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.encoders.weights.checkpoints import check_coverage, shortened
from bench.encoders.weights.state_dicts import num_numbered
from bench.errors import CheckpointError, UsageError
from probes.stack.attentive_blocks import BLOCKS, AttentiveBlocks, Precision
from probes.stack.released_probe import BLOCK, MLP, bare_state, read_probe_file, weights_and_biases

Tensors = Mapping[str, torch.Tensor]

# Ours -> the released name, within a block and of the probe.
BLOCK_NAMES = weights_and_biases("", norm1="norm1", qkv="attn.qkv", proj="attn.proj", **MLP)
NAMES = {
    **weights_and_biases(BLOCK, norm1="norm1", q="xattn.q", kv="xattn.kv", **MLP),
    **weights_and_biases("", linear="linear"),
}
# The hub's name -> the released one; a tuple of three or two is joined.
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
    path: Path, *, num_attention_heads: int, precision: Precision = "fp32"
) -> AttentiveBlocks:
    """Read every head of a probe file of V-JEPA 2 as one stack.

    Raises:
        CheckpointError: the file is missing, is no probe file, or a head of it does not have
            exactly the tensors of such a probe.
        UsageError: it is a probe file of V-JEPA 1.
    """
    content = read_probe_file(path)
    if "classifier" in content:
        raise UsageError(
            f"{path}: this is a probe file of V-JEPA 1 (one block); read it with --probe attentive."
        )
    states = [_from_hub(content, path)] if "classifier.weight" in content else _heads(content, path)
    return from_released(
        states, num_attention_heads=num_attention_heads, precision=precision, what=str(path)
    )


def from_released(
    states: Sequence[Tensors],
    *,
    num_attention_heads: int,
    what: str,
    precision: Precision = "fp32",
) -> AttentiveBlocks:
    """Return a stack of the given heads from tensors under their released names, float32.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; `what` is the culprit.
    """
    first = states[0]
    num_blocks = num_numbered(first, r"pooler\.blocks\.(\d+)\.") + 1
    query, classifier = first.get("pooler.query_tokens"), first.get("linear.weight")
    if query is None or classifier is None or num_blocks < 2:
        raise CheckpointError(
            f"{what}: not an attentive probe of several blocks, which has pooler.query_tokens,"
            f" linear.weight and pooler.blocks; it holds {shortened(first)}."
        )
    width = query.shape[-1]
    if width % num_attention_heads:
        raise CheckpointError(
            f"{what}: width {width} cannot be split over {num_attention_heads} attention heads;"
            " set probe.num_heads to the number that it was trained with."
        )
    with torch.device("meta"):
        module = AttentiveBlocks(
            num_probes=len(states),
            width=width,
            num_attention_heads=num_attention_heads,
            num_classes=len(classifier),
            num_blocks=num_blocks,
            precision=precision,
        )
    wanted = to_released(module, 0)
    for number, state in enumerate(states):
        check_coverage(wanted, state, f"head {number} of {what}" if len(states) > 1 else what)
    module = module.to_empty(device="cpu")
    ours = [_ours(state, num_blocks - 1) for state in states]
    module.load({name: torch.stack([tensors[name] for tensors in ours]) for name in ours[0]})
    return module


def to_released(probes: AttentiveBlocks, index: int) -> dict[str, torch.Tensor]:
    """Return probe `index` of a stack under the released names."""
    held = {n: t[index] for n, t in probes.state_dict().items()}
    parts = [held.pop(f"{BLOCKS}{part}_bias") for part in "qkv"]
    held[f"{BLOCKS}qkv_bias"] = torch.cat(parts, dim=-1)
    held["kv_bias"] = torch.cat([held.pop("k_bias"), held.pop("v_bias")])
    state = {"pooler.query_tokens": held["query"][None]}
    for ours, theirs in NAMES.items():
        state[theirs] = held[ours]
    for ours, theirs in BLOCK_NAMES.items():
        for block, tensor in enumerate(held[BLOCKS + ours]):
            state[f"pooler.blocks.{block}.{theirs}"] = tensor
    return state


def _ours(state: Tensors, num_self_attention: int) -> dict[str, torch.Tensor]:
    """Return the tensors of one head under the names of `AttentiveBlocks`, float32."""
    held = {ours: state[theirs].float() for ours, theirs in NAMES.items()}
    held["query"] = state["pooler.query_tokens"][0].float()
    for ours, theirs in BLOCK_NAMES.items():
        blocks = [state[f"pooler.blocks.{i}.{theirs}"] for i in range(num_self_attention)]
        held[BLOCKS + ours] = torch.stack(blocks).float()
    parts = held.pop(f"{BLOCKS}qkv_bias").chunk(3, dim=-1)
    held.update({f"{BLOCKS}{name}_bias": part for name, part in zip("qkv", parts, strict=True)})
    held["k_bias"], held["v_bias"] = held.pop("kv_bias").chunk(2)
    return held


def _heads(content: Mapping[str, Any], path: Path) -> list[dict[str, torch.Tensor]]:
    """Return the state dict of every head, without the prefix of distributed training."""
    classifiers = content.get("classifiers")
    if not isinstance(classifiers, Sequence) or not classifiers:
        raise CheckpointError(
            f"{path}: no list 'classifiers' in this file, it has {shortened(map(str, content))};"
            " give the checkpoint of a frozen evaluation of V-JEPA 2."
        )
    found = []
    for number, state in enumerate(classifiers):
        if not isinstance(state, Mapping):
            raise CheckpointError(f"{path}: head {number} is no state dict; the file is damaged.")
        found.append(bare_state(state, f"{path}: head {number}"))
    return found


def _from_hub(content: Mapping[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Return the head of a hub model under the released names; its encoder is left out."""
    left = {name: t for name, t in content.items() if not name.startswith("vjepa2.")}
    state: dict[str, torch.Tensor] = {}

    def take(theirs: str, parts: Sequence[str]) -> None:
        for kind in ("weight", "bias"):
            names = [f"{part}.{kind}" for part in parts]
            missing = [name for name in names if name not in left]
            if missing:
                raise CheckpointError(
                    f"{path}: a hub model without {shortened(missing)}; nothing was loaded, give"
                    " its complete file."
                )
            state[f"{theirs}.{kind}"] = torch.cat([left.pop(name) for name in names])

    for theirs, parts in HUB_QUERY_BLOCK.items():
        hub = "pooler.cross_attention_layer."
        take(f"{BLOCK}{theirs}", [hub + part for part in parts])
    for block in range(num_numbered(left, r"pooler\.self_attention_layers\.(\d+)\.")):
        hub = f"pooler.self_attention_layers.{block}."
        for theirs, parts in HUB_BLOCK.items():
            take(f"pooler.blocks.{block}.{theirs}", [hub + part for part in parts])
    take("linear", ["classifier"])
    return {**state, **left}  # what is left is known under its own name, or refused
