"""Named sizes of video ViTs, and the released files of V-JEPA, V-JEPA 2 and I-JEPA.

arXiv 2404.08471 (Table 7), 2506.09985 and 2301.08243.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.encoders.networks.video_vit import VitArchitecture
from bench.types import Card

# The released "gigantic" factory misspells its MLP ratio, which therefore stays 4.
VIT_SIZES: Mapping[str, VitArchitecture] = {
    "vit_digits": VitArchitecture(
        width=96, depth=4, num_heads=3, patch_size=8, num_frames=8, image_size=48
    ),
    "vit_tiny": VitArchitecture(width=192, depth=12, num_heads=3),
    "vit_small": VitArchitecture(width=384, depth=12, num_heads=6),
    "vit_base": VitArchitecture(width=768, depth=12, num_heads=12),
    "vit_large": VitArchitecture(width=1024, depth=24, num_heads=16),
    "vit_huge": VitArchitecture(width=1280, depth=32, num_heads=16),
    "vit_giant": VitArchitecture(width=1408, depth=40, num_heads=16, mlp_ratio=48 / 11),
    "vit_gigantic": VitArchitecture(width=1664, depth=48, num_heads=16, patch_size=14),
}

# V-JEPA 2 keeps 64 channels per head in its two largest sizes; its evaluations take 16 frames.
VJEPA2_SIZES: Mapping[str, VitArchitecture] = {
    **{
        name: replace(VIT_SIZES[name], image_size=256)
        for name in ("vit_tiny", "vit_small", "vit_base", "vit_large", "vit_huge")
    },
    "vit_giant": replace(VIT_SIZES["vit_giant"], num_heads=22, image_size=256),
    "vit_gigantic": replace(VIT_SIZES["vit_gigantic"], num_heads=26, patch_size=16, image_size=256),
}

NO_CARD = Card()


@dataclass(frozen=True, kw_only=True)
class Released:
    """A published encoder: architecture, download address, card and a sentence about it."""

    architecture: VitArchitecture
    address: str
    card: Card = NO_CARD
    about: str = ""


_BASE = "https://dl.fbaipublicfiles.com"
_VIDEOS = ("k400", "k600", "k700", "ssv2", "howto100m")
_VIDEO_MIX_2M = Card(licence="CC BY-NC 4.0", trained_on=_VIDEOS, labels="none")
_VIDEO_MIX_22M = Card(licence="MIT", trained_on=(*_VIDEOS, "yt-temporal-1b", "in1k"), labels="none")

RELEASED: Mapping[str, Released] = {
    name: Released(
        architecture=replace(VIT_SIZES[size], image_size=pixels),
        address=f"{_BASE}/jepa/{file}/{file}.pth.tar",
        card=_VIDEO_MIX_2M,
        about=f"V-JEPA {title}, 16 frames of {pixels} pixels, pretrained on VideoMix2M, as"
        " published.",
    )
    for name, title, size, pixels, file in (
        ("vjepa_vitl16", "ViT-L/16", "vit_large", 224, "vitl16"),
        ("vjepa_vith16", "ViT-H/16", "vit_huge", 224, "vith16"),
        ("vjepa_vith16_384", "ViT-H/16", "vit_huge", 384, "vith16-384"),
    )
}

VJEPA2_RELEASED: Mapping[str, Released] = {
    name: Released(
        architecture=replace(VJEPA2_SIZES[size], image_size=pixels),
        address=f"{_BASE}/vjepa2/{file}.pt",
        card=_VIDEO_MIX_22M,
        about=f"V-JEPA 2 {title} for {pixels} pixels, pretrained on VideoMix22M, as published.",
    )
    for name, title, size, pixels, file in (
        ("vjepa2_vitl16", "ViT-L/16", "vit_large", 256, "vitl"),
        ("vjepa2_vith16", "ViT-H/16", "vit_huge", 256, "vith"),
        ("vjepa2_vitg16", "ViT-g/16", "vit_giant", 256, "vitg"),
        ("vjepa2_vitg16_384", "ViT-g/16", "vit_giant", 384, "vitg-384"),
    )
}

_IMAGENETS = {"in1k": "ImageNet-1k", "in22k": "ImageNet-22k"}
IJEPA_RELEASED: Mapping[str, Released] = {
    name: Released(
        architecture=replace(
            VIT_SIZES[size], patch_size=patch, image_size=pixels, num_frames=1, tubelet_size=1
        ),
        address=f"{_BASE}/ijepa/{file}-{epochs}e.pth.tar",
        card=Card(licence="CC BY-NC 4.0", trained_on=(data,), labels="none"),
        about=f"I-JEPA {title}/{patch} of {pixels} pixels, pretrained on {_IMAGENETS[data]} for"
        f" {epochs} epochs, as published.",
    )
    for name, title, size, patch, pixels, data, epochs, file in (
        ("ijepa_in1k_vith14", "ViT-H", "vit_huge", 14, 224, "in1k", 300, "IN1K-vit.h.14"),
        ("ijepa_in1k_vith16_448", "ViT-H", "vit_huge", 16, 448, "in1k", 300, "IN1K-vit.h.16-448px"),
        ("ijepa_in22k_vith14", "ViT-H", "vit_huge", 14, 224, "in22k", 900, "IN22K-vit.h.14"),
        ("ijepa_in22k_vitg16", "ViT-g", "vit_giant", 16, 224, "in22k", 600, "IN22K-vit.g.16"),
    )
}


def size_of_width(
    width: int, sizes: Mapping[str, VitArchitecture] = VIT_SIZES
) -> tuple[str, VitArchitecture] | None:
    """Return the named size of this width, if any (widths are unique)."""
    return next(((n, size) for n, size in sizes.items() if size.width == width), None)
