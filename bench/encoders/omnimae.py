"""OmniMAE encoders (arXiv 2206.08356): one ViT for images and videos, from the released files.

Layout: a bare state dict `trunk.*` and `head.*`; the patch embedding is the second layer of a
sequence (`trunk.patch_embed.proj.1`), the 1-D sinusoid table is stored, pretraining files add
`trunk.decoder.*` and `trunk.mask_token`. A still is one tubelet of two equal frames with the codes
of the table's first time step. The trunk's norm is applied to every token, as in the released
`last_all` features; the released classifiers average tokens before it.
"""

from __future__ import annotations

from dataclasses import replace

from bench.encoders.family_vit import family
from bench.encoders.networks.table_vit import Form
from bench.encoders.weights.family_files import leave_out
from bench.encoders.weights.held_tensors import StoredEncoder
from bench.encoders.weights.state_dicts import renamed
from bench.errors import CheckpointError
from bench.types import Card

PARTS = {"the decoder": r"trunk\.(decoder\.|mask_token$)", "the head": r"head\.(weight|bias)$"}
NAMES = ((r"trunk\.patch_embed\.proj\.1\.(\w+)", r"patch_embed.proj.\1"), (r"trunk\.(.+)", r"\1"))
FORM = Form(positions="sinusoid_1d", first_moment=True)
LICENCE = "CC-BY-NC-4.0"


@family
def omnimae(state: StoredEncoder) -> tuple[StoredEncoder, Form, Card]:
    """OmniMAE from a checkpoint, pretrained or fine-tuned.

    A different `num_frames` or `image_size` (pixels) than the file's recomputes the position table.

    Raises:
        CheckpointError: the file does not hold a complete encoder of this family.
    """
    if not any(name.startswith("trunk.") for name in state.tensors):
        raise CheckpointError(
            f"{state.where} has no trunk.*, so it is not OmniMAE; open VideoMAE as videomae:FILE."
        )
    state, parts = leave_out(state, PARTS)
    state = replace(state, tensors=renamed(state.tensors, NAMES, state.where), config={})
    if "pos_embed" not in state.tensors:
        raise CheckpointError(
            f"{state.where} has no trunk.pos_embed; give the complete OmniMAE file."
        )
    card = Card(licence=LICENCE, labels="none" if "the decoder" in parts else "unknown")
    return state, FORM, card
