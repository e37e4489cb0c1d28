"""K multi-block attentive probes over the same tokens: the probe of V-JEPA 2.

arXiv 2506.09985, section on frozen evaluation: self-attention blocks over the tokens of all clips,
then cross-attention of one learned query, a residual MLP and a linear classifier. Blocks are
pre-norm; the query is not normalised, and its attention has no output projection.

After the first block every head has its own tokens, so K heads take K times the memory of one:
heads and rows are processed in parts of bounded size, and gradients are accumulated.

Shape letters: B samples, L tokens, D width, K probes (heads of the sweep), G probes of a part,
N self-attention blocks, H attention heads, E = D/H, C classes, M = 4*D, X = B*L.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from probes.stack.attentive_head import EPS, MLP_RATIO, OneQuery, ones, zeros
from probes.stack.products import Losses

# Elements per activation of a part; about 70 activations of 4-byte elements are alive at a time.
PART_SIZE = {"cpu": 2**21, "cuda": 2**26}

BLOCKS = "blocks_"

Precision = Literal["fp32", "bf16"]
Tensors = Mapping[str, torch.Tensor]


class AttentiveBlocks(OneQuery):
    """K probes with stacked parameters: tokens `[B, L, D]` to logits `[K, B, C]`.

    Parameters of the self-attention blocks start with `blocks_` and have N as their second axis.
    Key biases shift all scores of a query alike, so the softmax cancels them and they get no
    gradient (in the released training they drift with rounding noise); they are kept for files
    that have them. `precision` applies to matrix products and attention.
    """

    probe = "attentive4"

    kv_weight: nn.Parameter
    blocks_k_bias: torch.Tensor

    def __init__(
        self,
        *,
        num_probes: int,
        width: int,
        num_attention_heads: int,
        num_classes: int,
        num_blocks: int = 4,
        precision: Precision = "fp32",
        eps: float = EPS,
    ) -> None:
        super().__init__()
        assert num_blocks > 1, "one block alone is AttentiveHeads"
        assert precision in get_args(Precision), precision
        K, N, D, M = num_probes, num_blocks - 1, width, MLP_RATIO * width
        self.num_blocks, self.precision, self.eps = num_blocks, precision, eps
        self.blocks_norm1_weight, self.blocks_norm1_bias = ones(K, N, D), zeros(K, N, D)
        self.blocks_qkv_weight = zeros(K, N, 3 * D, D)
        self.blocks_q_bias, self.blocks_v_bias = zeros(K, N, D), zeros(K, N, D)
        self.blocks_proj_weight, self.blocks_proj_bias = zeros(K, N, D, D), zeros(K, N, D)
        self.blocks_norm2_weight, self.blocks_norm2_bias = ones(K, N, D), zeros(K, N, D)
        self.blocks_fc1_weight, self.blocks_fc1_bias = zeros(K, N, M, D), zeros(K, N, M)
        self.blocks_fc2_weight, self.blocks_fc2_bias = zeros(K, N, D, M), zeros(K, N, D)
        self.register_buffer("blocks_k_bias", torch.zeros(K, N, D))
        self._add_query_block(
            num_probes=K,
            width=D,
            num_classes=num_classes,
            num_attention_heads=num_attention_heads,
            kv_weight=zeros(K, 2 * D, D),
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Width, number of attention heads, classes and blocks, precision, and an own epsilon."""
        other = {} if self.eps == EPS else {"eps": self.eps}
        blocks = {"num_blocks": self.num_blocks, "precision": self.precision}
        return {**super().facts, **blocks, **other}

    @property
    def init_divisors(self) -> Mapping[str, torch.Tensor]:
        """sqrt(2i) for the outputs of self-attention block i (from 1), sqrt(2N) for the query's."""
        numbers = torch.arange(1.0, self.num_blocks)
        return {
            "blocks_proj_weight": (2 * numbers).sqrt()[:, None, None],
            "blocks_fc2_weight": (2 * numbers).sqrt()[:, None, None],
            "fc2_weight": torch.tensor(math.sqrt(2 * (self.num_blocks - 1))),
        }

    def forward(self, tokens_BLD: torch.Tensor) -> torch.Tensor:
        """Return the logits of every probe, `[K, B, C]`."""
        return self._in_parts(self._logits, tokens_BLD)

    def pool(self, tokens_BLD: torch.Tensor) -> torch.Tensor:
        """Return the classifier input of every probe, `[K, B, D]`."""
        return self._in_parts(self._pool, tokens_BLD)

    def backward(self, x: torch.Tensor, y: torch.Tensor, losses_of: Losses) -> torch.Tensor:
        """Return the loss of every probe, `[K]`, and accumulate its gradients part by part."""
        parameters, buffers = dict(self.named_parameters()), dict(self.named_buffers())
        for parameter in parameters.values():
            parameter.grad = self.memory.take(parameter.detach()).zero_()
        losses = x.new_zeros(self.num_probes)
        for heads, rows in self._parts(x):
            # Slices of the parameters would make autograd allocate a whole stack per part.
            leaves = {n: p.detach()[heads].requires_grad_() for n, p in parameters.items()}
            kept = {name: buffer[heads] for name, buffer in buffers.items()}
            logits_GBC = self._logits({**leaves, **kept}, x[rows])
            part = losses_of(logits_GBC, y[rows]) * (len(y[rows]) / len(y))
            found = torch.autograd.grad(part.sum(), list(leaves.values()))
            for parameter, gradient in zip(parameters.values(), found, strict=True):
                assert parameter.grad is not None
                parameter.grad[heads] += gradient
            losses[heads] += part.detach()
        return losses

    def _in_parts(
        self, function: Callable[[Tensors, torch.Tensor], torch.Tensor], tokens_BLD: torch.Tensor
    ) -> torch.Tensor:
        named = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        outputs: dict[int, list[torch.Tensor]] = {}
        for heads, rows in self._parts(tokens_BLD):
            stack = {name: tensor[heads] for name, tensor in named.items()}
            outputs.setdefault(heads.start, []).append(function(stack, tokens_BLD[rows]))
        return torch.cat([torch.cat(parts, dim=1) for parts in outputs.values()])

    def _parts(self, tokens_BLD: torch.Tensor) -> Iterator[tuple[slice, slice]]:
        """Yield slices of probes and rows to process together, rows innermost."""
        B, L, D = tokens_BLD.shape
        num_rows = _part_size(tokens_BLD) // (L * D)
        rows = min(max(1, num_rows), B)
        heads = max(1, num_rows // rows)
        for head in range(0, self.num_probes, heads):
            for row in range(0, B, rows):
                yield slice(head, head + heads), slice(row, row + rows)

    def _logits(self, stack: Tensors, tokens_BLD: torch.Tensor) -> torch.Tensor:
        pooled_GBD = self._pool(stack, tokens_BLD)
        with self._autocast(tokens_BLD):
            logits_GBC = _linear(pooled_GBD, stack["linear_weight"], stack["linear_bias"])
        return logits_GBC.to(tokens_BLD.dtype)

    def _pool(self, stack: Tensors, tokens_BLD: torch.Tensor) -> torch.Tensor:
        G, H = len(stack["query"]), self.num_attention_heads
        blocks = {
            name.removeprefix(BLOCKS): tensor.unbind(1)
            for name, tensor in stack.items()
            if name.startswith(BLOCKS)
        }
        x_GBLD = tokens_BLD.expand(G, *tokens_BLD.shape)
        # One row of one probe cannot be split, so a large one is recomputed in the backward pass.
        is_large = torch.is_grad_enabled() and tokens_BLD[0].numel() > _part_size(tokens_BLD)
        with self._autocast(tokens_BLD):
            for number in range(self.num_blocks - 1):
                block = {name: tensors[number] for name, tensors in blocks.items()}
                if is_large:
                    x_GBLD = checkpoint(
                        _self_attention, x_GBLD, block, H, self.eps, use_reentrant=False,
                        preserve_rng_state=False,
                    )  # fmt: skip
                else:
                    x_GBLD = _self_attention(x_GBLD, block, H, self.eps)
            return _cross_attention(x_GBLD, stack, H, self.eps)

    def _autocast(self, tokens: torch.Tensor) -> torch.autocast:
        is_low = self.precision == "bf16"
        return torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=is_low)


def _part_size(tokens: torch.Tensor) -> int:
    return PART_SIZE.get(tokens.device.type, PART_SIZE["cpu"])


def _self_attention(
    x_GBLD: torch.Tensor, block: Tensors, num_heads: int, eps: float
) -> torch.Tensor:
    G, B, L, D = x_GBLD.shape
    normed_GBLD = _norm(x_GBLD, block["norm1_weight"], block["norm1_bias"], eps)
    bias = torch.cat([block["q_bias"], block["k_bias"], block["v_bias"]], dim=-1)
    joined = _linear(normed_GBLD.flatten(1, 2), block["qkv_weight"], bias)
    # [3, G*B, H, L, E]
    query, key, value = joined.view(G * B, L, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value)
    mixed_GXD = mixed.transpose(1, 2).reshape(G, B * L, D)
    projected = _linear(mixed_GXD, block["proj_weight"], block["proj_bias"])
    x_GBLD = x_GBLD + projected.view(G, B, L, D)
    hidden = _norm(x_GBLD, block["norm2_weight"], block["norm2_bias"], eps).flatten(1, 2)
    return x_GBLD + _mlp(hidden, block).view(G, B, L, D)


def _cross_attention(
    x_GBLD: torch.Tensor, stack: Tensors, num_heads: int, eps: float
) -> torch.Tensor:
    G, B, L, D = x_GBLD.shape
    normed_GBLD = _norm(x_GBLD, stack["norm1_weight"], stack["norm1_bias"], eps)
    bias = torch.cat([stack["k_bias"], stack["v_bias"]], dim=-1)
    joined = _linear(normed_GBLD.flatten(1, 2), stack["kv_weight"], bias)
    key, value = joined.view(G * B, L, 2, num_heads, -1).permute(2, 0, 3, 1, 4)
    query_G1D = _linear(stack["query"], stack["q_weight"], stack["q_bias"])
    query = query_G1D.view(G, 1, num_heads, 1, -1).expand(G, B, -1, -1, -1).flatten(0, 1)
    mixed = functional.scaled_dot_product_attention(query, key, value)
    y_GBD = stack["query"] + mixed.reshape(G, B, D)
    hidden = _norm(y_GBD, stack["norm2_weight"], stack["norm2_bias"], eps)
    return y_GBD + _mlp(hidden, stack)


def _mlp(x_GXD: torch.Tensor, block: Tensors) -> torch.Tensor:
    hidden_GXM = functional.gelu(_linear(x_GXD, block["fc1_weight"], block["fc1_bias"]))
    return _linear(hidden_GXM, block["fc2_weight"], block["fc2_bias"])


def _linear(x_GXI: torch.Tensor, weight_GOI: torch.Tensor, bias_GO: torch.Tensor) -> torch.Tensor:
    return torch.baddbmm(bias_GO[:, None], x_GXI, weight_GOI.transpose(1, 2))


def _norm(
    x: torch.Tensor, weight_GD: torch.Tensor, bias_GD: torch.Tensor, eps: float
) -> torch.Tensor:
    normed = functional.layer_norm(x, x.shape[-1:], eps=eps)
    shape = (len(weight_GD), *[1] * (x.ndim - 2), -1)
    return torch.addcmul(bias_GD.view(shape), normed, weight_GD.view(shape))
