"""The video ViT of V-JEPA 2: places of tokens turn queries and keys, no table is added.

arXiv 2506.09985, section 2. Shape letters: B clips, T frames, H and W pixels, D width, K kept
tokens, N = t*h*w tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from bench.encoders.networks.rope import RotaryBlock, axis_width, turns_at
from bench.encoders.networks.video_vit import (
    LAYER_NORM_EPS,
    TubeletEmbedding,
    VitArchitecture,
    clip_grid,
    initialise,
    tapped_layers,
    tapped_tokens,
)
from bench.types import Tokens


class RotaryViT(nn.Module):
    """Clips `[B, 3, T, H, W]` of any size to final-normed patch tokens, with masks and taps.

    `architecture.num_frames` and `image_size` are the clips it is meant for; they leave no trace in
    its weights, and `uniform_power` has no meaning here. State-dict names are the released ones:
    `patch_embed.proj.*`, `blocks.{i}.*`, `norm.*`.

    Raises:
        UsageError: heads too narrow for three axes.
    """

    def __init__(self, architecture: VitArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.head_dim = a.width // a.num_heads
        axis_width(self.head_dim)
        self.patch_embed = TubeletEmbedding(a)
        self.blocks = nn.ModuleList(
            RotaryBlock(a.width, a.num_heads, a.mlp_hidden, LAYER_NORM_EPS) for _ in range(a.depth)
        )
        self.norm = nn.LayerNorm(a.width, eps=LAYER_NORM_EPS)

    def forward(
        self,
        pixels: torch.Tensor,
        *,
        keep: torch.Tensor | None = None,
        layers: Sequence[int] | None = None,
        norm: bool = True,
    ) -> Tokens:
        """Return the tokens of `layers` (block numbers from 0, ascending; None is the last block).

        `keep` int64 `[B, K]` numbers the tokens that enter the blocks, in any order. Every tap goes
        through the final norm; without `norm` that of the last block alone does. Blocks after the
        deepest tap are not run.

        Raises:
            UsageError: a clip that tubelets and patches do not divide, or layers that do not exist.
        """
        taps = tapped_layers(layers, len(self.blocks))
        grid = clip_grid(self.architecture, pixels)
        x = self.patch_embed(pixels, keep)
        places = torch.arange(math.prod(grid), device=x.device) if keep is None else keep
        cos, sin = turns_at(places, grid[1:], self.head_dim)
        turns = (cos, sin) if keep is None else (cos.unsqueeze(1), sin.unsqueeze(1))
        tapped = tapped_tokens(x, self.blocks, taps, self.norm, norm_all=norm, context=(turns,))
        return Tokens(layers=tapped, grid=grid)


def fresh_rotary(architecture: VitArchitecture, *, seed: int) -> RotaryViT:
    """Return a CPU network with weights from `seed` alone, initialised as V-JEPA 2 starts.

    Unlike in V-JEPA, the last layers of block i (from 1) stay divided by sqrt(2 i).
    """
    with torch.device("meta"):  # skips PyTorch's own initialisation, which draws from global state
        network = RotaryViT(architecture)
    network.to_empty(device="cpu")
    initialise(network, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for number, block in enumerate(network.blocks, start=1):
            assert isinstance(block, RotaryBlock)
            block.attn.proj.weight.div_(math.sqrt(2 * number))
            block.mlp.fc2.weight.div_(math.sqrt(2 * number))
    return network
