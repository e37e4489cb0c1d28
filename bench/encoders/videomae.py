"""VideoMAE (arXiv 2203.12602), VideoMAE v2 (arXiv 2303.16727) and MVD (arXiv 2212.04500) encoders.

Released files: VideoMAE and v2 pretraining (`encoder.*`, `decoder.*`), fine-tuned and distilled
(bare names, `fc_norm`, `head`), the hub's naming of both (`videomae.encoder.layer.*`, and
`model.*` for v2), MVD pretraining (the student's bare names beside two decoders) and fine-tuning.
Queries and values have separate biases and keys have none. Nothing in a fine-tuned file tells MVD
from VideoMAE but its position table, which is not stored: name the family.

What stands after the mean over tokens (`fc_norm`, `head`) is left out: tokens of a fine-tuned
encoder are those of its last block, as in transformers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

import torch

from bench.encoders.family_vit import family
from bench.encoders.networks.table_vit import Form
from bench.encoders.weights.checkpoints import shortened
from bench.encoders.weights.family_files import leave_out, refuse_other_facts
from bench.encoders.weights.held_tensors import Held
from bench.encoders.weights.state_dicts import joined, renamed
from bench.errors import CheckpointError
from bench.types import Card

Labels = Literal["none", "some", "all", "unknown"]
CLASSIFIER = {"the classifier": r"(fc_norm|head|classifier)\.(weight|bias)$"}
DECODER = {"the decoder": r"decoder\.|encoder_to_decoder\.|mask_token$"}
MVD_DECODERS = {
    "the decoders": r"(decoder|down)_(img|vid)\.|(mask_token|pos_embed)_(img|vid)$",
}
MVD_MARKS = ("decoder_img.", "decoder_vid.", "mask_token_img", "mask_token_vid")
HUB_MARK = "embeddings.patch_embeddings.projection.weight"
HUB_EPS = 1e-12  # what transformers gives VideoMAE unless its config.json says another
HUB_NORM = "videomae.layernorm."
HUB_BLOCK = r"(?:videomae\.)?encoder\.layer\.(\d+)\."
HUB_NAMES = (
    (r"(?:videomae\.)?embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (HUB_BLOCK + r"layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
    (HUB_BLOCK + r"layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
    (HUB_BLOCK + r"attention\.attention\.([qv])_bias", r"blocks.\1.attn.\2_bias"),
    (
        HUB_BLOCK + r"attention\.attention\.([qkv])(?:uery|ey|alue)\.weight",
        r"blocks.\1.attn.\2.weight",
    ),
    (HUB_BLOCK + r"attention\.attention\.([qkv])(?:uery|ey|alue)\.bias", r"blocks.\1.attn.\2_bias"),
    (HUB_BLOCK + r"attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (HUB_BLOCK + r"intermediate\.dense\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (HUB_BLOCK + r"output\.dense\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"(?:videomae\.)?layernorm\.(\w+)", r"norm.\1"),
)


@family
def videomae(state: Held) -> tuple[Held, Form, Card]:
    """VideoMAE and VideoMAE v2 from a checkpoint, pretrained, fine-tuned or distilled.

    Official and hub naming are told apart by their names. Another `num_frames` or `image_size`
    (pixels) than 16 and 224 gets a fresh position table of that many tokens.

    Raises:
        CheckpointError: a file that does not hold, completely, one encoder of this family.
    """
    by_hub = any(name.endswith(HUB_MARK) for name in state.tensors)
    state, form, labels = _of_hub(state) if by_hub else _official(state)
    card = Card(licence="CC-BY-NC-4.0 (VideoMAE) or MIT (v2)", labels=labels)
    return _joined(state), form, card


@family
def mvd(state: Held) -> tuple[Held, Form, Card]:
    """Masked Video Distillation: the student of a pretraining file, or a fine-tuned file.

    Another `num_frames` or `image_size` (pixels) than the file's gets a fresh position table.

    Raises:
        CheckpointError: a file that does not hold, completely, one encoder of this family.
    """
    if any(name.startswith(("encoder.", "decoder.")) for name in state.tensors):
        raise CheckpointError(
            f"{state.where} has the layout of VideoMAE's pretraining (encoder.*, decoder.*), not"
            " of MVD's; open it as videomae:FILE."
        )
    pooled, labels = _classified(state)
    state, parts = leave_out(state, {**MVD_DECODERS, **CLASSIFIER})
    form = Form(positions="sincos_time_column_row", final_norm=not pooled)
    card = Card(labels="none" if "the decoders" in parts else labels)
    return _joined(state), form, card


def _official(state: Held) -> tuple[Held, Form, Labels]:
    """Find the encoder under VideoMAE's own names."""
    if any(name.startswith(MVD_MARKS) for name in state.tensors):
        raise CheckpointError(
            f"{state.where} has the layout of MVD's pretraining (two decoders), whose position"
            " table is another; open it as mvd:FILE."
        )
    if any(name.startswith(("encoder.", "decoder.")) for name in state.tensors):
        state, _ = leave_out(state, DECODER)
        tensors = renamed(state.tensors, [(r"encoder\.(.+)", r"\1")], state.where)
        return replace(state, tensors=tensors), Form(positions="sinusoid_1d"), "none"
    pooled, labels = _classified(state)
    state, _ = leave_out(state, CLASSIFIER)
    return state, Form(positions="sinusoid_1d", final_norm=not pooled), labels


def _of_hub(state: Held) -> tuple[Held, Form, Labels]:
    """Find the encoder under the names of transformers, v4 and v5."""
    refuse_other_facts(state.config, {"hidden_act": "gelu"}, state.where)
    if not isinstance(size := state.config.get("image_size", 0), int):
        raise CheckpointError(
            f"{state.where}: config.json beside it says image_size {size}, and only square images"
            " are read, whose size is one number; give a model of square images."
        )
    has_decoder = "mask_token" in state.tensors
    pooled, labels = _classified(state)
    form = Form(
        positions="sinusoid_1d",
        # A bare model says in its config.json alone whether its tokens are normed.
        final_norm=not (pooled or state.config.get("use_mean_pooling", False)),
        layer_norm_eps=float(state.config.get("layer_norm_eps", HUB_EPS)),
    )
    if has_decoder and not any(HUB_NORM in name for name in state.tensors):
        form = replace(form, final_norm=False)
    state, _ = leave_out(state, {**DECODER, **CLASSIFIER})
    tensors = renamed(state.tensors, HUB_NAMES, state.where)
    return replace(state, tensors=tensors), form, "none" if has_decoder else labels


def _classified(state: Held) -> tuple[bool, Labels]:
    """Say whether tokens are averaged before their norm, and whether a classifier was trained."""
    names = state.tensors.keys()
    has_head = bool({"head.weight", "classifier.weight"} & names)
    return "fc_norm.weight" in names, "all" if has_head else "unknown"


def _joined(state: Held) -> Held:
    """Give every block one weight of queries, keys and values, as `VideoViT` has it."""
    biases = [n for n in state.tensors if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.bias", n)]
    if biases:
        raise CheckpointError(
            f"{state.where} has one bias for queries, keys and values ({shortened(biases)}), where"
            " this family has separate q_bias and v_bias: it is another ViT, such as V-JEPA 2's;"
            " open it as what it is."
        )
    tensors = dict(state.tensors)
    for name, bias in state.tensors.items():
        match = re.fullmatch(r"(blocks\.\d+\.attn\.)q_bias", name)
        if match and getattr(tensors.get(f"{match[1]}v_bias"), "shape", None) == bias.shape:
            tensors.setdefault(f"{match[1]}k_bias", torch.zeros_like(bias))  # keys have none
    pattern = r"(blocks\.\d+\.attn\.)(?P<part>[qkv])[._](weight|bias)"
    return replace(state, tensors=joined(tensors, pattern, r"\1qkv.\3"))
