"""V-JEPA 1's released probe files, and the mapping of their names to `AttentiveHeads`.

On disk (`torch.save`): `{"classifier": state dict, "opt", "scaler", "epoch", ...}`, names prefixed
with `module.` if training was distributed. V-JEPA 2 writes a list `classifiers`, see
`released_blocks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.encoders.weights.checkpoints import read_tensors, shortened
from bench.encoders.weights.state_dicts import as_float32
from bench.errors import CheckpointError, UsageError
from probes.stack.attentive_head import AttentiveHeads
from probes.stack.fit import Told

BLOCK = "pooler.cross_attention_block."
KV_WEIGHT, KV_BIAS = BLOCK + "xattn.kv.weight", BLOCK + "xattn.kv.bias"
MLP = {"norm2": "norm2", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def weights_and_biases(prefix: str, **parts: str) -> dict[str, str]:
    """Map our weight and bias names of every part to the released ones with `prefix`."""
    return {
        f"{name}_{kind}": f"{prefix}{released}.{kind}"
        for name, released in parts.items()
        for kind in ("weight", "bias")
    }


NAMES = {
    "query": "pooler.query_tokens",
    **weights_and_biases(BLOCK, norm1="norm1", q="xattn.q", proj="xattn.proj", **MLP),
    **weights_and_biases("", linear="linear"),
}


def read_released_probe(path: Path, *, num_attention_heads: int) -> tuple[AttentiveHeads, Told]:
    """Read a V-JEPA 1 probe file as a stack of one, and what it says of its training.

    Raises:
        CheckpointError: the file is missing, not a probe file, or its tensors are not a probe's.
        UsageError: it is a V-JEPA 2 probe file.
    """
    content = read_probe_file(path)
    if "classifiers" in content:
        raise UsageError(
            f"{path}: this is a V-JEPA 2 probe file (a list of four-block probes); read it with"
            " --probe attentive4. V-JEPA 1 files have the key 'classifier'."
        )
    classifier = content.get("classifier")
    if not isinstance(classifier, Mapping):
        raise CheckpointError(
            f"{path}: this file has no key 'classifier', only {shortened(map(str, content))};"
            " give the checkpoint of a frozen evaluation."
        )
    state = bare_state(classifier, f"{path}: 'classifier'")
    module = from_released(state, num_attention_heads=num_attention_heads, what=str(path))
    return module, training_of(content, num_heads=num_attention_heads)


def training_of(content: Mapping[str, Any], **settings: Any) -> Told:
    """Return `settings`, and the epochs and batch size of a released evaluation's file."""
    epochs, batch = content.get("epoch"), [content.get(key) for key in ("batch_size", "world_size")]
    if isinstance(epochs, int):
        settings["epochs"] = epochs
    if all(isinstance(size, int) for size in batch):
        settings["batch_size"] = math.prod(batch)  # over all processes, as everywhere here
    return Told(settings=settings)


def read_probe_file(path: Path) -> dict[str, Any]:
    """Return the contents of a probe file, or raise `CheckpointError`."""
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such probe file; check the path.")
    return read_tensors(path)


def bare_state(named: Mapping[str, Any], where: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one head as float32.

    Raises:
        CheckpointError: an entry is not a tensor, or one that cannot be weights.
    """
    others = [str(name) for name, t in named.items() if not isinstance(t, torch.Tensor)]
    if others:
        raise CheckpointError(
            f"{where} has entries that are not tensors, {shortened(others)}; give the checkpoint of"
            " a frozen evaluation."
        )
    return as_float32({str(name): t for name, t in named.items()}, where)[0]


def from_released(
    state: Mapping[str, torch.Tensor], *, num_attention_heads: int, what: str
) -> AttentiveHeads:
    """Return a float32 stack of one probe from a state dict with released names.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; `what` is the culprit.
    """
    expected = {*NAMES.values(), KV_WEIGHT, KV_BIAS}
    missing, unknown = sorted(expected - set(state)), sorted(set(state) - expected)
    if missing or unknown:
        raise CheckpointError(
            f"{what}: not a one-block attentive probe; missing {', '.join(missing) or 'nothing'},"
            f" unknown {', '.join(unknown) or 'nothing'}."
        )
    width = state["pooler.query_tokens"].shape[-1]
    if width % num_attention_heads:
        raise CheckpointError(
            f"{what}: width {width} is not divisible by {num_attention_heads} attention heads; set"
            " num_heads to the encoder's number."
        )
    probe = AttentiveHeads(
        num_probes=1,
        width=width,
        num_attention_heads=num_attention_heads,
        num_classes=len(state["linear.bias"]),
    )
    tensors = {name: state[released].float() for name, released in NAMES.items()}
    tensors["query"] = tensors["query"][0]
    tensors["k_weight"], tensors["v_weight"] = state[KV_WEIGHT].float().chunk(2)
    tensors["k_bias"], tensors["v_bias"] = state[KV_BIAS].float().chunk(2)
    probe.proj_weight, probe.proj_bias = torch.empty(1, width, width), torch.empty(1, width)
    _check_shapes(tensors, probe, what)
    probe.load({name: tensor[None] for name, tensor in tensors.items()})
    return probe


def to_released(probes: AttentiveHeads, index: int) -> dict[str, torch.Tensor]:
    """Return probe `index` of a stack under the released names.

    The released block declares an output projection that it never applies; probes trained here
    have none and get zeros.
    """
    stacked = {name: tensor[index].cpu() for name, tensor in probes.state_dict().items()}
    stacked.setdefault("proj_weight", torch.zeros_like(stacked["q_weight"]))
    stacked.setdefault("proj_bias", torch.zeros_like(stacked["q_bias"]))
    stacked["query"] = stacked["query"][None]
    state = {released: stacked[name] for name, released in NAMES.items()}
    state[KV_WEIGHT] = torch.cat([stacked["k_weight"], stacked["v_weight"]])
    state[KV_BIAS] = torch.cat([stacked["k_bias"], stacked["v_bias"]])
    return state


def _check_shapes(tensors: Mapping[str, torch.Tensor], probe: AttentiveHeads, what: str) -> None:
    for name, expected in probe.state_dict().items():
        shape = tuple(expected.shape[1:])
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{what}: {NAMES.get(name, KV_WEIGHT)} gives {name} the shape"
                f" {tuple(tensors[name].shape)}, but a probe of width {probe.width} needs {shape}."
            )
