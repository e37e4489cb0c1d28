"""The video ViT of V-JEPA 2 (arXiv 2506.09985, section 2): rotary positions, no position table.

Shape letters: B clips, T frames, H and W pixels.
"""

from __future__ import annotations

import math

import torch

from bench.encoders.networks.rope import RotaryBlock, axis_width, cos_sin_at
from bench.encoders.networks.video_vit import (
    LAYER_NORM_EPS,
    Embedded,
    TubeletEmbedding,
    Vit,
    VitArchitecture,
    clip_grid,
    initialise,
)


class RotaryViT(Vit):
    """Clips `[B, 3, T, H, W]` of any size to final-normed patch tokens, with masks and taps.

    `architecture.num_frames` and `image_size` are the intended clip size; they do not affect the
    weights, and `uniform_power` is ignored.

    Raises:
        UsageError: heads too narrow for three axes.
    """

    def __init__(self, architecture: VitArchitecture) -> None:
        a = architecture
        head_dim = a.width // a.num_heads
        axis_width(head_dim)
        blocks = (
            RotaryBlock(a.width, a.num_heads, a.mlp_hidden, LAYER_NORM_EPS) for _ in range(a.depth)
        )
        super().__init__(a, TubeletEmbedding(a), blocks)
        self.head_dim = head_dim

    def _embedded(self, pixels: torch.Tensor, keep: torch.Tensor | None) -> Embedded:
        grid = clip_grid(self.architecture, pixels)
        x = self.patch_embed(pixels, keep)
        positions = torch.arange(math.prod(grid), device=x.device) if keep is None else keep
        cos, sin = cos_sin_at(positions, grid[1:], self.head_dim)
        cos_sin = (cos, sin) if keep is None else (cos.unsqueeze(1), sin.unsqueeze(1))
        return x, grid, (cos_sin,)


def fresh_rotary(architecture: VitArchitecture, *, seed: int) -> RotaryViT:
    """Return a CPU network with weights from `seed` alone, initialised as in V-JEPA 2.

    Unlike in V-JEPA, the last layers of block i (from 1) stay divided by sqrt(2 i).
    """
    with torch.device("meta"):  # skips PyTorch's initialisation, which draws from global state
        network = RotaryViT(architecture)
    network.to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for number, block in enumerate(network.blocks, start=1):
            assert isinstance(block, RotaryBlock)
            block.attn.proj.weight.div_(math.sqrt(2 * number))
            block.mlp.fc2.weight.div_(math.sqrt(2 * number))
    return network
