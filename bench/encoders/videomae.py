"""VideoMAE (arXiv 2203.12602), VideoMAE v2 (arXiv 2303.16727) and MVD (arXiv 2212.04500) encoders.

Released files: VideoMAE and v2 pretraining (`encoder.*`, `decoder.*`), fine-tuned and distilled
(bare names, `fc_norm`, `head`), the hub's names for both (`videomae.encoder.layer.*`, and
`model.*` for v2), MVD pretraining (the student's bare names and two decoders) and fine-tuning.
Queries and values have separate biases, keys have none. Fine-tuned MVD and VideoMAE files differ
only in their position table, which is not stored, so the user has to name the family.

Layers after the mean over tokens (`fc_norm`, `head`) are left out: the tokens of a fine-tuned
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
from bench.encoders.weights.held_tensors import StoredEncoder
from bench.encoders.weights.state_dicts import fuse_qkv, renamed
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
HUB_EPS = 1e-12  # transformers' default for VideoMAE
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
def videomae(state: StoredEncoder) -> tuple[StoredEncoder, Form, Card]:
    """VideoMAE and VideoMAE v2 from a checkpoint, pretrained, fine-tuned or distilled.

    Both the official and the hub's tensor names are read. The position table is computed for
    `num_frames` and `image_size` (pixels), 16 and 224 by default.

    Raises:
        CheckpointError: the file does not hold a complete encoder of this family.
    """
    by_hub = any(name.endswith(HUB_MARK) for name in state.tensors)
    state, form, labels = _of_hub(state) if by_hub else _official(state)
    card = Card(licence="CC-BY-NC-4.0 (VideoMAE) or MIT (v2)", labels=labels)
    return _fused_qkv(state), form, card


@family
def mvd(state: StoredEncoder) -> tuple[StoredEncoder, Form, Card]:
    """Masked Video Distillation: the student of a pretraining file, or a fine-tuned file.

    A different `num_frames` or `image_size` (pixels) than the file's recomputes the position table.

    Raises:
        CheckpointError: the file does not hold a complete encoder of this family.
    """
    if any(name.startswith(("encoder.", "decoder.")) for name in state.tensors):
        raise CheckpointError(
            f"{state.where} is a VideoMAE pretraining file (encoder.*); open it as videomae:FILE."
        )
    pooled, labels = _classified(state)
    state, parts = leave_out(state, {**MVD_DECODERS, **CLASSIFIER})
    form = Form(positions="sincos_time_column_row", final_norm=not pooled)
    card = Card(labels="none" if "the decoders" in parts else labels)
    return _fused_qkv(state), form, card


def _official(state: StoredEncoder) -> tuple[StoredEncoder, Form, Labels]:
    """Find the encoder under VideoMAE's own names."""
    if any(name.startswith(MVD_MARKS) for name in state.tensors):
        raise CheckpointError(
            f"{state.where} is an MVD pretraining file (two decoders); open it as mvd:FILE."
        )
    if any(name.startswith(("encoder.", "decoder.")) for name in state.tensors):
        state, _ = leave_out(state, DECODER)
        tensors = renamed(state.tensors, [(r"encoder\.(.+)", r"\1")], state.where)
        return replace(state, tensors=tensors), Form(positions="sinusoid_1d"), "none"
    pooled, labels = _classified(state)
    state, _ = leave_out(state, CLASSIFIER)
    return state, Form(positions="sinusoid_1d", final_norm=not pooled), labels


def _of_hub(state: StoredEncoder) -> tuple[StoredEncoder, Form, Labels]:
    """Find the encoder under the names of transformers, v4 and v5."""
    refuse_other_facts(state.config, {"hidden_act": "gelu"}, state.where)
    if not isinstance(size := state.config.get("image_size", 0), int):
        raise CheckpointError(
            f"{state.where}: its config.json has image_size {size}, and only square images (one"
            " number) are supported; give a model for square images."
        )
    has_decoder = "mask_token" in state.tensors
    pooled, labels = _classified(state)
    form = Form(
        positions="sinusoid_1d",
        # For a bare model only config.json records whether tokens are normed.
        final_norm=not (pooled or state.config.get("use_mean_pooling", False)),
        layer_norm_eps=float(state.config.get("layer_norm_eps", HUB_EPS)),
    )
    if has_decoder and not any(HUB_NORM in name for name in state.tensors):
        form = replace(form, final_norm=False)
    state, _ = leave_out(state, {**DECODER, **CLASSIFIER})
    tensors = renamed(state.tensors, HUB_NAMES, state.where)
    return replace(state, tensors=tensors), form, "none" if has_decoder else labels


def _classified(state: StoredEncoder) -> tuple[bool, Labels]:
    """Return whether tokens are averaged before the norm, and which labels training used."""
    names = state.tensors.keys()
    has_head = bool({"head.weight", "classifier.weight"} & names)
    return "fc_norm.weight" in names, "all" if has_head else "unknown"


def _fused_qkv(state: StoredEncoder) -> StoredEncoder:
    """Fuse the weights of queries, keys and values of every block, as in `VideoViT`."""
    biases = [n for n in state.tensors if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.bias", n)]
    if biases:
        raise CheckpointError(
            f"{state.where} has fused biases ({shortened(biases)}), but this family has q_bias and"
            " v_bias, so it is another ViT, such as V-JEPA 2's; open it as its own family."
        )
    tensors = dict(state.tensors)
    for name, bias in state.tensors.items():
        match = re.fullmatch(r"(blocks\.\d+\.attn\.)q_bias", name)
        if match and getattr(tensors.get(f"{match[1]}v_bias"), "shape", None) == bias.shape:
            tensors.setdefault(f"{match[1]}k_bias", torch.zeros_like(bias))  # keys have none
    pattern = r"(blocks\.\d+\.attn\.)(?P<part>[qkv])[._](weight|bias)"
    return replace(state, tensors=fuse_qkv(tensors, pattern, r"\1qkv.\3"))
