"""Image encoders of the timm library, frame by frame, with the preprocessing of their own cards.

Vision transformers give their patch tokens and can be tapped after every block; all other networks
(convolutional, hierarchical) give the positions of their last map. Shape letters: B images, H and W
pixels, N tokens of an image, P class and register tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from bench import registry
from bench.data.views.transforms import STILL_FILTERS
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.timm_networks import MapNetwork, PatchNetwork, has_patch_tokens
from bench.encoders.weights.timm_weights import (
    about,
    fresh_network,
    pretrained_card,
    published,
    read_bare,
    with_tensors,
)
from bench.errors import UsageError
from bench.types import Card, EncoderSpec


@registry.encoder
def timm(
    *,
    model: str,
    weights: str | None = None,
    random: bool = False,
    seed: int = 0,
    num_frames: int = 16,
    image_size: int | None = None,
) -> Encoder:
    """Any image model of timm, as timm/NAME.TAG: frame by frame, preprocessing from its card.

    Weights are those that timm publishes for the tag (`NAME.TAG@REVISION` pins the repository), or
    a file of the same tensors, which may hold any classifier or none; every tensor is loaded.
    Random weights from `seed` are had with `random` alone. A clip has `num_frames` frames, which
    become one sequence; a still is seen once. Another `image_size` (pixels) than the card's
    interpolates the positions as timm does.

    Raises:
        UsageError: no such model or tag, or options that it does not take.
        CheckpointError: weights that cannot be had or do not hold the whole network.
    """
    name, _, revision = model.partition("@")
    if random and weights:
        raise UsageError(f"encoder timm/{name}: give weights or random, not both.")
    card = pretrained_card(name)
    notes: tuple[str, ...] = ()
    if random:
        network, source = fresh_network(name, seed), f"random seed {seed}"
    elif weights:
        network, notes = with_tensors(name, *read_bare(weights))
        source = weights
    else:
        network, source = published(name, revision, card)
    return image_encoder(
        network,
        card,
        name=f"timm/{model}",
        source=source,
        notes=notes,
        is_floor=random,
        num_frames=num_frames,
        image_size=image_size,
        about=Card() if random or weights else about(card),
    )


def image_encoder(
    network: nn.Module,
    card: Mapping[str, Any],
    *,
    name: str,
    source: str,
    num_frames: int,
    image_size: int | None,
    about: Card,
    notes: Sequence[str] = (),
    is_floor: bool = False,
) -> Encoder:
    """Return a network of timm as an encoder; `card` is its `pretrained_cfg`, as a mapping.

    Raises:
        UsageError: an image size or a number of frames that it does not take.
    """
    if num_frames < 1:
        raise UsageError(f"encoder {name}: num_frames {num_frames} must be at least 1.")
    native = int(card["input_size"][-1])
    size = native if image_size is None else image_size
    interpolation, geometry = _geometry(card, name)
    _resize(network, card, size, native, name)
    _without_classifier(network)
    patches = has_patch_tokens(network)
    patch_size = int(network.feature_info[-1]["reduction"])  # type: ignore[index]
    if size < patch_size or (size % patch_size and patches):
        raise UsageError(
            f"encoder {name}: image_size {size} is no multiple of its patches of {patch_size}"
            " pixels; give one."
        )
    width = int(network.num_features)  # type: ignore[arg-type]
    spec = EncoderSpec(
        name=name,
        width=width,
        depth=len(network.blocks) if patches else 1,  # type: ignore[arg-type]
        num_heads=_heads(network, width) if patches else max(1, width // 64),
        num_frames=num_frames,
        image_size=size,
        patch_size=patch_size,
        tubelet_size=1,
        source=source,
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        interpolation=interpolation,
        takes="image",
        crop_fraction=float(card["crop_pct"]),
        num_prefix=int(network.num_prefix_tokens) if patches else 0,  # type: ignore[arg-type]
        num_parameters=num_trainable(network),
        card=about,
        is_floor=is_floor,
    )
    kind = PatchNetwork if patches else MapNetwork
    architecture = str(card["architecture"])
    return Encoder(
        FrameByFrame(kind(network, name=architecture, patch_size=patch_size), spec),
        spec,
        notes=(*notes, *geometry),
    )


def _without_classifier(network: nn.Module) -> None:
    try:
        network.reset_classifier(0, "")  # type: ignore[operator]
    except AssertionError:  # some networks know no way to leave their pooling out
        network.reset_classifier(0)  # type: ignore[operator]


def _geometry(card: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """Return the interpolation of stills, and notes where the card asks for what is not done."""
    notes = []
    interpolation = str(card["interpolation"])
    if interpolation not in STILL_FILTERS:
        notes.append(f"stills are resized bicubic; the card of {name} says {interpolation}")
        interpolation = "bicubic"
    if card.get("crop_mode", "center") != "center":
        notes.append(f"the centre of stills is kept; the card of {name} says {card['crop_mode']}")
    return interpolation, tuple(notes)


def _resize(network: nn.Module, card: Mapping[str, Any], size: int, native: int, name: str) -> None:
    if size == native or not card.get("fixed_input_size"):
        return
    resize = getattr(network, "set_input_size", None)
    if resize is None or "img_size" not in inspect.signature(resize).parameters:
        raise UsageError(
            f"encoder {name} takes images of {native} pixels alone; leave image_size out."
        )
    try:
        resize(img_size=(size, size))
    except AssertionError as error:
        raise UsageError(f"encoder {name}: image_size {size} does not fit: {error}.") from error


def _heads(network: nn.Module, width: int) -> int:
    attention = getattr(network.blocks[0], "attn", None)  # type: ignore[index]
    return int(getattr(attention, "num_heads", max(1, width // 64)))
