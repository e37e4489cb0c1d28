"""OmniMAE encoders (arXiv 2206.08356): one ViT for images and videos, by its released files.

Layout: a bare state dict `trunk.*` and `head.*`; the patch embedding is the second layer of a
sequence (`trunk.patch_embed.proj.1`), the 1-D sinusoid table is stored, pretraining files have
`trunk.decoder.*` and `trunk.mask_token`. A still is one tubelet, two equal frames, with the codes
of the table's first moment. Tokens go through the trunk's norm one by one, as its released
`last_all` features; its classifiers average before it.
"""

from __future__ import annotations

from dataclasses import replace

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.family_vit import Found, build_encoder
from bench.encoders.networks.table_vit import Form
from bench.encoders.vjepa import stem
from bench.encoders.weights.architecture import Asked
from bench.encoders.weights.family_files import leave_out, read_state
from bench.encoders.weights.state_dicts import renamed
from bench.errors import CheckpointError
from bench.types import Card

PARTS = {"the decoder": r"trunk\.(decoder\.|mask_token$)", "the head": r"head\.(weight|bias)$"}
NAMES = ((r"trunk\.patch_embed\.proj\.1\.(\w+)", r"patch_embed.proj.\1"), (r"trunk\.(.+)", r"\1"))
FORM = Form(positions="sinusoid_1d", first_moment=True)
LICENCE = "CC-BY-NC-4.0"


@registry.encoder
def omnimae(
    *,
    weights: str,
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
) -> Encoder:
    """OmniMAE from a checkpoint, pretrained or fine-tuned.

    Another `num_frames` or `image_size` (pixels) than the file's gets a fresh position table.

    Raises:
        CheckpointError: a file that does not hold, completely, one encoder of this family.
    """
    asked = Asked(depth=depth, num_heads=num_heads, num_frames=num_frames, image_size=image_size)
    state = read_state(weights, "omnimae")
    if not any(name.startswith("trunk.") for name in state.tensors):
        raise CheckpointError(
            f"{state.where} has no trunk.*, so it is not in OmniMAE's layout; if it is VideoMAE's,"
            " open it as videomae:FILE."
        )
    state, parts = leave_out(state, PARTS)
    tensors = renamed(state.tensors, NAMES, state.where)
    if "pos_embed" not in tensors:
        raise CheckpointError(
            f"{state.where} has no trunk.pos_embed, which OmniMAE's files hold; give the complete"
            " file."
        )
    table = tensors.pop("pos_embed")
    found = Found(
        where=state.where,
        tensors=tensors,
        table=table,
        form=FORM,
        config={},
        notes=state.notes,
        rounding=state.rounding,
    )
    card = Card(licence=LICENCE, labels="none" if "the decoder" in parts else "unknown")
    name = f"omnimae:{stem(weights)}"
    encoder = build_encoder(found, asked, name=name, source=weights, card=card)
    return Encoder(
        encoder.network,
        replace(encoder.spec, still_frames=encoder.spec.tubelet_size),
        notes=encoder.notes,
    )
