"""K single-query attentive probes over the same tokens, without computing keys or values.

The V-JEPA probe (arXiv 2404.08471, appendix on frozen evaluation): one learned query attends to
the tokens of all clips, then a residual MLP and a linear classifier. The query does not depend on
the tokens, so `q . (Wk s)` equals `(Wk^T q) . s`: the keys of all probes fold into K*H vectors,
multiplied with the normalised tokens in one matrix product, and `Wv` is applied to the weighted sum
of tokens instead of every token. Output and gradients match the plain block up to rounding.

Shape letters: B samples, L tokens, D width, K probes (heads of the sweep), H attention heads,
E = D/H, C classes, M = 4*D.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from bench.errors import UsageError
from probes.stack.fit import Classifiers
from probes.stack.products import linear, matmul

MLP_RATIO = 4
EPS = 1e-5  # as released: PyTorch's default, unlike the 1e-6 of the encoders


class OneQuery(Classifiers):
    """K probes whose query `[K, 1, D]` pools tokens for a classifier `[K, C, D]`."""

    query: nn.Parameter
    num_attention_heads: int
    num_classes: int
    k_bias: torch.Tensor

    def _add_query_block(
        self,
        *,
        num_probes: int,
        width: int,
        num_classes: int,
        num_attention_heads: int,
        **keys_and_values: nn.Parameter,
    ) -> None:
        """Add the query, its attention with the given weights, the MLP and the classifier.

        Raises:
            UsageError: the width is not divisible by the number of attention heads.
        """
        if width % num_attention_heads:
            raise UsageError(
                f"probe {self.probe!r}: the encoder's width {width} is not divisible by"
                f" {num_attention_heads} attention heads; set num_heads to a divisor of it."
            )
        K, D, C, M = num_probes, width, num_classes, MLP_RATIO * width
        self.width, self.num_classes = width, num_classes
        self.num_attention_heads = num_attention_heads
        self.query = zeros(K, 1, D)
        self.norm1_weight, self.norm1_bias = ones(K, D), zeros(K, D)
        self.q_weight, self.q_bias = zeros(K, D, D), zeros(K, D)
        for name, weight in keys_and_values.items():
            setattr(self, name, weight)
        self.v_bias = zeros(K, D)
        self.norm2_weight, self.norm2_bias = ones(K, D), zeros(K, D)
        self.fc1_weight, self.fc1_bias = zeros(K, M, D), zeros(K, M)
        self.fc2_weight, self.fc2_bias = zeros(K, D, M), zeros(K, D)
        self.linear_weight, self.linear_bias = zeros(K, C, D), zeros(K, C)
        self.register_buffer("k_bias", torch.zeros(K, D))

    @property
    @abstractmethod
    def init_divisors(self) -> Mapping[str, torch.Tensor]:
        """Divisors of the initial draw, by weight name."""

    @property
    def num_probes(self) -> int:
        """K."""
        return self.query.shape[0]

    @property
    def facts(self) -> dict[str, Any]:
        """Width, number of attention heads and number of classes."""
        return {
            "width": self.width,
            "num_heads": self.num_attention_heads,
            "num_classes": self.num_classes,
        }

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw the released initialisation once, shared so that heads differ only in settings.

        PyTorch's default for the classifier, for other weights a truncated normal with standard
        deviation 0.02, divided by `init_divisors`.
        """
        generator = torch.Generator().manual_seed(seed)
        bound = 1.0 / math.sqrt(self.width)
        for name, parameter in self.named_parameters():
            drawn = torch.empty(parameter.shape[1:])
            if name.startswith("linear"):
                drawn.uniform_(-bound, bound, generator=generator)
            elif name == "query" or (name.endswith("_weight") and "norm" not in name):
                nn.init.trunc_normal_(drawn, std=0.02, generator=generator)
                drawn = drawn / self.init_divisors.get(name, torch.ones(()))
            else:
                continue
            parameter.copy_(drawn)


class AttentiveHeads(OneQuery):
    """K attentive probes with stacked parameters: tokens `[B, L, D]` to logits `[K, B, C]`.

    As released, the query is not normalised, and the output projection of the attention
    (`proj_weight`, `proj_bias`) is never applied; it is only kept for files that have one. `k_bias`
    shifts all scores of a query alike, so the softmax cancels it and it gets no gradient; the same
    holds for the contribution of `norm1_bias` to the scores.
    """

    probe = "attentive"

    k_weight: nn.Parameter
    v_weight: nn.Parameter
    proj_weight: torch.Tensor | None
    proj_bias: torch.Tensor | None

    def __init__(
        self, *, num_probes: int, width: int, num_attention_heads: int, num_classes: int
    ) -> None:
        super().__init__()
        self._add_query_block(
            num_probes=num_probes,
            width=width,
            num_classes=num_classes,
            num_attention_heads=num_attention_heads,
            k_weight=zeros(num_probes, width, width),
            v_weight=zeros(num_probes, width, width),
        )
        self.register_buffer("proj_weight", None)
        self.register_buffer("proj_bias", None)

    @property
    def init_divisors(self) -> Mapping[str, torch.Tensor]:
        """sqrt(2) for the second MLP weight, as in the first block of a network."""
        return {"fc2_weight": torch.tensor(math.sqrt(2.0))}

    def forward(self, tokens_BLD: torch.Tensor) -> torch.Tensor:
        """Return the logits of every probe, `[K, B, C]`."""
        y_KBD = self.pool(tokens_BLD)
        return self._linear(y_KBD, self.linear_weight, self.linear_bias)

    def pool(self, tokens_BLD: torch.Tensor) -> torch.Tensor:
        """Return the classifier input of every probe, `[K, B, D]`."""
        y_KBD = self.query + self._attend(tokens_BLD)
        normed_KBD = functional.layer_norm(y_KBD, (self.width,), eps=EPS)
        normed_KBD = normed_KBD * self.norm2_weight[:, None] + self.norm2_bias[:, None]
        hidden_KBM = functional.gelu(self._linear(normed_KBD, self.fc1_weight, self.fc1_bias))
        return y_KBD + self._linear(hidden_KBM, self.fc2_weight, self.fc2_bias)

    def _attend(self, tokens_BLD: torch.Tensor) -> torch.Tensor:
        B, _, D = tokens_BLD.shape
        K, H = self.num_probes, self.num_attention_heads
        E = D // H
        # One normalisation for all probes: their own scale and shift are applied after the sum.
        normed_BLD = functional.layer_norm(tokens_BLD, (D,), eps=EPS)
        scores_BLX = functional.linear(normed_BLD, self._folded_queries().reshape(K * H, D))
        weights_BXL = scores_BLX.softmax(dim=1).transpose(1, 2)
        sums_KHBD = torch.bmm(weights_BXL, normed_BLD).view(B, K, H, D).permute(1, 2, 0, 3)
        sums_KHBD = sums_KHBD * self.norm1_weight[:, None, None] + self.norm1_bias[:, None, None]
        values_XED = self.v_weight.view(K * H, E, D)
        heads_XBE = linear(sums_KHBD.reshape(K * H, B, D), values_XED, self.memory)
        heads_KBD = heads_XBE.view(K, H, B, E).transpose(1, 2).reshape(K, B, D)
        return heads_KBD + self.v_bias[:, None]

    def _folded_queries(self) -> torch.Tensor:
        K, H, D = self.num_probes, self.num_attention_heads, self.width
        E = D // H
        query_XE = self._linear(self.query, self.q_weight, self.q_bias).reshape(K * H, 1, E)
        folded_XD = matmul(query_XE, self.k_weight.view(K * H, E, D), self.memory)
        return folded_XD.view(K, H, D) * self.norm1_weight[:, None] / math.sqrt(E)

    def _linear(
        self, x_KBI: torch.Tensor, weight_KOI: torch.Tensor, bias_KO: torch.Tensor
    ) -> torch.Tensor:
        return linear(x_KBI, weight_KOI, self.memory) + bias_KO[:, None]

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load every parameter, and the unused projection if it is among `tensors`."""
        for name in ("proj_weight", "proj_bias"):
            if name in tensors:
                setattr(self, name, torch.empty_like(tensors[name]))
        super().load(tensors)


def zeros(*shape: int) -> nn.Parameter:
    """Return a parameter initialised to 0."""
    return nn.Parameter(torch.zeros(shape))


def ones(*shape: int) -> nn.Parameter:
    """Return a parameter initialised to 1."""
    return nn.Parameter(torch.ones(shape))
