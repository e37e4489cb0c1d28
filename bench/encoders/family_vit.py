"""Build the shared video ViT from a VideoMAE-like file; every tensor is loaded, or none.

Width, depth, patch, tubelet and MLP width follow from tensor shapes. The number of heads comes from
the published sizes or from the user. These families compute their position tables; a table stored
in the file must equal the computed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.networks.sizes import VIT_SIZES, size_of_width
from bench.encoders.networks.table_vit import Form, TableViT, position_table
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import head_notes, stem, vit_spec, with_still_frames
from bench.encoders.weights.architecture import (
    TABLE_TOLERANCE,
    Body,
    Request,
    agree,
    body_of,
    clip_options,
    heads_of,
    square_clips,
)
from bench.encoders.weights.checkpoints import check_coverage, load_all, shortened
from bench.encoders.weights.family_files import read_state
from bench.encoders.weights.held_tensors import StoredEncoder
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError
from bench.types import Card

SIZES = {
    name: VIT_SIZES[name]
    for name in ("vit_small", "vit_base", "vit_large", "vit_huge", "vit_giant")
}
PUBLISHED_FRAMES, PUBLISHED_PIXELS = 16, 224
SHAPING = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")


def family(
    find: Callable[[StoredEncoder], tuple[StoredEncoder, Form, Card]],
) -> Callable[..., Encoder]:
    """Register an encoder family under the name and docstring of `find`.

    `find` takes the state dict of a file and returns the encoder's tensors under `VideoViT` names;
    a position table among them must be the one that the form computes.
    """
    name = find.__name__

    def opened(
        *,
        weights: str,
        key: str = "",
        drop: tuple[str, ...] = (),
        depth: int | None = None,
        num_heads: int | None = None,
        num_frames: int | None = None,
        image_size: int | None = None,
    ) -> Encoder:
        file, form, card = find(read_state(weights, name, Pick(key=key, drop=drop)))
        request = Request(
            depth=depth, num_heads=num_heads, num_frames=num_frames, image_size=image_size
        )
        network, notes = _loaded(file, form, request)
        spec = vit_spec(network, name=f"{name}:{stem(weights)}", source=weights, card=card)
        encoder = Encoder(network, spec, notes=notes)
        return with_still_frames(encoder, spec.tubelet_size if form.first_moment else None)

    for part in ("__module__", "__name__", "__doc__"):
        setattr(opened, part, getattr(find, part))
    return registry.encoder(opened)


def _loaded(file: StoredEncoder, form: Form, request: Request) -> tuple[TableViT, tuple[str, ...]]:
    """Return the network with every tensor loaded, for the requested clip size, and notes."""
    tensors = dict(file.tensors)
    table = tensors.pop("pos_embed", None)
    require(tensors, SHAPING, file.where, "encoder of this family")
    body = body_of(tensors, file.where, has_table=False)
    stored = _architecture(body, table, file, form, request)
    wanted = replace(
        stored,
        num_frames=request.num_frames or stored.num_frames,
        image_size=request.image_size or stored.image_size,
    )
    with torch.device("meta"):
        network = TableViT(wanted, form)
    computed = {"pos_embed": network.pos_embed, "layer_norm_eps": network.layer_norm_eps}
    learned = {n: t for n, t in network.state_dict().items() if n not in computed}
    check_coverage(learned, tensors, file.where)
    load_all(network, {**tensors, **computed}, file.where)
    notes = file.notes
    if (wanted.num_frames, wanted.image_size) != (PUBLISHED_FRAMES, PUBLISHED_PIXELS):
        notes += (
            f"position table computed for {wanted.num_frames} frames at {wanted.image_size}"
            f" pixels; published encoders have {PUBLISHED_FRAMES} at {PUBLISHED_PIXELS}",
        )
    return network, notes + head_notes(wanted, size_of_width(wanted.width, SIZES))


def require(tensors: Tensors, needed: Sequence[str], where: str, what: str) -> None:
    """Raise `CheckpointError` if one of the tensors that define the architecture is missing."""
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{where} is not a complete {what}: it has no {', '.join(missing)} (it has"
            f" {shortened(sorted(tensors))}); give the whole checkpoint."
        )


def _architecture(
    body: Body, table: torch.Tensor | None, file: StoredEncoder, form: Form, request: Request
) -> VitArchitecture:
    named, config, where = size_of_width(body.width, SIZES), file.config, file.where
    depth = config.get("num_hidden_layers") if request.depth is None else request.depth
    if depth is not None and depth != body.depth:
        raise CheckpointError(
            f"{where} has depth {body.depth}, not {depth} as"
            f" {'in config.json' if request.depth is None else 'requested'}; give the complete"
            " file, or leave the option out."
        )
    request = replace(request, depth=depth, num_heads=request.num_heads or None)
    agree(body, request, None, named, where)
    frames, pixels = _clip(body, table, file, form, request)
    recorded = config.get("num_attention_heads")
    heads = heads_of(body, request, recorded, named, where, sizes="published")
    return body.architecture(num_heads=int(heads), num_frames=frames, image_size=pixels)


def _clip(
    body: Body, table: torch.Tensor | None, file: StoredEncoder, form: Form, request: Request
) -> tuple[int, int]:
    """Return the (frames, pixels) of the file: as recorded, stored, requested or published."""
    config, where = file.config, file.where
    if config.get("num_frames") and config.get("image_size"):
        return int(config["num_frames"]), int(config["image_size"])
    wanted = (request.num_frames or PUBLISHED_FRAMES, request.image_size or PUBLISHED_PIXELS)
    if table is None:
        return wanted
    if table.ndim != 3 or table.shape[0] != 1 or table.shape[2] != body.width:
        raise CheckpointError(
            f"{where}: pos_embed {list(table.shape)} does not match the width {body.width} of"
            " patch_embed.proj.weight; the file mixes tensors of different networks."
        )
    possible = []
    for frames, pixels in square_clips(replace(body, num_tokens=table.shape[1])):
        side = pixels // body.patch_size
        grid = (frames // body.tubelet_size, side, side)
        off = (position_table(form.positions, body.width, grid) - table[0]).abs().max()
        if float(off) <= max(TABLE_TOLERANCE, file.rounding):
            possible.append((frames, pixels))
    for clip in ((PUBLISHED_FRAMES, PUBLISHED_PIXELS), wanted):
        if clip in possible:
            return clip
    if len(possible) == 1:
        return possible[0]
    raise CheckpointError(
        f"{where}: its position table ({table.shape[1]} tokens)"
        + (
            f" fits several clip sizes; pick one: {clip_options(possible)}."
            if possible
            else " is not the one that this family computes; learned tables are not supported."
        )
    )
