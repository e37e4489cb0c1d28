"""V-JEPA 2 encoders (arXiv 2506.09985): the released ones by name, any other by its file.

Evaluation reads the target (EMA) encoder, as the released evaluation does. Positions rotate, so
clips of every size are encoded with the same weights, and a file does not tell the size that it was
trained for: at 384 pixels weights of 256 work, and the other way round.
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
    Key,
    Network,
    check_promised,
    complete,
    head_notes,
    load_network,
    register_released,
    stem,
    with_still_frames,
)
from bench.encoders.weights.architecture import Asked, Named, agree, body_of, heads_of
from bench.encoders.weights.checkpoints import fetch
from bench.encoders.weights.vjepa2_layouts import read_rotary
from bench.errors import CheckpointError

__all__ = ["VJEPA2_RELEASED", "read_rotary_network", "vjepa2"]

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
    encoder = load_network(network, name=f"vjepa2:{stem(weights)}", source=weights)
    return with_still_frames(encoder, still_frames)


def _released(name: str) -> Callable[..., Encoder]:
    def released(
        *,
        weights: str | None = None,
        key: Key = "target_encoder",
        num_frames: int | None = None,
        image_size: int | None = None,
        still_frames: int | None = None,
        leftover_table: bool = False,
    ) -> Encoder:
        published = VJEPA2_RELEASED[name]
        promised, source = published.architecture, weights or published.address
        clips = promised.changed(num_frames=num_frames, image_size=image_size)
        asked = Asked.like(clips, num_frames=clips.num_frames, image_size=clips.image_size)
        network = read_rotary_network(
            source,
            key,
            asked,
            leftover_table=leftover_table or weights is None,  # what lies at the address is known
            opened_as=f" (opened as {name})",
        )
        check_promised(network, promised, f"vjepa2:{source}", unseen=("num_frames", "image_size"))
        encoder = load_network(network, name=name, source=source, card=published.card)
        return with_still_frames(encoder, still_frames)

    return released


register_released(VJEPA2_RELEASED, _released)


def read_rotary_network(
    weights: str, key: str, asked: Asked, *, leftover_table: bool = False, opened_as: str = ""
) -> Network:
    """Fetch `weights` and find the complete encoder in them; its tensors are not yet in a module.

    Raises:
        CheckpointError: see `fetch`, `read_rotary`, `agree`, `heads_of` and `check_coverage`.
    """
    content = read_rotary(fetch(weights), key, leftover_table=leftover_table)
    where, recorded = content.where + opened_as, content.architecture
    body = body_of(content.tensors, where, has_table=False)
    named = size_of_width(body.width, VJEPA2_SIZES)
    agree(body, asked, recorded, named, where)
    said = content.config.get("num_attention_heads")
    if said is not None and asked.num_heads not in (None, said):
        raise CheckpointError(
            f"{where}: config.json beside it says num_attention_heads {said}, but"
            f" {asked.num_heads} was asked; leave num_heads out."
        )
    asked = asked if said is None else replace(asked, num_heads=said)
    default = recorded or VJEPA2_SIZES["vit_large"]
    built = body.architecture(
        num_heads=heads_of(body, asked, recorded.num_heads if recorded else None, named, where),
        num_frames=default.num_frames if asked.num_frames is None else asked.num_frames,
        image_size=default.image_size if asked.image_size is None else asked.image_size,
    )
    notes = content.notes
    if recorded is None:
        notes += (*_head_notes(built, asked, named), *_size_notes(built, weights))
    file = replace(content, where=where, notes=notes)
    return complete(Network(kind=RotaryViT, file=file, held=built, built=built))


def _head_notes(built: VitArchitecture, asked: Asked, named: Named) -> tuple[str, ...]:
    notes = head_notes(built, named)
    if not notes and named and named[0] == AMBIGUOUS_SIZE and asked.num_heads is None:
        notes = (
            f"{built.num_heads} heads of 64 channels taken for {named[0]}, which was also defined"
            " with 16: say num_heads if it is that one",
        )
    return notes


def _size_notes(built: VitArchitecture, weights: str) -> tuple[str, ...]:
    """Say if the name of the file speaks of another image size, which its tensors cannot."""
    said = [size for size in (256, 384) if f"-{size}" in weights.split("?")[0]]
    if len(said) == 1 and said[0] != built.image_size:
        return (
            f"the name of the weights says {said[0]} pixels, the encoder takes {built.image_size};"
            " positions rotate, so the tensors do not tell",
        )
    return ()
