"""Image encoders of the timm library, frame by frame, with the preprocessing of their cards.

Vision transformers return patch tokens and can be tapped after every block; all other networks
(convolutional, hierarchical) return the positions of their last feature map.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from bench import registry
from bench.data.views.transforms import STILL_FILTERS
from bench.encoders.encoder import Encoder, num_trainable
from bench.encoders.networks.adapt import FrameByFrame
from bench.encoders.networks.timm_networks import MapNetwork, PatchNetwork, has_patch_tokens
from bench.encoders.weights.picked import Pick
from bench.encoders.weights.timm_weights import (
    TimmModel,
    fresh,
    pretrained_card,
    published,
    read_bare,
    with_tensors,
)
from bench.errors import UsageError
from bench.types import EncoderSpec


@registry.encoder
def timm(
    *,
    model: str,
    weights: str | None = None,
    key: str = "",
    drop: tuple[str, ...] = (),
    random: bool = False,
    seed: int = 0,
    num_frames: int = 16,
    image_size: int | None = None,
) -> Encoder:
    """Any image model of timm, as timm/NAME.TAG: frame by frame, preprocessing from its card.

    Weights are those that timm publishes for the tag (`NAME.TAG@REVISION` pins the repository), or
    a file with the same tensors and any classifier or none; every tensor is loaded (`key` and
    `drop` as in `vjepa`). `random` draws weights from `seed` instead. The `num_frames` frames of a
    clip become one token sequence; a still is encoded once. A different `image_size` (pixels) than
    the card's interpolates the positions as timm does.

    Raises:
        UsageError: no such model or tag, or options that it does not support.
        CheckpointError: weights that are unavailable or incomplete.
    """
    name, _, revision = model.partition("@")
    if random and weights:
        raise UsageError(f"encoder timm/{name}: give either weights or random, not both.")
    card = pretrained_card(name)
    if not weights and (key or drop):
        raise UsageError(f"encoder timm/{name}: key and drop are for a file; give weights too.")
    if random:
        made = fresh(name, seed)
    elif weights:
        made = with_tensors(name, *read_bare(weights, Pick(key=key, drop=drop)), source=weights)
    else:
        made = published(name, revision, card)
    return image_encoder(made, card, f"timm/{model}", num_frames, image_size)


def image_encoder(
    made: TimmModel, card: Mapping[str, Any], name: str, num_frames: int, image_size: int | None
) -> Encoder:
    """Return a timm model as an encoder; `card` is its `pretrained_cfg`, as a mapping.

    Raises:
        UsageError: an image size or a number of frames that it does not support.
    """
    if num_frames < 1:
        raise UsageError(f"encoder {name}: num_frames {num_frames} must be at least 1.")
    native = int(card["input_size"][-1])
    size = native if image_size is None else image_size
    interpolation, geometry = _geometry(card, name)
    network: Any = made.network
    _resize(network, card, size, native, name)
    try:
        network.reset_classifier(0, "")
    except AssertionError:  # some networks cannot remove their pooling
        network.reset_classifier(0)
    patches = has_patch_tokens(network)
    patch_size = int(network.feature_info[-1]["reduction"])
    if size < patch_size or (size % patch_size and patches):
        raise UsageError(
            f"encoder {name}: image_size {size} must be a multiple of its patch size {patch_size}."
        )
    width = int(network.num_features)
    heads = max(1, width // 64)
    if patches:
        heads = int(getattr(getattr(network.blocks[0], "attn", None), "num_heads", heads))
    spec = EncoderSpec(
        name=name,
        width=width,
        depth=len(network.blocks) if patches else 1,
        num_heads=heads,
        num_frames=num_frames,
        image_size=size,
        patch_size=patch_size,
        tubelet_size=1,
        source=made.source,
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        interpolation=interpolation,
        takes="image",
        crop_fraction=float(card["crop_pct"]),
        num_prefix=int(network.num_prefix_tokens) if patches else 0,
        num_parameters=num_trainable(network),
        card=made.card,
        is_floor=made.is_floor,
    )
    kind = PatchNetwork if patches else MapNetwork
    wrapped = kind(network, spec, identity=f"timm {card['architecture']}")
    return Encoder(FrameByFrame(wrapped, spec), spec, notes=(*made.notes, *geometry))


def _geometry(card: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    """Return the interpolation of stills, and notes on settings of the card that are ignored."""
    notes = []
    interpolation = str(card["interpolation"])
    if interpolation not in STILL_FILTERS:
        notes.append(f"stills are resized bicubic; the card of {name} says {interpolation}")
        interpolation = "bicubic"
    if card.get("crop_mode", "center") != "center":
        notes.append(f"stills are centre-cropped; the card of {name} says {card['crop_mode']}")
    return interpolation, tuple(notes)


def _resize(network: nn.Module, card: Mapping[str, Any], size: int, native: int, name: str) -> None:
    if size == native or not card.get("fixed_input_size"):
        return
    resize = getattr(network, "set_input_size", None)
    if resize is None or "img_size" not in inspect.signature(resize).parameters:
        raise UsageError(
            f"encoder {name} takes only images of {native} pixels; leave image_size out."
        )
    try:
        resize(img_size=(size, size))
    except AssertionError as error:
        raise UsageError(f"encoder {name}: image_size {size} does not fit: {error}.") from error
