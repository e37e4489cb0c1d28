"""The attentive probe of V-JEPA written plainly: what the folded, stacked one replaces.

Its parameters carry the names of the released probe files. Keys and values are projected for every
token, as in the released evaluation (arXiv 2404.08471). Tests hold the folded probes against it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class PlainAttentiveProbe(nn.Module):
    """One attentive probe: tokens `[B, L, D]` to logits `[B, C]`."""

    def __init__(self, *, width: int, num_attention_heads: int, num_classes: int) -> None:
        super().__init__()
        self.pooler = _Pooler(width, num_attention_heads)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.linear(self.pooler(tokens)[:, 0])
        return logits

    def groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Return the parameter groups as released: no decay of biases and vectors."""
        named = list(self.named_parameters())
        decayed = [p for n, p in named if p.ndim != 1 and "bias" not in n]
        rest = [p for n, p in named if p.ndim == 1 or "bias" in n]
        return [
            {"params": decayed, "weight_decay": weight_decay, "decayed": True},
            {"params": rest, "weight_decay": 0.0, "decayed": False},
        ]


class _Pooler(nn.Module):
    def __init__(self, width: int, num_attention_heads: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.cross_attention_block = _Block(width, num_attention_heads)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query = self.query_tokens.expand(len(tokens), -1, -1)
        pooled: torch.Tensor = self.cross_attention_block(query, tokens)
        return pooled


class _Block(nn.Module):
    def __init__(self, width: int, num_attention_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.xattn = _CrossAttention(width, num_attention_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )

    def forward(self, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = query + self.xattn(query, self.norm1(tokens))
        hidden = functional.gelu(self.mlp["fc1"](self.norm2(y)))
        mixed: torch.Tensor = self.mlp["fc2"](hidden)
        return y + mixed


class _CrossAttention(nn.Module):
    def __init__(self, width: int, num_attention_heads: int) -> None:
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)  # in the released files, and applied nowhere

    def forward(self, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        key, value = self.kv(tokens).chunk(2, dim=-1)
        mixed = functional.scaled_dot_product_attention(
            self._split(self.q(query)), self._split(key), self._split(value)
        )
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, _ = x.shape
        return x.view(rows, length, self.num_attention_heads, -1).transpose(1, 2)
