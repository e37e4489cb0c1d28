"""What a V-JEPA 2 weight file holds, under official names or those of transformers.

Official: the released layout of `bench.encoders.weights.layouts`, names under `module.backbone.`;
it may hold position tables that the network does not use. Transformers (`model.safetensors` of
`facebook/vjepa2-*`): one flat state dict with `encoder.*` and `predictor.*`, queries, keys and
values apart; classifiers have both under `vjepa2.` and beside them `pooler.*` and `classifier.*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.encoders.networks.video_vit import LAYER_NORM_EPS
from bench.encoders.weights.checkpoints import read_tensors
from bench.encoders.weights.encoder_folder import VJEPA2, read_folder
from bench.encoders.weights.family_files import hub_config, refuse_other_facts
from bench.encoders.weights.held_tensors import Held, widened
from bench.encoders.weights.layouts import (
    HUB_PREFIX,
    Check,
    bare,
    encoder_of,
    has_hub_names,
    leftover_tables,
    predictor_adds_table,
)
from bench.encoders.weights.state_dicts import Tensors, renamed
from bench.errors import CheckpointError

# What transformers can vary and no tensor tells; the encoder here is the released one.
HUB_FACTS = {"hidden_act": "gelu", "layer_norm_eps": LAYER_NORM_EPS}
_PART = r"(?:weight|bias)"
_HUB_BLOCK = re.compile(
    rf"layer\.(\d+)\.(?:(norm[12]|mlp\.fc[12])|attention\.(query|key|value|proj))\.({_PART})"
)
_HUB_PREDICTOR = re.compile(
    rf"predictor\.(?:{_HUB_BLOCK.pattern}|embeddings\.mask_tokens"
    rf"|(?:embeddings\.predictor_embeddings|layernorm|proj)\.{_PART})"
)
_HUB_ATTENTION = r"(?:q_proj|k_proj|v_proj|out_proj)"
_HUB_HEAD = re.compile(
    r"pooler\.query_tokens|classifier\.(?:weight|bias)|"
    rf"pooler\.self_attention_layers\.\d+\.(?:layer_norm[12]|self_attn\.{_HUB_ATTENTION}"
    rf"|mlp\.fc[12])\.{_PART}|"
    r"pooler\.cross_attention_layer\.(?:layer_norm[12]|cross_attn\.[qkv]_proj|mlp\.fc[12])"
    rf"\.{_PART}"
)
_ENCODER = (("embeddings.patch_embeddings.proj", "patch_embed.proj"), ("layernorm", "norm"))
_PREDICTOR = (
    ("embeddings.predictor_embeddings", "predictor_embed"),
    ("layernorm", "predictor_norm"),
    ("proj", "predictor_proj"),
)


def read_rotary(path: Path, key: str, *, leftover_table: bool = False) -> Held:
    """Return the encoder tensors of a V-JEPA 2 file or folder, as float32.

    `key` picks one of the two encoders of the released layout. With `leftover_table` a position
    table beside an encoder without a predictor is taken for one that the network does not use.

    Raises:
        CheckpointError: no V-JEPA 2 encoder under `key`, or tensors that cannot be weights.
    """
    if path.is_dir():
        return read_folder(path, VJEPA2)
    content, where, num_heads = read_tensors(path), str(path), None
    if has_hub_names(content):
        tensors, notes = _encoder_from_hub(bare(content, where), where)
        said = hub_config(path)
        refuse_other_facts(said, HUB_FACTS, where)
        num_heads = said.get("num_attention_heads")
    else:
        tensors, notes = encoder_of(content, key, where, _check_rotary(leftover_table))
        if tensors.pop("pos_embed", None) is not None:
            notes += ("pos_embed of the file is left over and not used: positions rotate",)
    return widened(Held(where=where, tensors=tensors, notes=notes, num_heads=num_heads))


def read_rotary_predictor(path: Path) -> tuple[Held, int | None]:
    """Return the predictor's tensors under official names, and the patch size (pixels) if told.

    Raises:
        CheckpointError: no V-JEPA 2 predictor, or tensors that cannot be weights.
    """
    content, where = read_tensors(path), str(path)
    networks = {name: part for name, part in content.items() if isinstance(part, Mapping)}
    notes: tuple[str, ...] = ()
    if has_hub_names(content):
        named = _without_prefix(bare(content, where), where)
        tensors = _predictor_from_hub(named)
        kernel = named.get("encoder.embeddings.patch_embeddings.proj.weight")
    elif not networks.get("predictor"):
        raise CheckpointError(
            f"{where} holds no predictor; take the pretraining checkpoint, which has 'predictor'"
            " beside its encoders."
        )
    else:
        if predictor_adds_table(networks) and not leftover_tables(networks):
            raise CheckpointError(
                f"{where} holds a predictor of V-JEPA, which adds a position table"
                " (predictor_pos_embed); only those of V-JEPA 2 are read here."
            )
        tensors = bare(networks["predictor"], f"{where} [predictor]")
        if tensors.pop("predictor_pos_embed", None) is not None:
            notes = ("predictor_pos_embed of the file is left over and not used",)
        encoder = networks.get("target_encoder") or networks.get("encoder") or {}
        ends = "patch_embed.proj.weight"
        kernel = next((t for name, t in encoder.items() if name.endswith(ends)), None)
    held = widened(Held(where=f"{where} [predictor]", tensors=tensors, notes=notes))
    return held, None if kernel is None else int(kernel.shape[-1])


def _check_rotary(leftover_table: bool) -> Check:
    def check(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
        told = bool(networks.get("predictor"))
        if told and predictor_adds_table(networks) and not leftover_tables(networks):
            raise CheckpointError(
                f"{where} is a V-JEPA file: its predictor adds a position table"
                " (predictor_pos_embed), where V-JEPA 2 rotates positions; open it as vjepa:FILE."
            )
        if "pos_embed" in tensors and not told and not leftover_table:
            raise CheckpointError(
                f"{where} holds pos_embed and no predictor, so it does not tell whether its table"
                " is added (V-JEPA: open it as vjepa:FILE) or left over, as in files of V-JEPA 2;"
                " if you know it is one, say --set encoder.leftover_table=true."
            )

    return check


def _encoder_from_hub(named: Tensors, where: str) -> tuple[Tensors, tuple[str, ...]]:
    """Rename to official names; what is known not to be the encoder's is counted and left out."""
    plain = _without_prefix(named, where)
    known = (("the predictor", _HUB_PREDICTOR), ("the classification head", _HUB_HEAD))
    rest, notes = plain, []
    for what, pattern in known:
        part = {name for name in rest if pattern.fullmatch(name)}
        rest = {name: tensor for name, tensor in rest.items() if name not in part}
        if part:
            notes.append(f"{len(part)} tensors of {what} left out")
    return _official(rest, "encoder.", _ENCODER, lambda number: f"blocks.{number}"), tuple(notes)


def _predictor_from_hub(plain: Tensors) -> Tensors:
    own = {name: tensor for name, tensor in plain.items() if name.startswith("predictor.")}
    stacked = own.pop("predictor.embeddings.mask_tokens", None)
    named = _official(own, "predictor.", _PREDICTOR, lambda number: f"predictor_blocks.{number}")
    tokens = () if stacked is None else stacked.unbind(0)
    return {**named, **{f"mask_tokens.{number}": token for number, token in enumerate(tokens)}}


def _official(
    named: Tensors,
    prefix: str,
    pairs: tuple[tuple[str, str], ...],
    block: Callable[[str], str],
) -> Tensors:
    """Give hub names their official ones; a name that is not known stays as it is."""
    official_names = {
        f"{prefix}{hub}.{part}": f"{official}.{part}"
        for hub, official in pairs
        for part in ("weight", "bias")
    }
    made: Tensors = {}
    joined: dict[str, dict[str, str]] = {}
    for name, tensor in named.items():
        match = _HUB_BLOCK.fullmatch(name[len(prefix) :]) if name.startswith(prefix) else None
        if match is None:
            made[official_names.get(name, name)] = tensor
        elif match[2]:
            made[f"{block(match[1])}.{match[2]}.{match[4]}"] = tensor
        elif match[3] == "proj":
            made[f"{block(match[1])}.attn.proj.{match[4]}"] = tensor
        else:
            joined.setdefault(f"{block(match[1])}.attn.qkv.{match[4]}", {})[match[3]] = name
    for target, thirds in joined.items():
        if len(thirds) == 3:  # else the file is incomplete, and coverage will say of what
            made[target] = torch.cat([named[thirds[k]] for k in ("query", "key", "value")])
        else:
            made |= {name: named[name] for name in thirds.values()}
    return made


def _without_prefix(named: Tensors, where: str) -> Tensors:
    return renamed(named, [(rf"{re.escape(HUB_PREFIX)}(.+)", r"\1")], where)
