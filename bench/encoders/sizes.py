"""Sizes of video ViTs by name, and the released V-JEPA files (arXiv 2404.08471, Table 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.encoders.video_vit import VitArchitecture

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


@dataclass(frozen=True, kw_only=True)
class Released:
    """A published V-JEPA encoder: its architecture and its address."""

    architecture: VitArchitecture
    address: str


_BASE = "https://dl.fbaipublicfiles.com/jepa"
RELEASED: Mapping[str, Released] = {
    "vjepa_vitl16": Released(
        architecture=VIT_SIZES["vit_large"], address=f"{_BASE}/vitl16/vitl16.pth.tar"
    ),
    "vjepa_vith16": Released(
        architecture=VIT_SIZES["vit_huge"], address=f"{_BASE}/vith16/vith16.pth.tar"
    ),
    "vjepa_vith16_384": Released(
        architecture=replace(VIT_SIZES["vit_huge"], image_size=384),
        address=f"{_BASE}/vith16-384/vith16-384.pth.tar",
    ),
}


def size_of_width(width: int) -> tuple[str, VitArchitecture] | None:
    """Return the named size that has this width, if there is one (widths are unique)."""
    return next(((n, size) for n, size in VIT_SIZES.items() if size.width == width), None)
