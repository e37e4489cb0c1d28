"""I-JEPA image encoders (arXiv 2301.08243): the released ones by name, any other by its file.

Clips are encoded frame by frame. Names in files are those of V-JEPA without `backbone.`; the patch
embedding is for single images, and in the fixed position table the column code comes first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.image_vit import ImageViT
from bench.encoders.networks.sizes import IJEPA_RELEASED, NO_CARD, size_of_width
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import Key, check_promised, stem
from bench.encoders.weights.architecture import TABLE_TOLERANCE, Asked, agree, body_of, heads_of
from bench.encoders.weights.checkpoints import check_coverage, fetch, load_all, read_tensors
from bench.encoders.weights.held_tensors import Held, widened
from bench.encoders.weights.layouts import encoder_of
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError, UsageError
from bench.types import Card, EncoderSpec

__all__ = ["IJEPA_RELEASED", "ijepa"]

DEFAULT_FRAMES = 16


@registry.encoder
def ijepa(
    *,
    weights: str,
    key: Key = "target_encoder",
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int = DEFAULT_FRAMES,
    image_size: int | None = None,
    patch_size: int | None = None,
) -> Encoder:
    """Any I-JEPA encoder from a checkpoint or a state dict; frames of a clip are encoded alone.

    Everything but the number of heads is read off the tensors; what is given is checked against
    them. Another `image_size` (pixels) than the file's builds it with a fresh position table.

    Raises:
        CheckpointError: a file that does not hold, completely, the encoder that was asked for.
    """
    asked = Asked(depth=depth, num_heads=num_heads, image_size=image_size, patch_size=patch_size)
    return _opened(weights, f"ijepa:{stem(weights)}", key, asked, num_frames)


@registry.encoder
def ijepa_in1k_vith14(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int = DEFAULT_FRAMES,
    image_size: int | None = None,
) -> Encoder:
    """I-JEPA ViT-H/14 of 224 pixels, pretrained on ImageNet-1k for 300 epochs, as published."""
    return _released("ijepa_in1k_vith14", weights, key, num_frames, image_size)


@registry.encoder
def ijepa_in1k_vith16_448(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int = DEFAULT_FRAMES,
    image_size: int | None = None,
) -> Encoder:
    """I-JEPA ViT-H/16 of 448 pixels, pretrained on ImageNet-1k for 300 epochs, as published."""
    return _released("ijepa_in1k_vith16_448", weights, key, num_frames, image_size)


@registry.encoder
def ijepa_in22k_vith14(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int = DEFAULT_FRAMES,
    image_size: int | None = None,
) -> Encoder:
    """I-JEPA ViT-H/14 of 224 pixels, pretrained on ImageNet-22k for 900 epochs, as published."""
    return _released("ijepa_in22k_vith14", weights, key, num_frames, image_size)


@registry.encoder
def ijepa_in22k_vitg16(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int = DEFAULT_FRAMES,
    image_size: int | None = None,
) -> Encoder:
    """I-JEPA ViT-g/16 of 224 pixels, pretrained on ImageNet-22k for 600 epochs, as published."""
    return _released("ijepa_in22k_vitg16", weights, key, num_frames, image_size)


def _released(
    name: str, weights: str | None, key: str, num_frames: int, image_size: int | None
) -> Encoder:
    released = IJEPA_RELEASED[name]
    promised = released.architecture
    asked = Asked(
        depth=promised.depth,
        num_heads=promised.num_heads,
        image_size=image_size,
        patch_size=promised.patch_size,
    )
    source = weights or released.address
    return _opened(source, name, key, asked, num_frames, promised=promised, card=released.card)


def _opened(
    weights: str,
    name: str,
    key: str,
    asked: Asked,
    num_frames: int,
    *,
    promised: VitArchitecture | None = None,
    card: Card = NO_CARD,
) -> Encoder:
    if num_frames < 1:
        raise UsageError(f"{name}: a clip has at least one frame; num_frames is {num_frames}.")
    path = fetch(weights)
    tensors, notes = encoder_of(read_tensors(path), key, str(path), _check_image_network)
    content = widened(Held(where=str(path), tensors=tensors, notes=notes))
    where = content.where if promised is None else f"{content.where} (opened as {name})"
    held, is_sincos = _held(content.tensors, asked, where, max(TABLE_TOLERANCE, content.rounding))
    if promised is not None:
        check_promised(held, promised, where, f"ijepa:{weights}")
    size = held.image_size if asked.image_size is None else asked.image_size
    built = replace(held, image_size=size)
    with torch.device("meta"):
        network = ImageViT(built)
    loaded = dict(content.tensors)
    if built != held:
        loaded["pos_embed"] = network.pos_embed
    load_all(network, loaded, where)
    table_notes = _table_notes(held, built, is_sincos, where)
    spec = EncoderSpec(
        name=name,
        width=built.width,
        depth=built.depth,
        num_heads=built.num_heads,
        num_frames=num_frames,
        image_size=built.image_size,
        patch_size=built.patch_size,
        tubelet_size=1,
        source=weights,
        takes="image",
        num_parameters=num_trainable(network),
        card=card,
    )
    return Encoder(FrameByFrame(network, spec), spec, notes=(*content.notes, *table_notes))


def _table_notes(
    held: VitArchitecture, built: VitArchitecture, is_sincos: bool, where: str
) -> tuple[str, ...]:
    if is_sincos and built == held:
        return ()
    if is_sincos:
        return (
            f"position table rebuilt for {built.image_size} pixels; the file's is for"
            f" {held.image_size}",
        )
    if built == held:
        return ("the file's position table is not the sin-cos one; it is used as stored",)
    raise CheckpointError(
        f"{where}: its position table is not the I-JEPA one, so it cannot be rebuilt for"
        f" {built.image_size} pixels; leave image_size out ({held.image_size})."
    )


def _check_image_network(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
    kernel = tensors.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 5:
        raise CheckpointError(
            f"{where} holds a video encoder (tubelets of {kernel.shape[2]} frames), and I-JEPA's"
            " are for single images; open it as vjepa:FILE or vjepa2:FILE."
        )
    if "pos_embed" not in tensors:
        raise CheckpointError(
            f"{where} has no fixed position table (pos_embed), so it is no I-JEPA file or half of"
            " one; give a complete I-JEPA checkpoint."
        )


def _held(
    tensors: Tensors, asked: Asked, where: str, tolerance: float
) -> tuple[VitArchitecture, bool]:
    """Return the network in the file, and whether its position table is the I-JEPA one."""
    kernel = tensors.get("patch_embed.proj.weight")
    as_clips = {} if kernel is None else {"patch_embed.proj.weight": kernel.unsqueeze(2)}
    body = body_of({**tensors, **as_clips}, where)
    named = size_of_width(body.width)
    agree(body, asked, None, named, where)
    heads = heads_of(body, asked, None, named, where)
    side = math.isqrt(body.num_tokens)
    if side * side != body.num_tokens:
        raise CheckpointError(
            f"{where}: its position table has {body.num_tokens} tokens, which make no square grid"
            " (I-JEPA has no class token); give an I-JEPA checkpoint."
        )
    held = VitArchitecture(
        width=body.width,
        depth=body.depth,
        num_heads=heads,
        mlp_ratio=body.mlp_hidden / body.width,
        patch_size=body.patch_size,
        tubelet_size=1,
        num_frames=1,
        image_size=side * body.patch_size,
    )
    with torch.device("meta"):
        wanted = ImageViT(held)
    check_coverage(wanted.state_dict(), tensors, where)
    is_sincos = float((wanted.pos_embed - tensors["pos_embed"]).abs().max()) <= tolerance
    return held, is_sincos
