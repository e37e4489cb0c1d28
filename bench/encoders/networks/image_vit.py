"""The image ViT of I-JEPA (arXiv 2301.08243), on timm's blocks.

Shape letters: B images, H and W pixels, D width, K kept tokens, N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import nn
from torch.nn import functional

from bench.encoders.networks.positions import sincos_2d
from bench.encoders.networks.video_vit import (
    LAYER_NORM_EPS,
    VitArchitecture,
    gather_tokens,
    tapped_layers,
    tapped_tokens,
)
from bench.errors import UsageError
from bench.types import Tokens


class ImageViT(nn.Module):
    """Images `[B, 3, H, W]` of one size to final-normed patch tokens, with masks and taps.

    `architecture` has one frame and tubelets of one frame.
    """

    pos_embed: torch.Tensor

    def __init__(self, architecture: VitArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        assert (a.num_frames, a.tubelet_size) == (1, 1), a
        self.patch_embed = PatchEmbedding(a)
        norm: Any = partial(nn.LayerNorm, eps=LAYER_NORM_EPS)
        ratio = (a.mlp_hidden + 0.5) / a.width  # timm multiplies and truncates
        self.blocks = nn.ModuleList(
            Block(a.width, a.num_heads, mlp_ratio=ratio, qkv_bias=True, norm_layer=norm)
            for _ in range(a.depth)
        )
        self.norm = nn.LayerNorm(a.width, eps=LAYER_NORM_EPS)
        table = sincos_2d(a.width, a.grid[1:], column_first=True)
        self.register_buffer("pos_embed", table.unsqueeze(0))

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
        norm: bool = True,
    ) -> Tokens:
        """Return the tokens of `layers`, as `VideoViT` does; `keep` int64 `[B, K]`.

        Raises:
            UsageError: images of another size than that of construction, or layers that do not
                exist. (The released code cannot take other sizes either.)
        """
        size = self.architecture.image_size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise UsageError(
                f"images of shape {tuple(pixels.shape)} cannot be encoded: expected [B, 3, {size},"
                f" {size}]; for another size say --set encoder.image_size=PIXELS, for boxes on"
                " frames that are not square --set task.view=centre."
            )
        taps = tapped_layers(layers, len(self.blocks))
        x = self.patch_embed(pixels) + self.pos_embed
        if keep is not None:
            x = gather_tokens(x, keep)
        tapped = tapped_tokens(x, self.blocks, taps, self.norm, norm_all=norm)
        return Tokens(layers=tapped, grid=self.architecture.grid)


class PatchEmbedding(nn.Module):
    """Project each patch of an image to a token, in row-major order."""

    def __init__(self, architecture: VitArchitecture) -> None:
        super().__init__()
        patch = architecture.patch_size
        self.proj = nn.Conv2d(3, architecture.width, kernel_size=patch, stride=patch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`[B, 3, H, W]` pixels to `[B, N, D]` tokens."""
        cut = functional.unfold(images, self.proj.kernel_size, stride=self.proj.stride)
        weight = self.proj.weight.flatten(1)
        return functional.linear(cut.transpose(1, 2), weight, self.proj.bias)
