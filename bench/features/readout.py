"""From the tokens of one row to what a probe reads.

Shape letters: V views, S clips, N tokens of a clip, D width. A readout is one function of the
tokens of a row, `[V, S, N, D]`, and an entry in `READOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.types import Reads


def read_out(tokens: torch.Tensor, reads: Reads, num_views: int, num_clips: int) -> torch.Tensor:
    """Reduce the tokens of one row, `[V*S, N, D]` in (view, clip) order, to what `reads` names.

    `vector` gives `[V, S, D]`, `tokens` gives `[V, S*N, D]`.
    """
    return READOUTS[reads](tokens.reshape(num_views, num_clips, *tokens.shape[1:]))


def row_shape(
    reads: Reads, *, num_views: int, num_clips: int, num_tokens: int, width: int
) -> tuple[int, ...]:
    """Shape of what `read_out` gives for one row."""
    tokens = torch.empty((num_views * num_clips, num_tokens, width), device="meta")
    return tuple(read_out(tokens, reads, num_views, num_clips).shape)


def vector(tokens_VSND: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens of each clip; clips stay apart and are averaged when they are read."""
    return tokens_VSND.float().mean(dim=2)


def tokens(tokens_VSND: torch.Tensor) -> torch.Tensor:
    """All tokens of a view in one sequence, clip after clip (Bardes et al. 2024, appendix)."""
    return tokens_VSND.flatten(1, 2)


READOUTS: dict[Reads, Callable[[torch.Tensor], torch.Tensor]] = {
    "vector": vector,
    "tokens": tokens,
}
