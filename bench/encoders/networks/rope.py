"""Rotary positions in three axes, and the transformer block that uses them (arXiv 2506.09985).

Of the h channels of a head, the first r are rotated by time, the next r by row and the next r by
column of a token, r = 2 * floor(floor(h / 3) / 2); the remaining channels and all values are not.
As in the released code, this is not a true rotation: channels are paired as neighbours (2j, 2j+1),
but the angles of an axis are tiled, `a_0 .. a_last, a_0 .. a_last`, so the two channels of a pair
get different angles. Released weights depend on it.

Unlike the released code, frequencies and angles are always float32: in half precision the released
exponents are rounded, which moves frequencies by up to 2 %.

Shape letters: B clips, N tokens, D width, h channels per head.
"""

from __future__ import annotations

import torch
from timm.layers.mlp import Mlp
from torch import nn
from torch.nn import functional

from bench.errors import UsageError

BASE = 10000.0
SMALLEST_HEAD = 12  # narrower heads have fewer than two frequencies per axis
CosSin = tuple[torch.Tensor, torch.Tensor]


def axis_width(head_dim: int) -> int:
    """Return the number of channels of a head that are rotated per axis.

    Raises:
        UsageError: the head is too narrow for three axes.
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


def cos_sin_at(positions: torch.Tensor, rows_columns: tuple[int, int], head_dim: int) -> CosSin:
    """Return cosines and sines, float32 `[..., N, 3*r]`, for token indices `positions` `[..., N]`.

    Indices are in (t, y, x) row-major order on a grid of `rows_columns`. Coordinates count patches
    from 0 and are not rescaled to the training grid.
    """
    h, w = rows_columns
    width = axis_width(head_dim)
    axes = (positions // (h * w), positions // w % h, positions % w)
    angles = torch.cat([axis_angles(axis, width) for axis in axes], dim=-1)
    return angles.cos(), angles.sin()


def apply_rope(x: torch.Tensor, cos_sin: CosSin) -> torch.Tensor:
    """Rotate the first channels of `x` `[..., N, h]`, as many as `cos_sin` has."""
    cos, sin = cos_sin
    rotated, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = rotated[..., 0::2], rotated[..., 1::2]
    partner = torch.stack([-second, first], dim=-1).flatten(-2)
    return torch.cat([(rotated * cos + partner * sin).to(x.dtype), rest], dim=-1)


class RotaryAttention(nn.Module):
    """Self-attention with rotary positions on queries and keys."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, cos_sin: CosSin) -> torch.Tensor:
        """`[B, N, D]` tokens and the cos_sin of their positions to `[B, N, D]`."""
        clips, tokens, width = x.shape
        qkv = self.qkv(x).view(clips, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = apply_rope(qkv[:2], cos_sin).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, qkv[2])
        out: torch.Tensor = self.proj(mixed.transpose(1, 2).reshape(clips, tokens, width))
        return out


class RotaryBlock(nn.Module):
    """A pre-norm transformer block with rotary attention, under the released parameter names."""

    def __init__(self, width: int, num_heads: int, mlp_hidden: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = RotaryAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_hidden)

    def forward(self, x: torch.Tensor, cos_sin: CosSin) -> torch.Tensor:
        """`[B, N, D]` tokens and the cos_sin of their positions to `[B, N, D]`."""
        x = x + self.attn(self.norm1(x), cos_sin)
        out: torch.Tensor = x + self.mlp(self.norm2(x))
        return out
