"""Build the shared video ViT from the tensors of a VideoMAE-like file, all of them or refuse.

Width, depth, patch, tubelet and MLP width are shapes. The number of heads is that of the published
sizes, or said. These families compute their position tables; where a file holds one, it must be
that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.encoders.encoder import Encoder
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.table_vit import Form, TableViT, position_table
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import vit_spec
from bench.encoders.weights.architecture import TABLE_TOLERANCE, Asked
from bench.encoders.weights.checkpoints import check_coverage, load_all, shortened
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError
from bench.types import Card

SIZES = {
    VIT_SIZES[name].width: (name, VIT_SIZES[name])
    for name in ("vit_small", "vit_base", "vit_large", "vit_huge", "vit_giant")
}
PUBLISHED_FRAMES, PUBLISHED_PIXELS = 16, 224


@dataclass(frozen=True, kw_only=True)
class Found:
    """An encoder in a file: tensors named as `VideoViT` names them, its stored table apart.

    `config` are the hub's facts beside it, `rounding` the error of the stored precision on numbers
    up to 1.
    """

    where: str
    tensors: Tensors
    table: torch.Tensor | None
    form: Form
    config: Mapping[str, Any]
    notes: tuple[str, ...]
    rounding: float


def build_encoder(found: Found, asked: Asked, *, name: str, source: str, card: Card) -> Encoder:
    """Return the encoder with every tensor loaded, at the asked number of frames and pixels.

    Raises:
        CheckpointError: tensors that are missing, unknown or of another shape, or facts that
            contradict each other.
    """
    held = _architecture(found, asked)
    wanted = replace(
        held,
        num_frames=asked.num_frames or held.num_frames,
        image_size=asked.image_size or held.image_size,
    )
    with torch.device("meta"):
        network = TableViT(wanted, found.form)
    computed = {"pos_embed": network.pos_embed, "layer_norm_eps": network.layer_norm_eps}
    stored = {n: t for n, t in network.state_dict().items() if n not in computed}
    check_coverage(stored, found.tensors, found.where)
    load_all(network, {**found.tensors, **computed}, found.where)
    notes = list(found.notes)
    if (wanted.num_frames, wanted.image_size) != (PUBLISHED_FRAMES, PUBLISHED_PIXELS):
        notes.append(
            f"position table computed for {wanted.num_frames} frames at {wanted.image_size}"
            f" pixels; published encoders of this family have {PUBLISHED_FRAMES} at"
            f" {PUBLISHED_PIXELS}"
        )
    named = SIZES.get(held.width)
    if named and named[1].num_heads != held.num_heads:
        notes.append(f"{held.num_heads} heads as asked; {named[0]} has {named[1].num_heads}")
    spec = replace(vit_spec(network, name=name, source=source), card=card)
    return Encoder(network, spec, notes=notes)


def _architecture(found: Found, asked: Asked) -> VitArchitecture:
    tensors, where = found.tensors, found.where
    needed = ("patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{where} does not hold {', '.join(missing)} (it holds {shortened(sorted(tensors))}),"
            " so it is no complete encoder of this family; give the whole checkpoint."
        )
    kernel, fc1 = (tuple(tensors[name].shape) for name in needed)
    if len(kernel) != 5 or kernel[1] != 3 or kernel[3] != kernel[4] or len(fc1) != 2:
        raise CheckpointError(
            f"{where}: patch_embed.proj.weight has the shape {list(kernel)}; a video ViT has"
            " [width, 3, tubelet, patch, patch]"
            f"{' (this one is for single images)' if len(kernel) == 4 else ''}."
        )
    numbers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    gaps = [f"blocks.{i}.*" for i in range(len(numbers)) if i not in numbers]
    if gaps:
        raise CheckpointError(
            f"{where} is incomplete: it lacks {shortened(gaps)} (its last block is"
            f" {max(numbers)}); give the complete file."
        )
    width, depth = kernel[0], len(numbers)
    _check_depth(width, depth, asked, found)
    frames, pixels = _clip(found, asked, patch=kernel[3], tubelet=kernel[2])
    return VitArchitecture(
        width=width,
        depth=depth,
        num_heads=_heads(width, asked, found),
        mlp_ratio=fc1[0] / width,
        patch_size=kernel[3],
        tubelet_size=kernel[2],
        num_frames=frames,
        image_size=pixels,
    )


def _check_depth(width: int, depth: int, asked: Asked, found: Found) -> None:
    named = SIZES.get(width)
    said = found.config.get("num_hidden_layers") if asked.depth is None else asked.depth
    if said is not None and said != depth:
        raise CheckpointError(
            f"{found.where} has depth {depth}, but {said} was"
            f" {'asked' if asked.depth is not None else 'written in config.json'}; give the"
            " complete file, or leave the option out."
        )
    if said is None and named is not None and named[1].depth != depth:
        raise CheckpointError(
            f"{found.where} has {depth} blocks of width {width}, where {named[0]} has"
            f" {named[1].depth}: is it complete? If it is, say --set encoder.depth={depth}."
        )


def _heads(width: int, asked: Asked, found: Found) -> int:
    recorded = found.config.get("num_attention_heads")
    if recorded and asked.num_heads not in (None, recorded):
        raise CheckpointError(
            f"{found.where} was written with num_heads {recorded}, but {asked.num_heads} was"
            " asked; leave the option out."
        )
    named = SIZES.get(width)
    heads = asked.num_heads or recorded or (named[1].num_heads if named else None)
    if heads is None:
        raise CheckpointError(
            f"{found.where}: the number of attention heads cannot be read off the tensors (width"
            f" {width} is no published size); say --set encoder.num_heads=N."
        )
    if width % heads:
        raise CheckpointError(
            f"{found.where}: width {width} cannot be split over num_heads {heads}; say the number"
            " it was trained with."
        )
    return int(heads)


def _clip(found: Found, asked: Asked, *, patch: int, tubelet: int) -> tuple[int, int]:
    """Return (frames, pixels) of the clips of the file: as recorded, stored, asked or published."""
    config = found.config
    if config.get("num_frames") and config.get("image_size"):
        return int(config["num_frames"]), int(config["image_size"])
    wanted = (asked.num_frames or PUBLISHED_FRAMES, asked.image_size or PUBLISHED_PIXELS)
    if found.table is None:
        return wanted
    possible = _stored_clips(found.table, found, patch=patch, tubelet=tubelet)
    published = (PUBLISHED_FRAMES, PUBLISHED_PIXELS)
    for clip in (published, wanted):
        if clip in possible:
            return clip
    if len(possible) == 1:
        return possible[0]
    options = "; ".join(
        f"--set encoder.num_frames={frames} --set encoder.image_size={pixels}"
        for frames, pixels in possible
    )
    raise CheckpointError(
        f"{found.where}: its position table ({found.table.shape[1]} tokens)"
        + (
            f" is that of several clips; say which: {options}."
            if possible
            else " is not the one that this family computes; encoders with a learned table are not"
            " read."
        )
    )


def _stored_clips(
    table: torch.Tensor, found: Found, *, patch: int, tubelet: int
) -> list[tuple[int, int]]:
    """List (frames, pixels) of the square clips whose computed table is the stored one."""
    width = found.tensors["patch_embed.proj.weight"].shape[0]
    if table.ndim != 3 or table.shape[0] != 1 or table.shape[2] != width:
        raise CheckpointError(
            f"{found.where}: pos_embed {list(table.shape)} does not go with the width {width} of"
            " patch_embed.proj.weight; the file is mixed up."
        )
    tokens = table.shape[1]
    tolerance = max(TABLE_TOLERANCE, found.rounding)
    fitting = []
    for side in range(math.isqrt(tokens), 0, -1):
        if tokens % (side * side) == 0:
            grid = (tokens // (side * side), side, side)
            computed = position_table(found.form.positions, width, grid)
            off = float((computed - table[0]).abs().max())
            if off <= tolerance:
                fitting.append((grid[0] * tubelet, side * patch))
    return fitting
