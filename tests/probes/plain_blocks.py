"""The probe of V-JEPA 2 written plainly, with the names of the released files, one head alone."""

from __future__ import annotations

import torch
from torch import nn

from probes.stack.attentive_blocks import AttentiveBlocks
from probes.stack.released_blocks import to_released


class PlainBlocksProbe(nn.Module):
    """Tokens `[B, L, D]` to logits `[B, C]`, softmax and all spelled out."""

    def __init__(self, *, width: int, num_heads: int, num_classes: int, num_blocks: int) -> None:
        super().__init__()
        self.pooler = nn.Module()
        self.pooler.query_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.pooler.cross_attention_block = _CrossBlock(width, num_heads)
        self.pooler.blocks = nn.ModuleList(
            _SelfBlock(width, num_heads) for _ in range(num_blocks - 1)
        )
        self.linear = nn.Linear(width, num_classes)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.pooler.blocks:
            tokens = block(tokens)
        query = self.pooler.query_tokens.repeat(len(tokens), 1, 1)
        return self.linear(self.pooler.cross_attention_block(query, tokens)[:, 0])


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _SelfBlock(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.Module()
        self.attn.qkv, self.attn.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = _Mlp(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.attn.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.attn.proj(_attention(query, key, value, self.num_heads))
        return x + self.mlp(self.norm2(x))


class _CrossBlock(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.xattn = nn.Module()
        self.xattn.q, self.xattn.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp = _Mlp(width)

    def forward(self, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        key, value = self.xattn.kv(self.norm1(tokens)).chunk(2, dim=-1)
        y = query + _attention(self.xattn.q(query), key, value, self.num_heads)
        return y + self.mlp(self.norm2(y))


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_heads: int
) -> torch.Tensor:
    mixed = []
    for q, k, v in zip(*(x.chunk(num_heads, dim=-1) for x in (query, key, value)), strict=True):
        shares = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        mixed.append(shares @ v)
    return torch.cat(mixed, dim=-1)


def random_blocks(
    *, num_probes: int, width: int, num_heads: int, num_classes: int, num_blocks: int = 4
) -> AttentiveBlocks:
    """Every probe has its own parameters, biases and norms included, in float64."""
    stack = AttentiveBlocks(
        num_probes=num_probes,
        width=width,
        num_attention_heads=num_heads,
        num_classes=num_classes,
        num_blocks=num_blocks,
    ).double()
    generator = torch.Generator().manual_seed(num_probes)
    with torch.no_grad():
        for tensor in stack.state_dict().values():
            tensor.add_(torch.randn(tensor.shape, generator=generator).double() * 0.3)
    return stack


def plain_blocks(stack: AttentiveBlocks) -> list[PlainBlocksProbe]:
    """One plain module per probe of the stack, with copies of its parameters."""
    made = []
    for k in range(stack.num_probes):
        plain = PlainBlocksProbe(
            width=stack.width,
            num_heads=stack.num_attention_heads,
            num_classes=stack.num_classes,
            num_blocks=stack.num_blocks,
        ).to(stack.query.dtype)
        plain.load_state_dict({n: t.clone() for n, t in to_released(stack, k).items()})
        made.append(plain)
    return made


def released_gradients(stack: AttentiveBlocks) -> list[dict[str, torch.Tensor]]:
    """The gradients of each probe under the released names; key biases have none, so zeros."""
    shadow = AttentiveBlocks(
        num_probes=stack.num_probes,
        width=stack.width,
        num_attention_heads=stack.num_attention_heads,
        num_classes=stack.num_classes,
        num_blocks=stack.num_blocks,
    ).to(stack.query.dtype)
    with torch.no_grad():
        for name, parameter in shadow.named_parameters():
            gradient = stack.get_parameter(name).grad
            assert gradient is not None, name
            parameter.copy_(gradient)
    return [to_released(shadow, k) for k in range(stack.num_probes)]
