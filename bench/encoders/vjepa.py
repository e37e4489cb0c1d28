"""V-JEPA encoders (arXiv 2404.08471): the released ones by name, any other by its file.

Evaluation reads the target (EMA) encoder, as the released evaluation does; unlike there, a file
without it is refused instead of giving the online encoder, and no tensor may be missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Literal

import torch

from bench import registry
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.named import run_notes, step_of_run
from bench.encoders.networks.rotary_vit import RotaryViT
from bench.encoders.networks.sizes import NO_CARD, RELEASED, VIT_SIZES, size_of_width
from bench.encoders.networks.video_vit import VideoViT, VitArchitecture
from bench.encoders.weights.architecture import TABLE_TOLERANCE, Asked, architecture_of
from bench.encoders.weights.checkpoints import check_coverage, fetch, load_all
from bench.encoders.weights.encoder_folder import save_encoder
from bench.encoders.weights.layouts import read_held, save_released
from bench.encoders.weights.state_dicts import Tensors
from bench.errors import CheckpointError, UsageError
from bench.types import Card, EncoderSpec

__all__ = ["RELEASED", "VIT_SIZES", "save_encoder", "save_released", "vjepa"]

Key = Literal["target_encoder", "encoder"]


@registry.encoder
def vjepa(
    *,
    weights: str,
    key: Key = "target_encoder",
    depth: int | None = None,
    num_heads: int | None = None,
    num_frames: int | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    tubelet_size: int | None = None,
    uniform_power: bool | None = None,
    still_frames: int | None = None,
) -> Encoder:
    """Any V-JEPA encoder from a checkpoint, a state dict or a folder saved here.

    Everything but the number of heads is read off the tensors; what is given is checked against
    them. Another `num_frames` or `image_size` (pixels) than the file's builds the encoder at that
    size with a fresh position table, as the released evaluation does. Of a still it sees
    `still_frames` copies (`num_frames` unless said, as released; the paper finds 2 enough).

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
        uniform_power=uniform_power,
    )
    network = read_network(weights, key, asked)
    network = replace(network, notes=(*network.notes, *run_notes(weights)))
    encoder = load_network(network, name=f"vjepa:{stem(weights)}", source=weights)
    return with_still_frames(encoder, still_frames)


@registry.encoder
def vjepa_vitl16(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
) -> Encoder:
    """V-JEPA ViT-L/16, 16 frames of 224 pixels, pretrained on VideoMix2M, as published."""
    return _released("vjepa_vitl16", weights, key, num_frames, image_size, still_frames)


@registry.encoder
def vjepa_vith16(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
) -> Encoder:
    """V-JEPA ViT-H/16, 16 frames of 224 pixels, pretrained on VideoMix2M, as published."""
    return _released("vjepa_vith16", weights, key, num_frames, image_size, still_frames)


@registry.encoder
def vjepa_vith16_384(
    *,
    weights: str | None = None,
    key: Key = "target_encoder",
    num_frames: int | None = None,
    image_size: int | None = None,
    still_frames: int | None = None,
) -> Encoder:
    """V-JEPA ViT-H/16, 16 frames of 384 pixels, pretrained on VideoMix2M, as published."""
    return _released("vjepa_vith16_384", weights, key, num_frames, image_size, still_frames)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A complete network as a file holds it: `held`, and as it is to be built: `built`."""

    where: str
    held: VitArchitecture
    built: VitArchitecture
    tensors: Tensors
    notes: tuple[str, ...]
    is_floor: bool


def read_network(weights: str, key: str, asked: Asked, opened_as: str = "") -> Network:
    """Fetch `weights` and find the complete encoder in them; its tensors are not yet in a module.

    Raises:
        CheckpointError: see `fetch`, `read_held`, `architecture_of` and `check_coverage`.
    """
    content = read_held(fetch(weights), key)
    where = content.where + opened_as
    tolerance = max(TABLE_TOLERANCE, content.rounding)
    held, built, table_notes = architecture_of(
        content.tensors, asked, where, recorded=content.architecture, tolerance=tolerance
    )
    check_coverage(_empty(held).state_dict(), content.tensors, where)
    notes = [*content.notes, *table_notes]
    named = size_of_width(held.width)
    if named and named[1].num_heads != held.num_heads and content.architecture is None:
        notes.append(f"{held.num_heads} heads as asked; {named[0]} has {named[1].num_heads}")
    return Network(
        where=where,
        held=held,
        built=built,
        tensors=content.tensors,
        notes=tuple(notes),
        is_floor=content.is_floor,
    )


def load_network(network: Network, *, name: str, source: str, card: Card = NO_CARD) -> Encoder:
    """Return the encoder that `read_network` found, with every tensor of it loaded."""
    vit = _empty(network.built)
    tensors = dict(network.tensors)
    if network.built != network.held:
        tensors["pos_embed"] = vit.pos_embed
    load_all(vit, tensors, network.where)
    spec = vit_spec(vit, name=name, source=source, is_floor=network.is_floor, card=card)
    return Encoder(vit, spec, notes=network.notes)


def check_promised(
    held: VitArchitecture,
    promised: VitArchitecture,
    where: str,
    as_it_is: str,
    *,
    unseen: Sequence[str] = (),
) -> None:
    """Raise `CheckpointError` unless a file holds the network that its name promises.

    `as_it_is` opens the file without a promise; `unseen` are fields that tensors do not tell.
    """
    differences = [
        f"{f.name} {getattr(held, f.name)} instead of {getattr(promised, f.name)}"
        for f in fields(promised)
        if f.name not in unseen and getattr(held, f.name) != getattr(promised, f.name)
    ]
    if differences:
        raise CheckpointError(
            f"{where} is another encoder: {', '.join(differences)}; name the right file, or open"
            f" it as what it is: --encoder {as_it_is}."
        )


def vit_spec(
    network: VideoViT | RotaryViT,
    *,
    name: str,
    source: str,
    is_floor: bool = False,
    card: Card = NO_CARD,
) -> EncoderSpec:
    """Return the spec of a video ViT."""
    a = network.architecture
    return EncoderSpec(
        name=name,
        width=a.width,
        depth=a.depth,
        num_heads=a.num_heads,
        num_frames=a.num_frames,
        image_size=a.image_size,
        patch_size=a.patch_size,
        tubelet_size=a.tubelet_size,
        source=source,
        num_parameters=num_trainable(network),
        card=card,
        is_floor=is_floor,
    )


def with_still_frames(encoder: Encoder, still_frames: int | None) -> Encoder:
    """Return the encoder as one that sees so many copies of a still, if a number is given.

    Raises:
        UsageError: a number that tubelets do not divide.
    """
    tubelet = encoder.spec.tubelet_size
    if still_frames is None:
        return encoder
    if still_frames < 1 or still_frames % tubelet:
        raise UsageError(
            f"{encoder.spec.name}: still_frames {still_frames} is no multiple of tubelet_size"
            f" {tubelet}; give a value that fits."
        )
    spec = replace(encoder.spec, still_frames=still_frames)
    return Encoder(encoder.network, spec, notes=encoder.notes)


def stem(weights: str) -> str:
    """Return the short name of a weight file: no folders, no query, no suffixes that say format.

    An evaluation folder of a pretraining run is named with its run: `RUN-step_000000200`.
    """
    if step := step_of_run(weights):
        return "-".join(step)
    name = PurePosixPath(weights.split("?")[0].replace("\\", "/")).name
    for suffix in (".tar", ".pth", ".pt", ".safetensors"):
        name = name.removesuffix(suffix)
    return name


def _released(
    name: str,
    weights: str | None,
    key: str,
    num_frames: int | None,
    image_size: int | None,
    still_frames: int | None,
) -> Encoder:
    released = RELEASED[name]
    promised = released.architecture
    source = weights or released.address
    asked = Asked(
        depth=promised.depth,
        num_heads=promised.num_heads,
        num_frames=num_frames,
        image_size=image_size,
    )
    network = read_network(source, key, asked, opened_as=f" (opened as {name})")
    check_promised(network.held, promised, network.where, f"vjepa:{source}")
    encoder = load_network(network, name=name, source=source, card=released.card)
    return with_still_frames(encoder, still_frames)


def _empty(architecture: VitArchitecture) -> VideoViT:
    """A network without memory for its weights (its position table is real)."""
    with torch.device("meta"):
        return VideoViT(architecture)
