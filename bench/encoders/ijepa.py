"""I-JEPA image encoders (arXiv 2301.08243): the released ones by name, any other by its file.

Clips are encoded frame by frame. Tensor names are those of V-JEPA without `backbone.`; the patch
embedding is 2-D, and in the fixed position table the column code comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.image_vit import ImageViT
from bench.encoders.networks.positions import sincos_2d
from bench.encoders.networks.sizes import IJEPA_RELEASED, NO_CARD, Released, size_of_width
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import (
    TARGET,
    Network,
    check_promised,
    complete,
    load_network,
    register_released,
    stem,
)
from bench.encoders.weights.architecture import TABLE_TOLERANCE, Request, agree, body_of, heads_of
from bench.encoders.weights.checkpoints import fetch, read_tensors
from bench.encoders.weights.held_tensors import StoredEncoder, widened
from bench.encoders.weights.layouts import encoder_of
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError, UsageError

__all__ = ["IJEPA_RELEASED", "ijepa"]

DEFAULT_FRAMES = 16


@registry.encoder
def ijepa(
    *,
    weights: str,
    key: str = TARGET,
    drop: tuple[str, ...] = (),
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int = DEFAULT_FRAMES,
    image_size: int | None = None,
    patch_size: int | None = None,
) -> Encoder:
    """Any I-JEPA encoder from a checkpoint or a state dict; clips are encoded frame by frame.

    Everything except the number of heads is read from the tensors, and options are checked against
    them. A different `image_size` (pixels) than the file's recomputes the position table. `key` and
    `drop` are as in `vjepa`.

    Raises:
        CheckpointError: the file does not hold the complete encoder that was requested.
    """
    request = Request(
        depth=depth, num_heads=num_heads, image_size=image_size, patch_size=patch_size
    )
    return _opened(weights, f"ijepa:{stem(weights)}", Pick(key=key, drop=drop), request, num_frames)


def _released(name: str) -> Callable[..., Encoder]:
    def released(
        *,
        weights: str | None = None,
        key: str = TARGET,
        drop: tuple[str, ...] = (),
        num_frames: int = DEFAULT_FRAMES,
        image_size: int | None = None,
    ) -> Encoder:
        published = IJEPA_RELEASED[name]
        promised = published.architecture
        request = Request.like(promised, image_size=image_size, patch_size=promised.patch_size)
        pick, source = Pick(key=key, drop=drop), weights or published.address
        return _opened(source, name, pick, request, num_frames, published)

    return released


register_released(IJEPA_RELEASED, _released)


def _opened(
    weights: str,
    name: str,
    pick: Pick,
    request: Request,
    num_frames: int,
    published: Released | None = None,
) -> Encoder:
    if num_frames < 1:
        raise UsageError(f"{name}: num_frames {num_frames} must be at least 1.")
    path = fetch(weights)
    tensors, notes = encoder_of(read_tensors(path), pick, str(path), _check_image_network)
    file = widened(StoredEncoder(where=str(path), tensors=tensors, notes=notes))
    if published is not None:
        file = replace(file, where=f"{file.where} (opened as {name})")
    stored = _stored_architecture(file.tensors, request, file.where)
    built = stored.changed(image_size=request.image_size)
    network = Network(kind=ImageViT, file=file, stored=stored, built=built)
    complete(network)
    if published is not None:
        check_promised(network, published.architecture, f"ijepa:{weights}")
    file = replace(file, notes=(*file.notes, *_table_notes(network)))
    card = NO_CARD if published is None else published.card
    encoder = load_network(replace(network, file=file), name=name, source=weights, card=card)
    spec = replace(encoder.spec, takes="image", num_frames=num_frames)
    return Encoder(FrameByFrame(encoder.network, spec), spec, notes=encoder.notes)


def _check_image_network(tensors: Tensors, networks: Mapping[str, Any], where: str) -> None:
    kernel = tensors.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 5:
        raise CheckpointError(
            f"{where} holds a video encoder (tubelets of {kernel.shape[2]} frames), not an I-JEPA"
            " image encoder; open it as vjepa:FILE or vjepa2:FILE."
        )
    if "pos_embed" not in tensors:
        raise CheckpointError(
            f"{where} has no fixed position table (pos_embed), so it is not a complete I-JEPA"
            " file; give a complete I-JEPA checkpoint."
        )


def _stored_architecture(tensors: Tensors, request: Request, where: str) -> VitArchitecture:
    kernel = tensors.get("patch_embed.proj.weight")
    as_clips = {} if kernel is None else {"patch_embed.proj.weight": kernel.unsqueeze(2)}
    body = body_of({**tensors, **as_clips}, where)
    named = size_of_width(body.width)
    agree(body, request, None, named, where)
    heads = heads_of(body, request, None, named, where)
    side = math.isqrt(body.num_tokens)
    if side * side != body.num_tokens:
        raise CheckpointError(
            f"{where}: its position table has {body.num_tokens} tokens, which is not a square"
            " grid (I-JEPA has no class token); give an I-JEPA checkpoint."
        )
    return body.architecture(num_heads=heads, num_frames=1, image_size=side * body.patch_size)


def _table_notes(network: Network) -> tuple[str, ...]:
    """Return notes on a table that was rebuilt, or is not the I-JEPA one."""
    file, stored, built = network.file, network.stored, network.built
    table = sincos_2d(stored.width, stored.grid[1:], column_first=True)
    off = float((table - file.tensors["pos_embed"][0]).abs().max())
    if off > max(TABLE_TOLERANCE, file.rounding):
        if built == stored:
            return ("the file's position table is not the sin-cos one; it is used as stored",)
        raise CheckpointError(
            f"{file.where}: its position table is not the I-JEPA one, so it cannot be rebuilt for"
            f" {built.image_size} pixels; leave image_size out ({stored.image_size})."
        )
    if built == stored:
        return ()
    return (
        f"position table rebuilt for {built.image_size} pixels; the file's is for"
        f" {stored.image_size}",
    )
