"""Readouts: from the tokens of clips to the features that a probe reads; boxes: `region_readout`.

Shape letters: V views, S clips, N tokens of a clip, D width, n rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from bench.data.loader import Sample
from bench.data.views.pixel_recipe import Recipe
from bench.types import EncoderSpec, IntArray, Reads, Tokens

Parts = tuple[torch.Tensor, ...]


class Readout(Protocol):
    """Which layers of the encoder are read, and how they become features."""

    @property
    def layers(self) -> Sequence[int] | None:
        """The blocks that are read, ascending; None is the last."""
        ...

    @property
    def norm(self) -> bool:
        """Whether taps before the last block go through the final norm."""
        ...

    def shape(self, spec: EncoderSpec, recipe: Recipe, reads: Reads) -> tuple[int, ...]:
        """Shape of one row for one draw, `[V, S, D]` or `[V, L, D]`."""
        ...

    def collect(self, tokens: Tokens) -> Parts:
        """Reduce the tokens of a call to the parts that `rows` needs, `[B, ...]` each."""
        ...

    def rows(self, sample: Sample, parts: Parts) -> tuple[IntArray, Mapping[Reads, torch.Tensor]]:
        """Return the row numbers n of a sample and their features, `[n, ...]`.

        `parts` are those of `collect`, with the sample's clips as the first axis.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ClipReadout:
    """Rows that are whole clips: all tokens of a row, or their mean.

    Several layers are joined on tokens for `tokens`, layer after layer within a clip (arXiv
    2506.09985, appendix on frozen evaluation), and on the width for `vector`.
    """

    reads: Sequence[Reads]
    num_views: int
    num_clips: int
    layers: Sequence[int] | None = None
    norm: bool = True

    def shape(self, spec: EncoderSpec, recipe: Recipe, reads: Reads) -> tuple[int, ...]:
        """Shape of one row for one draw; joined layers lengthen L, or widen D of a vector."""
        joined = 1 if self.layers is None else len(self.layers)
        if reads == "vector":
            return self.num_views, self.num_clips, spec.width * joined
        side = recipe.size // spec.patch_size
        num_tokens = recipe.plan.num_frames // spec.tubelet_size * side * side
        return self.num_views, self.num_clips * num_tokens * joined, spec.width

    def collect(self, tokens: Tokens) -> Parts:
        """Return the layers, `[B, N, D]` each."""
        return tokens.layers

    def rows(self, sample: Sample, parts: Parts) -> tuple[IntArray, Mapping[Reads, torch.Tensor]]:
        """Return the one row of a sample."""
        found = {}
        for reads in self.reads:
            joined = torch.cat(parts, dim=-1 if reads == "vector" else -2)
            found[reads] = read_out(joined, reads, self.num_views, self.num_clips).unsqueeze(0)
        return np.array([sample.row], dtype=np.int64), found


def read_out(tokens: torch.Tensor, reads: Reads, num_views: int, num_clips: int) -> torch.Tensor:
    """Reduce the tokens of one row, `[V*S, N, D]` in (view, clip) order, to what `reads` names.

    `vector` gives `[V, S, D]`, the mean over the tokens of each clip (clips are averaged later).
    `tokens` gives `[V, S*N, D]`, the tokens of a view, clip by clip (Bardes et al. 2024, appendix).
    """
    tokens_VSND = tokens.reshape(num_views, num_clips, *tokens.shape[1:])
    return tokens_VSND.float().mean(dim=2) if reads == "vector" else tokens_VSND.flatten(1, 2)
