"""V-JEPA 2 encoders (arXiv 2506.09985): the released ones by name, any other by its file.

Evaluation reads the target (EMA) encoder, as the released evaluation does. Positions rotate, so
clips of every size are encoded with the same weights, and a file does not tell the size that it was
trained for: at 384 pixels weights of 256 work, and the other way round.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.networks.rotary_vit import RotaryViT
from bench.encoders.networks.sizes import NO_CARD, VJEPA2_RELEASED, VJEPA2_SIZES, size_of_width
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import Key, Network, check_promised, stem, vit_spec, with_still_frames
from bench.encoders.weights.architecture import Asked, agree, body_of, heads_of
from bench.encoders.weights.checkpoints import check_coverage, fetch, load_all
from bench.encoders.weights.vjepa2_layouts import read_rotary
from bench.errors import CheckpointError
from bench.types import Card

__all__ = ["VJEPA2_RELEASED", "load_rotary", "read_rotary_network", "vjepa2"]

AMBIGUOUS_SIZE = "vit_gigantic"  # was defined with two numbers of heads, and never released


@registry.encoder
def vjepa2(
    *,
    weights: str,
    key: Key = "target_encoder",
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    tubelet_size: int | None = None,
    still_frames: int | None = None,
    leftover_table: bool = False,
) -> Encoder:
    """Any V-JEPA 2 encoder from a checkpoint, a state dict, transformers' file or a folder of ours.

    Everything but the number of heads is read off the tensors; what is given is checked against
    them. Clips have `num_frames` frames of `image_size` pixels (16 of 256 unless a folder of ours
    says otherwise). Of a still it sees `still_frames` copies (`num_frames` unless said; released
    are 16, and 18 for ViT-g). `leftover_table` says of a state dict alone that the pos_embed in it
    is unused.

    Raises:
        CheckpointError: a file that does not hold, completely, the encoder that was asked for.
    """
    asked = Asked(
        depth=depth,
        num_heads=num_heads,
        num_frames=num_frames,
        image_size=image_size,
        patch_size=patch_size,
        tubelet_size=tubelet_size,
    )
    network = read_rotary_network(weights, key, asked, leftover_table=leftover_table)
    encoder = load_rotary(network, name=f"vjepa2:{stem(weights)}", source=weights)
    return with_still_frames(encoder, still_frames)


@registry.encoder
def vjepa2_vitl16(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
    leftover_table: bool = False,
) -> Encoder:
    """V-JEPA 2 ViT-L/16 for 256 pixels, pretrained on VideoMix22M, as published."""
    asked = _asked("vjepa2_vitl16", num_frames, image_size)
    return _released("vjepa2_vitl16", weights, key, asked, still_frames, leftover_table)


@registry.encoder
def vjepa2_vith16(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
    leftover_table: bool = False,
) -> Encoder:
    """V-JEPA 2 ViT-H/16 for 256 pixels, pretrained on VideoMix22M, as published."""
    asked = _asked("vjepa2_vith16", num_frames, image_size)
    return _released("vjepa2_vith16", weights, key, asked, still_frames, leftover_table)


@registry.encoder
def vjepa2_vitg16(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
    leftover_table: bool = False,
) -> Encoder:
    """V-JEPA 2 ViT-g/16 for 256 pixels, pretrained on VideoMix22M, as published."""
    asked = _asked("vjepa2_vitg16", num_frames, image_size)
    return _released("vjepa2_vitg16", weights, key, asked, still_frames, leftover_table)


@registry.encoder
def vjepa2_vitg16_384(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
    leftover_table: bool = False,
) -> Encoder:
    """V-JEPA 2 ViT-g/16 for 384 pixels, pretrained on VideoMix22M, as published."""
    asked = _asked("vjepa2_vitg16_384", num_frames, image_size)
    return _released("vjepa2_vitg16_384", weights, key, asked, still_frames, leftover_table)


def read_rotary_network(
    weights: str, key: str, asked: Asked, *, leftover_table: bool = False, opened_as: str = ""
) -> Network:
    """Fetch `weights` and find the complete encoder in them; its tensors are not yet in a module.

    Raises:
        CheckpointError: see `fetch`, `read_rotary`, `agree`, `heads_of` and `check_coverage`.
    """
    held = read_rotary(fetch(weights), key, leftover_table=leftover_table)
    where = held.where + opened_as
    body = body_of(held.tensors, where, has_table=False)
    named = size_of_width(body.width, VJEPA2_SIZES)
    agree(body, asked, held.architecture, named, where)
    recorded = held.architecture
    if held.num_heads is not None and asked.num_heads not in (None, held.num_heads):
        raise CheckpointError(
            f"{where}: config.json beside it says num_attention_heads {held.num_heads}, but"
            f" {asked.num_heads} was asked; leave num_heads out."
        )
    asked = asked if held.num_heads is None else replace(asked, num_heads=held.num_heads)
    default = recorded or VJEPA2_SIZES["vit_large"]
    built = VitArchitecture(
        width=body.width,
        depth=body.depth,
        num_heads=heads_of(body, asked, recorded, named, where),
        mlp_ratio=body.mlp_hidden / body.width,
        patch_size=body.patch_size,
        tubelet_size=body.tubelet_size,
        num_frames=default.num_frames if asked.num_frames is None else asked.num_frames,
        image_size=default.image_size if asked.image_size is None else asked.image_size,
    )
    with torch.device("meta"):
        wanted = RotaryViT(built).state_dict()
    check_coverage(wanted, held.tensors, where)
    notes = held.notes
    if recorded is None:
        notes += (*_head_notes(built, asked, named), *_size_notes(built, weights))
    return Network(
        where=where,
        held=built,
        built=built,
        tensors=held.tensors,
        notes=notes,
        is_floor=held.is_floor,
    )


def load_rotary(network: Network, *, name: str, source: str, card: Card = NO_CARD) -> Encoder:
    """Return the encoder that `read_rotary_network` found, with every tensor of it loaded."""
    with torch.device("meta"):
        vit = RotaryViT(network.built)
    load_all(vit, network.tensors, network.where)
    spec = vit_spec(vit, name=name, source=source, is_floor=network.is_floor, card=card)
    return Encoder(vit, spec, notes=network.notes)


def _asked(name: str, num_frames: int | None, image_size: int | None) -> Asked:
    promised = VJEPA2_RELEASED[name].architecture
    return Asked(
        depth=promised.depth,
        num_heads=promised.num_heads,
        num_frames=promised.num_frames if num_frames is None else num_frames,
        image_size=promised.image_size if image_size is None else image_size,
    )


def _released(
    name: str,
    weights: str | None,
    key: str,
    asked: Asked,
    still_frames: int | None,
    leftover_table: bool,
) -> Encoder:
    released = VJEPA2_RELEASED[name]
    source = weights or released.address
    network = read_rotary_network(
        source,
        key,
        asked,
        leftover_table=leftover_table or weights is None,  # what lies at the address is known
        opened_as=f" (opened as {name})",
    )
    check_promised(
        network.held,
        released.architecture,
        network.where,
        f"vjepa2:{source}",
        unseen=("num_frames", "image_size"),
    )
    encoder = load_rotary(network, name=name, source=source, card=released.card)
    return with_still_frames(encoder, still_frames)


def _head_notes(
    built: VitArchitecture, asked: Asked, named: tuple[str, VitArchitecture] | None
) -> tuple[str, ...]:
    if named and named[1].num_heads != built.num_heads:
        return (f"{built.num_heads} heads as asked; {named[0]} has {named[1].num_heads}",)
    if named and named[0] == AMBIGUOUS_SIZE and asked.num_heads is None:
        return (
            f"{built.num_heads} heads of 64 channels taken for {named[0]}, which was also defined"
            " with 16: say num_heads if it is that one",
        )
    return ()


def _size_notes(built: VitArchitecture, weights: str) -> tuple[str, ...]:
    """Say if the name of the file speaks of another image size, which its tensors cannot."""
    said = [size for size in (256, 384) if f"-{size}" in weights.split("?")[0]]
    if len(said) == 1 and said[0] != built.image_size:
        return (
            f"the name of the weights says {said[0]} pixels, the encoder takes {built.image_size};"
            " positions rotate, so the tensors do not tell",
        )
    return ()
