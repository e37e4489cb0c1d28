"""AdamW or SGD over stacked parameters, with learning rate, weight decay and clipping per probe.

Parameter k of a stack is a view of one memory block, so PyTorch's fused kernels update each probe
with its own settings in one pass over its memory. Gradient norms are per probe: with a norm over
the stack, one probe's large gradient would slow down the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from probes.stack.products import StackedHeads

Kind = Literal["adamw", "sgd"]


class StackedOptimizer:
    """Updates the K probes of a module whose parameters all have K as their first axis.

    Weight decay applies to the matrices of each probe, and with `decay_all` to vectors and biases.
    """

    def __init__(
        self,
        module: StackedHeads,
        *,
        kind: Kind = "adamw",
        momentum: float = 0.9,
        decay_all: bool = False,
    ) -> None:
        named = list(module.named_parameters())
        self._num_probes = named[0][1].shape[0]
        assert all(p.shape[0] == self._num_probes for _, p in named), "a parameter is not stacked"
        self._memory = module.memory
        is_decayed = {n: decay_all or (p.ndim > 2 and "bias" not in n) for n, p in named}
        decayed = [p for name, p in named if is_decayed[name]]
        rest = [p for name, p in named if not is_decayed[name]]
        self._parameters = decayed + rest
        self._views = [[p.detach()[k] for p in self._parameters] for k in range(self._num_probes)]
        groups = [
            {"params": part}
            for views in self._views
            for part in (views[: len(decayed)], views[len(decayed) :])
            if part
        ]
        self._is_decayed = [True] * bool(decayed) + [False] * bool(rest)
        self._optimizer: torch.optim.Optimizer = (
            torch.optim.SGD(groups, lr=0.0, momentum=momentum, fused=True)
            if kind == "sgd"
            else torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True)
        )

    def step(
        self,
        *,
        lr: Sequence[float],
        weight_decay: Sequence[float],
        clip_norm: float | None = None,
        active: Iterable[int] | None = None,
    ) -> torch.Tensor | None:
        """Update the probes in `active` (all by default) and reset the gradients.

        With `clip_norm`, each probe's gradient norm is clipped first; the norms before clipping are
        returned, `[K]`.
        """
        norms = None if clip_norm is None else self._clip(clip_norm)
        for k in range(self._num_probes) if active is None else active:
            for view, parameter in zip(self._views[k], self._parameters, strict=True):
                assert parameter.grad is not None, "step() needs a backward pass before it"
                view.grad = parameter.grad[k]
        per_probe = len(self._is_decayed)
        for index, group in enumerate(self._optimizer.param_groups):
            k = index // per_probe
            group["lr"] = lr[k]
            group["weight_decay"] = weight_decay[k] if self._is_decayed[index % per_probe] else 0.0
        self._optimizer.step()
        self._optimizer.zero_grad()
        for parameter in self._parameters:
            if parameter.grad is not None:
                self._memory.give(parameter.grad)
            parameter.grad = None
        return norms

    def _clip(self, clip_norm: float) -> torch.Tensor:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        parts = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]
        norms: torch.Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
        scale = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
        if not bool((scale == 1.0).all()):  # saves a pass over all gradients
            for gradient in gradients:
                gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
        return norms
