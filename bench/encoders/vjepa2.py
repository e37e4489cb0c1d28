"""V-JEPA 2 encoders (arXiv 2506.09985): the released ones by name, any other by its file.

Evaluation uses the target (EMA) encoder, as the released evaluation does. Positions are rotary, so
the same weights encode clips of every size, and files do not record the size they were trained for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bench import registry
from bench.encoders.encoder import Encoder
from bench.encoders.networks.rotary_vit import RotaryViT
from bench.encoders.networks.sizes import VJEPA2_RELEASED, VJEPA2_SIZES, size_of_width
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.vjepa import (
    TARGET,
    Network,
    check_promised,
    complete,
    head_notes,
    load_network,
    register_released,
    stem,
    with_still_frames,
)
from bench.encoders.weights.architecture import Named, Request, agree, body_of, heads_of
from bench.encoders.weights.checkpoints import fetch
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.vjepa2_layouts import read_rotary
from bench.errors import CheckpointError

__all__ = ["VJEPA2_RELEASED", "read_rotary_network", "vjepa2"]

AMBIGUOUS_SIZE = "vit_gigantic"  # defined with two different numbers of heads, never released


@registry.encoder
def vjepa2(
    *,
    weights: str,
    key: str = TARGET,
    drop: tuple[str, ...] = (),
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    tubelet_size: int | None = None,
    still_frames: int | None = None,
    leftover_table: bool = False,
) -> Encoder:
    """Any V-JEPA 2 encoder: a checkpoint, a state dict, transformers' file or a folder saved here.

    Everything except the number of heads is read from the tensors, and options are checked against
    them. Clips have `num_frames` frames of `image_size` pixels (16 of 256 by default; a saved
    folder records its own). A still is repeated `still_frames` times (default `num_frames`;
    released: 16, and 18 for ViT-g). `leftover_table` declares the
    pos_embed of a bare state dict unused. `key` and `drop` are as in `vjepa`.

    Raises:
        CheckpointError: the file does not hold the complete encoder that was requested.
    """
    request = Request(
        depth=depth,
        num_heads=num_heads,
        num_frames=num_frames,
        image_size=image_size,
        patch_size=patch_size,
        tubelet_size=tubelet_size,
    )
    pick = Pick(key=key, drop=drop)
    network = read_rotary_network(weights, pick, request, leftover_table=leftover_table)
    encoder = load_network(network, name=f"vjepa2:{stem(weights)}", source=weights)
    return with_still_frames(encoder, still_frames)


def _released(name: str) -> Callable[..., Encoder]:
    def released(
        *,
        weights: str | None = None,
        key: str = TARGET,
        drop: tuple[str, ...] = (),
        num_frames: int | None = None,
        image_size: int | None = None,
        still_frames: int | None = None,
        leftover_table: bool = False,
    ) -> Encoder:
        published = VJEPA2_RELEASED[name]
        promised, source = published.architecture, weights or published.address
        clips = promised.changed(num_frames=num_frames, image_size=image_size)
        request = Request.like(clips, num_frames=clips.num_frames, image_size=clips.image_size)
        network = read_rotary_network(
            source,
            Pick(key=key, drop=drop),
            request,
            leftover_table=leftover_table or weights is None,  # the published file is known
            opened_as=f" (opened as {name})",
        )
        check_promised(network, promised, f"vjepa2:{source}", unseen=("num_frames", "image_size"))
        encoder = load_network(network, name=name, source=source, card=published.card)
        return with_still_frames(encoder, still_frames)

    return released


register_released(VJEPA2_RELEASED, _released)


def read_rotary_network(
    weights: str,
    pick: Pick,
    request: Request,
    *,
    leftover_table: bool = False,
    opened_as: str = "",
) -> Network:
    """Fetch `weights` and find the complete encoder in them, without loading it into a module.

    Raises:
        CheckpointError: see `fetch`, `read_rotary`, `agree`, `heads_of` and `check_coverage`.
    """
    content = read_rotary(fetch(weights), pick, leftover_table=leftover_table)
    where, recorded = content.where + opened_as, content.architecture
    body = body_of(content.tensors, where, has_table=False)
    named = size_of_width(body.width, VJEPA2_SIZES)
    agree(body, request, recorded, named, where)
    heads = content.config.get("num_attention_heads")
    if heads is not None and request.num_heads not in (None, heads):
        raise CheckpointError(
            f"{where}: its config.json has num_attention_heads {heads}, but {request.num_heads} was"
            " requested; leave num_heads out."
        )
    request = request if heads is None else replace(request, num_heads=heads)
    default = recorded or VJEPA2_SIZES["vit_large"]
    built = body.architecture(
        num_heads=heads_of(body, request, recorded.num_heads if recorded else None, named, where),
        num_frames=default.num_frames if request.num_frames is None else request.num_frames,
        image_size=default.image_size if request.image_size is None else request.image_size,
    )
    notes = content.notes
    if recorded is None:
        notes += (*_head_notes(built, request, named), *_size_notes(built, weights))
    file = replace(content, where=where, notes=notes)
    return complete(Network(kind=RotaryViT, file=file, stored=built, built=built))


def _head_notes(built: VitArchitecture, request: Request, named: Named) -> tuple[str, ...]:
    notes = head_notes(built, named)
    if not notes and named and named[0] == AMBIGUOUS_SIZE and request.num_heads is None:
        notes = (
            f"{built.num_heads} heads of 64 channels assumed for {named[0]}, which was also defined"
            " with 16 heads: set num_heads if it is that one",
        )
    return notes


def _size_notes(built: VitArchitecture, weights: str) -> tuple[str, ...]:
    """Return a note if the file name implies another image size, which the tensors do not show."""
    named = [size for size in (256, 384) if f"-{size}" in weights.split("?")[0]]
    if len(named) == 1 and named[0] != built.image_size:
        return (
            f"the name of the weights says {named[0]} pixels, the encoder takes {built.image_size};"
            " positions are rotary, so the tensors do not show it",
        )
    return ()
