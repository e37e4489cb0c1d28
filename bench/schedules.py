"""Learning rate and weight decay by step, as V-JEPA pretrains and probes with them.

arXiv 2404.08471, appendix; the released code follows a cosine for the weight decay although the
text says "linearly increased". Steps count from 1, and a step uses its value before its update.
"""

from __future__ import annotations

import math


def cosine_lr(
    step: int,
    *,
    reference: float,
    final: float,
    total_steps: int,
    start: float = 0.0,
    warmup_steps: int = 0,
) -> float:
    """Return the learning rate of a step: linear from `start` to `reference`, then cosine.

    `total_steps` may exceed the number of steps run: pretraining stops before its schedule ends.
    """
    assert step >= 1, "steps count from 1"
    if step < warmup_steps:
        return start + step / warmup_steps * (reference - start)
    share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return max(final, _cosine(share, reference, final))


def linear_lr(step: int, *, reference: float, final: float, total_steps: int) -> float:
    """Return the learning rate of a step: linear from `reference` to `final`, the cool-down of
    V-JEPA 2 (arXiv 2506.09985).
    """
    assert step >= 1, "steps count from 1"
    return max(final, reference + step / total_steps * (final - reference))


def cosine_weight_decay(step: int, *, reference: float, final: float, total_steps: int) -> float:
    """Return the weight decay of a step: cosine from `reference` to `final`, without warm-up."""
    assert step >= 1, "steps count from 1"
    return _cosine(step / total_steps, reference, final)


def _cosine(share: float, first: float, last: float) -> float:
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * share))
