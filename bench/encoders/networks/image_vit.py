"""The image ViT of I-JEPA (arXiv 2301.08243), on timm's blocks.

Shape letters: B images, H and W pixels, D width, N tokens.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from bench.encoders.networks.positions import sincos_2d
from bench.encoders.networks.video_vit import Embedded, Vit, VitArchitecture, gather_tokens
from bench.errors import UsageError


class ImageViT(Vit):
    """Images `[B, 3, H, W]` of one size to final-normed patch tokens, with masks and taps.

    `architecture` has one frame and tubelets of one frame. Images of any other size are refused, as
    in the released code.
    """

    pos_embed: torch.Tensor

    def __init__(self, architecture: VitArchitecture) -> None:
        a = architecture
        assert (a.num_frames, a.tubelet_size) == (1, 1), a
        super().__init__(a, PatchEmbedding(a))
        table = sincos_2d(a.width, a.grid[1:], column_first=True)
        self.register_buffer("pos_embed", table.unsqueeze(0))

    def _embedded(self, pixels: torch.Tensor, keep: torch.Tensor | None) -> Embedded:
        size = self.architecture.image_size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise UsageError(
                f"images of shape {tuple(pixels.shape)} cannot be encoded: expected [B, 3, {size},"
                f" {size}]; for another size use --set encoder.image_size=PIXELS, for boxes on"
                " non-square frames --set task.view=centre."
            )
        x = self.patch_embed(pixels) + self.pos_embed
        return x if keep is None else gather_tokens(x, keep), self.architecture.grid, ()


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
