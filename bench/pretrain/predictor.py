"""The predictor of V-JEPA: from context tokens to the features of masked tokens.

arXiv 2404.08471, section 3.1: a narrow transformer over the projected context tokens and one
learned mask token per masked position. State-dict names are the released ones.

Shape letters: B clips, K context tokens, P predicted tokens, D encoder width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import nn

from bench.encoders.networks.positions import sincos_3d
from bench.encoders.networks.video_vit import (
    INITIAL_STD,
    LAYER_NORM_EPS,
    VitArchitecture,
    gather_tokens,
    initialise,
)
from bench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class PredictorArchitecture:
    """Shape of a predictor; `num_heads` None uses the encoder's number, as released.

    The recipe has `num_mask_tokens` masks, each with its own mask token. With depth 0, for
    ablations, there is no transformer and every masked position sees the mean of the context.
    """

    width: int = 384
    depth: int = 12
    num_heads: int | None = None
    num_mask_tokens: int = 2


class Predictor(nn.Module):
    """Context tokens `[B, K, D]` to predictions `[B, P, D]` at given positions.

    `out_width` is the width of a prediction, the encoder's by default.

    Raises:
        UsageError: the width is not divisible by the number of heads.
    """

    predictor_pos_embed: torch.Tensor

    def __init__(
        self,
        architecture: PredictorArchitecture,
        encoder: VitArchitecture,
        out_width: int | None = None,
    ) -> None:
        super().__init__()
        a = architecture
        heads = a.num_heads or encoder.num_heads
        if a.width % heads:
            raise UsageError(
                f"predictor width {a.width} is not divisible by {heads} heads; set"
                " predictor.num_heads to a divisor."
            )
        norm: Any = partial(nn.LayerNorm, eps=LAYER_NORM_EPS)
        self.predictor_embed = nn.Linear(encoder.width, a.width)
        self.mask_tokens = nn.ParameterList(
            nn.Parameter(torch.zeros(1, 1, a.width)) for _ in range(a.num_mask_tokens)
        )
        self.predictor_blocks = nn.ModuleList(
            Block(a.width, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm)
            for _ in range(a.depth)
        )
        self.predictor_norm = nn.LayerNorm(a.width, eps=LAYER_NORM_EPS)
        self.predictor_proj = nn.Linear(a.width, out_width or encoder.width)
        table = sincos_3d(a.width, encoder.grid, uniform_power=encoder.uniform_power)
        self.register_buffer("predictor_pos_embed", table.unsqueeze(0))

    def forward(
        self, tokens: torch.Tensor, context: torch.Tensor, target: torch.Tensor, number: int
    ) -> torch.Tensor:
        """Return predictions `[B, P, D]` in the order of `target`.

        `tokens` `[B, K, D]` are the encoder's at positions `context` int64 `[B, K]`; `target` int64
        `[B, P]` are the positions to predict; `number` is the index of the mask and its mask token.
        """
        hidden = self.mask_tokens[number] + self._positions(target)
        x = self.predictor_embed(tokens) + self._positions(context)
        hidden = hidden.to(x.dtype)
        if not self.predictor_blocks:
            hidden = hidden + x.mean(dim=1, keepdim=True)
        x = torch.cat([x, hidden], dim=1)
        for block in self.predictor_blocks:
            x = block(x)
        x = x[:, context.shape[1] :]
        predicted: torch.Tensor = self.predictor_proj(self.predictor_norm(x))
        return predicted

    def _positions(self, places: torch.Tensor) -> torch.Tensor:
        return gather_tokens(self.predictor_pos_embed.expand(len(places), -1, -1), places)


def fresh_predictor(
    architecture: PredictorArchitecture,
    encoder: VitArchitecture,
    *,
    seed: int,
    out_width: int | None = None,
    std: float = INITIAL_STD,
) -> Predictor:
    """Return a CPU predictor drawn from `seed` alone; its mask tokens are zero, as released."""
    with torch.device("meta"):  # skips PyTorch's own initialisation, which draws from global state
        predictor = Predictor(architecture, encoder, out_width)
    table = predictor.predictor_pos_embed
    predictor.to_empty(device="cpu")
    predictor.predictor_pos_embed = table
    for token in predictor.mask_tokens:
        nn.init.zeros_(token)
    initialise(predictor, torch.Generator().manual_seed(seed), std)
    return predictor
