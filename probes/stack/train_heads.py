"""Train all heads of a sweep in one pass over the features per epoch.

Shape letters: B samples, K heads, C classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch.nn import functional

from bench.errors import BenchError, UsageError
from bench.schedules import cosine_lr, cosine_weight_decay
from bench.types import FeatureSource, Head, Progress
from probes.stack.optimizer import Kind, StackedOptimizer
from probes.stack.products import StackedHeads

log = logging.getLogger(__name__)

ONE_THREAD_BELOW = 2**24  # multiplications of a step forward


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The training settings shared by all heads of a sweep.

    `warmup` is in epochs, from a learning rate of `start_lr`; the cosine then ends at `final_lr`.
    The weight decay follows a cosine to `final_weight_decay`; None keeps it constant. `clip_norm`
    bounds each head's gradient. `decay_all` decays vectors and biases too. `drop_last` drops an
    incomplete last batch.
    """

    epochs: int
    batch_size: int
    warmup: float = 0.0
    start_lr: float = 0.0
    final_lr: float = 0.0
    final_weight_decay: float | None = None
    clip_norm: float | None = None
    optimizer: Kind = "adamw"
    momentum: float = 0.9
    decay_all: bool = False
    drop_last: bool = False

    def steps_per_epoch(self, num_rows: int) -> int:
        """Return the number of batches per epoch.

        Raises:
            UsageError: the only batch is incomplete and dropped.
        """
        if not self.drop_last:
            return math.ceil(num_rows / self.batch_size)
        if num_rows < self.batch_size:
            raise UsageError(
                f"{num_rows:,} training rows are fewer than a batch of {self.batch_size}, and"
                " incomplete batches are dropped, so nothing would be trained: set a smaller"
                " probe.batch_size, or probe.drop_last=false."
            )
        return num_rows // self.batch_size

    def at(
        self, step: int, heads: Sequence[Head], steps_per_epoch: int
    ) -> tuple[list[float], list[float]]:
        """Return learning rate and weight decay of every head at a step, counted from 1."""
        total = self.epochs * steps_per_epoch
        warmup = int(self.warmup * steps_per_epoch)
        rates, decays = [], []
        for head in heads:
            lr, decay = head.settings["lr"], head.settings["weight_decay"]
            if self.final_weight_decay is not None:
                decay = cosine_weight_decay(
                    step, reference=decay, final=self.final_weight_decay, total_steps=total
                )
            rates.append(
                cosine_lr(
                    step,
                    reference=lr,
                    start=self.start_lr,
                    final=self.final_lr,
                    total_steps=total,
                    warmup_steps=warmup,
                )
            )
            decays.append(decay)
        return rates, decays


def train(
    module: StackedHeads,
    *,
    heads: Sequence[Head],
    recipe: TrainingRecipe,
    source: FeatureSource,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    """Train the stacked `module` in place and return the log, including dropped heads.

    Every head sees the same batches in the same order, in the precision of the parameters. A head
    whose loss or gradient is not finite is no longer updated and is listed in `dropped`; the others
    are unaffected.

    Raises:
        UsageError: the only batch is incomplete and dropped.
        BenchError: no head is left.
    """
    assert len(source), "there is nothing to train on"
    dtype = next(module.parameters()).dtype
    optimizer = StackedOptimizer(
        module, kind=recipe.optimizer, momentum=recipe.momentum, decay_all=recipe.decay_all
    )
    head_log = _HeadLog(heads)
    steps_per_epoch = recipe.steps_per_epoch(len(source))
    step = 0
    module.train()
    progress.start(
        f"fit {len(heads)} head{'s' * (len(heads) > 1)}", recipe.epochs * steps_per_epoch
    )
    try:
        for epoch in range(recipe.epochs):
            batches = source.epoch(epoch, batch_size=recipe.batch_size, seed=seed)
            for batch in islice(batches, steps_per_epoch if recipe.drop_last else None):
                step += 1
                rates, decays = recipe.at(step, heads, steps_per_epoch)
                assert batch.x.shape[1] == 1, "training features have one view"
                x, y = batch.x[:, 0].to(device, dtype), batch.y.to(device)
                # Not around the loop, which encodes live features when it fetches a batch.
                with _one_thread() if _is_small(module, x) else nullcontext():
                    losses = module.backward(x, y, head_losses)
                    head_log.add_losses(losses.cpu(), len(y), epoch, step)
                    norms = optimizer.step(
                        lr=rates,
                        weight_decay=decays,
                        clip_norm=recipe.clip_norm,
                        active=head_log.active,
                    )
                if norms is not None:
                    head_log.drop_where(~norms.isfinite().cpu(), "gradient", epoch, step)
                head_log.require_active_head()
                progress.advance()
            head_log.close_epoch()
    finally:
        progress.stop()
        module.memory.clear()
    module.eval()
    head_log.drop_where(~finite_heads(module), "weights", recipe.epochs - 1, step)
    head_log.require_active_head()
    return head_log.log(step)


def _is_small(module: StackedHeads, x_BD: torch.Tensor) -> bool:
    """Whether threads would slow down a step on a CPU."""
    if x_BD.device.type != "cpu" or x_BD.dim() != 2:
        return False
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return len(x_BD) * parameters < ONE_THREAD_BELOW


def head_losses(logits_KBC: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of every head, `[K]`.

    Cross-entropy for labels `y` `[B]`; for 0 and 1 `[B, C]` the binary cross-entropy, averaged over
    rows and classes.
    """
    K, B, _ = logits_KBC.shape
    if y.ndim == 2:
        target = y.to(logits_KBC).expand_as(logits_KBC)
        losses = functional.binary_cross_entropy_with_logits(logits_KBC, target, reduction="none")
        return losses.mean(dim=(1, 2))
    losses = functional.cross_entropy(logits_KBC.flatten(0, 1), y.repeat(K), reduction="none")
    return losses.view(K, B).mean(dim=1)


def finite_heads(module: StackedHeads) -> torch.Tensor:
    """Return which heads have only finite parameters, bool `[K]` on the CPU."""
    parts = [p.detach().flatten(1).isfinite().all(dim=1) for p in module.parameters()]
    return torch.stack(parts).all(dim=0).cpu()


class _HeadLog:
    """Losses per epoch, and which heads are still being trained."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = heads
        self.active = list(range(len(heads)))
        self._dropped: list[dict[str, Any]] = []
        self._curve: list[list[float | None]] = []
        self._sums, self._rows = torch.zeros(len(heads), dtype=torch.float64), 0

    def add_losses(self, losses: torch.Tensor, rows: int, epoch: int, step: int) -> None:
        self._sums += losses.double() * rows
        self._rows += rows
        self.drop_where(~losses.isfinite(), "loss", epoch, step)

    def drop_where(self, bad: torch.Tensor, what: str, epoch: int, step: int) -> None:
        for k in [k for k in self.active if bool(bad[k])]:
            self.active.remove(k)
            place = {"head": dict(self._heads[k].settings), "reason": f"{what} not finite"}
            self._dropped.append({**place, "epoch": epoch, "step": step})
            log.warning("head %s dropped at step %d: %s not finite", self._heads[k], step, what)

    def require_active_head(self) -> None:
        if not self.active:
            raise BenchError(
                f"no head is left: {self._dropped[-1]['reason']} for the last of"
                f" {len(self._heads)} at step {self._dropped[-1]['step']}; lower the learning rates"
                " or check the features for non-finite values."
            )

    def close_epoch(self) -> None:
        means = (self._sums / self._rows).tolist()
        self._curve.append([m if k in self.active else None for k, m in enumerate(means)])
        self._sums.zero_()
        self._rows = 0

    def log(self, steps: int) -> dict[str, Any]:
        kept: Mapping[str, Any] = {"steps": steps, "dropped": self._dropped}
        curve = [[losses[k] for k in self.active] for losses in self._curve]
        return {**kept, "loss_per_epoch": curve, "kept": self.active}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread for tensors too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
