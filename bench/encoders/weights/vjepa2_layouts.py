"""Find the tensors in a V-JEPA 2 weight file, under official names or those of transformers.

Official: the released layout of `bench.encoders.weights.layouts`, names under `module.backbone.`;
it may hold unused position tables. Transformers (`model.safetensors` of `facebook/vjepa2-*`): one
flat state dict with `encoder.*` and `predictor.*` and separate queries, keys and values; in
classifiers both are under `vjepa2.`, next to `pooler.*` and `classifier.*`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.encoders.networks.video_vit import LAYER_NORM_EPS
from bench.encoders.weights.checkpoints import read_tensors
from bench.encoders.weights.encoder_folder import VJEPA2, read_folder
from bench.encoders.weights.family_files import hub_config, refuse_other_facts
from bench.encoders.weights.held_tensors import StoredEncoder, widened
from bench.encoders.weights.layouts import (
    HUB_PREFIX,
    Check,
    bare,
    encoder_of,
    has_hub_names,
    leftover_tables,
    predictor_adds_table,
)
from bench.encoders.weights.picked import NETWORKS, Pick
from bench.encoders.weights.state_dicts import Tensors, fuse_qkv, renamed
from bench.errors import CheckpointError

# Settings of transformers that leave no trace in tensors, with the released values.
HUB_FACTS = {"hidden_act": "gelu", "layer_norm_eps": LAYER_NORM_EPS}
QKV = ("query", "key", "value")
_PART = r"(weight|bias)"
_UNPREFIXED = ((rf"{re.escape(HUB_PREFIX)}(.+)", r"\1"),)


def _hub_rules(network: str, block: str, **names: str) -> tuple[tuple[str, str], ...]:
    """Return renaming rules from hub to official names: the blocks of a network, and `names`."""
    of_block = rf"{network}\.layer\.(\d+)\."
    return (
        *((rf"{network}\.{hub}\.{_PART}", rf"{official}.\1") for official, hub in names.items()),
        (rf"{of_block}(norm[12]|mlp\.fc[12])\.{_PART}", rf"{block}.\1.\2.\3"),
        (rf"{of_block}attention\.proj\.{_PART}", rf"{block}.\1.attn.proj.\2"),
    )


_HUB_QKV = r"\.layer\.(\d+)\.attention\.(?P<part>query|key|value)\.(weight|bias)"
_ENCODER = _hub_rules(
    "encoder",
    "blocks",
    **{"patch_embed.proj": r"embeddings\.patch_embeddings\.proj", "norm": "layernorm"},
)
_PREDICTOR = _hub_rules(
    "predictor",
    "predictor_blocks",
    predictor_embed=r"embeddings\.predictor_embeddings",
    predictor_norm="layernorm",
    predictor_proj="proj",
)
# Known tensors that do not belong to the encoder.
_HUB_ATTENTION = r"(?:q_proj|k_proj|v_proj|out_proj)"
_PARTS = {
    "the predictor": "|".join(
        (rf"predictor{_HUB_QKV}", r"predictor\.embeddings\.mask_tokens", *dict(_PREDICTOR))
    ),
    "the classification head": (
        r"pooler\.query_tokens|classifier\.(?:weight|bias)|"
        rf"pooler\.self_attention_layers\.\d+\.(?:layer_norm[12]|self_attn\.{_HUB_ATTENTION}"
        rf"|mlp\.fc[12])\.{_PART}|"
        r"pooler\.cross_attention_layer\.(?:layer_norm[12]|cross_attn\.[qkv]_proj|mlp\.fc[12])"
        rf"\.{_PART}"
    ),
}


def read_rotary(path: Path, pick: Pick, *, leftover_table: bool = False) -> StoredEncoder:
    """Return the encoder tensors of a V-JEPA 2 file or folder, as float32.

    The key of `pick` is one of the two encoders in the released layout, or any place in a file.
    `leftover_table` declares the position table of an encoder without a predictor unused.

    Raises:
        CheckpointError: no V-JEPA 2 encoder there, or tensors that cannot be weights.
    """
    if path.is_dir():
        pick.refuse(str(path))
        return read_folder(path, VJEPA2)
    content, where = read_tensors(path), str(path)
    if pick.key not in NETWORKS:
        content, where = pick.found(content, where), f"{where} [{pick.key}]"
        pick = replace(pick, key=NETWORKS[0])
    config: Mapping[str, Any] = {}
    if has_hub_names(content):
        named, left_out = pick.kept(bare(content, where), where)
        tensors, notes = _encoder_from_hub(renamed(named, _UNPREFIXED, where), where)
        notes += left_out
        config = hub_config(path)
        refuse_other_facts(config, HUB_FACTS, where)
    else:
        tensors, notes = encoder_of(content, pick, where, _check_rotary(leftover_table))
        if tensors.pop("pos_embed", None) is not None:
            notes += ("pos_embed of the file is an unused leftover: positions are rotary",)
    return widened(StoredEncoder(where=where, tensors=tensors, notes=notes, config=config))


def read_rotary_predictor(path: Path) -> tuple[StoredEncoder, int | None]:
    """Return the predictor's tensors under official names, and the patch size (pixels) if known.

    Raises:
        CheckpointError: no V-JEPA 2 predictor, or tensors that cannot be weights.
    """
    content, where = read_tensors(path), str(path)
    networks = {name: part for name, part in content.items() if isinstance(part, Mapping)}
    notes: tuple[str, ...] = ()
    if has_hub_names(content):
        named = renamed(bare(content, where), _UNPREFIXED, where)
        tensors = _predictor_from_hub(named, where)
        kernel = named.get("encoder.embeddings.patch_embeddings.proj.weight")
    elif not networks.get("predictor"):
        raise CheckpointError(
            f"{where} has no predictor; use the pretraining checkpoint, which has 'predictor'."
        )
    else:
        if predictor_adds_table(networks) and not leftover_tables(networks):
            raise CheckpointError(
                f"{where} holds a V-JEPA predictor (predictor_pos_embed); give a V-JEPA 2 file."
            )
        tensors = bare(networks["predictor"], f"{where} [predictor]")
        if tensors.pop("predictor_pos_embed", None) is not None:
            notes = ("predictor_pos_embed of the file is an unused leftover",)
        encoder = networks.get("target_encoder") or networks.get("encoder") or {}
        ends = "patch_embed.proj.weight"
        kernel = next((t for name, t in encoder.items() if name.endswith(ends)), None)
    stored = widened(StoredEncoder(where=f"{where} [predictor]", tensors=tensors, notes=notes))
    return stored, None if kernel is None else int(kernel.shape[-1])


def _check_rotary(leftover_table: bool) -> Check:
    def check(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
        has_predictor = bool(networks.get("predictor"))
        if has_predictor and predictor_adds_table(networks) and not leftover_tables(networks):
            raise CheckpointError(
                f"{where} is a V-JEPA file: its predictor adds a position table"
                " (predictor_pos_embed), V-JEPA 2 has rotary positions; open it as vjepa:FILE."
            )
        if "pos_embed" in tensors and not has_predictor and not leftover_table:
            raise CheckpointError(
                f"{where} has pos_embed but no predictor, so it is unclear whether the table is"
                " used (V-JEPA: open it as vjepa:FILE) or an unused leftover, as in V-JEPA 2 files;"
                " if you know it is V-JEPA 2, use --set encoder.leftover_table=true."
            )

    return check


def _encoder_from_hub(named: Tensors, where: str) -> tuple[Tensors, tuple[str, ...]]:
    """Rename to official names; known tensors of other parts are left out, with a note."""
    rest, notes = named, []
    for what, pattern in _PARTS.items():
        part = {name for name in rest if re.fullmatch(pattern, name)}
        rest = {name: tensor for name, tensor in rest.items() if name not in part}
        if part:
            notes.append(f"{len(part)} tensors of {what} left out")
    rest = fuse_qkv(rest, f"encoder{_HUB_QKV}", r"blocks.\1.attn.qkv.\3", QKV)
    return renamed(rest, _ENCODER, where), tuple(notes)


def _predictor_from_hub(plain: Tensors, where: str) -> Tensors:
    part = {name: tensor for name, tensor in plain.items() if name.startswith("predictor.")}
    stacked = part.pop("predictor.embeddings.mask_tokens", None)
    part = fuse_qkv(part, f"predictor{_HUB_QKV}", r"predictor_blocks.\1.attn.qkv.\3", QKV)
    tokens = () if stacked is None else stacked.unbind(0)
    masks = {f"mask_tokens.{number}": token for number, token in enumerate(tokens)}
    return {**renamed(part, _PREDICTOR, where), **masks}
