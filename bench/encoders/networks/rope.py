"""Rotary positions in three axes, and the transformer block that uses them (arXiv 2506.09985).

Of the channels of a head the first r turn with time, the next r with the row and the next r with
the column of a token, r = 2 * floor(floor(h / 3) / 2) of h; what is left is not turned, nor are
values. The rule is the released one, which is no rotation: channels are paired as neighbours
(2j, 2j+1), but the angles of an axis are tiled, `a_0 .. a_last, a_0 .. a_last`, so that the two of
a pair turn by different angles. Released weights need it as it is.

Unlike there, frequencies and angles are float32 whatever the precision of the tokens: in half
precision the released exponents are rounded, which moves frequencies by up to 2 %.

Shape letters: B clips, N tokens, D width, h channels of a head.
"""

from __future__ import annotations

import torch
from timm.layers.mlp import Mlp
from torch import nn
from torch.nn import functional

from bench.errors import UsageError

BASE = 10000.0
SMALLEST_HEAD = 12  # narrower heads leave an axis fewer than two frequencies
Turns = tuple[torch.Tensor, torch.Tensor]


def axis_width(head_dim: int) -> int:
    """Return how many channels of a head turn with each axis.

    Raises:
        UsageError: a head too narrow for three axes.
    """
    if head_dim < SMALLEST_HEAD:
        raise UsageError(
            f"rotary positions in three axes need heads of at least {SMALLEST_HEAD} channels, not"
            f" {head_dim}; give a smaller num_heads."
        )
    return 2 * (head_dim // 3 // 2)


def axis_angles(positions: torch.Tensor, width: int) -> torch.Tensor:
    """Return the angles of one axis, float32 `[..., width]`, for positions `[...]`."""
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=positions.device) / half
    angles = positions.float().unsqueeze(-1) * (1.0 / BASE**exponents)
    return torch.cat([angles, angles], dim=-1)


def turns_at(places: torch.Tensor, rows_columns: tuple[int, int], head_dim: int) -> Turns:
    """Return cosines and sines, float32 `[..., N, 3*r]`, of tokens by their number `[..., N]`.

    Tokens are numbered in (t, y, x) row-major order on a grid of `rows_columns`. Coordinates are
    whole patches from 0, of whatever grid: they are not scaled to the one of training.
    """
    h, w = rows_columns
    width = axis_width(head_dim)
    axes = (places // (h * w), places // w % h, places % w)
    angles = torch.cat([axis_angles(axis, width) for axis in axes], dim=-1)
    return angles.cos(), angles.sin()


def turned(x: torch.Tensor, turns: Turns) -> torch.Tensor:
    """Turn the first channels of `x` `[..., N, h]`, as many as `turns` has; the rest stays."""
    cos, sin = turns
    turning, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = turning[..., 0::2], turning[..., 1::2]
    partner = torch.stack([-second, first], dim=-1).flatten(-2)
    return torch.cat([(turning * cos + partner * sin).to(x.dtype), rest], dim=-1)


class RotaryAttention(nn.Module):
    """Self-attention whose queries and keys are turned by their tokens' places."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, turns: Turns) -> torch.Tensor:
        """`[B, N, D]` tokens and the turns of their places to `[B, N, D]`."""
        clips, tokens, width = x.shape
        qkv = self.qkv(x).view(clips, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = turned(qkv[:2], turns).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, qkv[2])
        out: torch.Tensor = self.proj(mixed.transpose(1, 2).reshape(clips, tokens, width))
        return out


class RotaryBlock(nn.Module):
    """A pre-norm transformer block with rotary attention; names are the released ones."""

    def __init__(self, width: int, num_heads: int, mlp_hidden: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = RotaryAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_hidden)

    def forward(self, x: torch.Tensor, turns: Turns) -> torch.Tensor:
        """`[B, N, D]` tokens and the turns of their places to `[B, N, D]`."""
        x = x + self.attn(self.norm1(x), turns)
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out
