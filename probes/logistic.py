"""Logistic regression on one vector per view, solved by L-BFGS for a grid of C.

DINOv2's protocol (arXiv 2304.07193, appendix B.3: 45 values 10^linspace(-6, 5), float64, 1000
iterations) with a smaller default grid. scikit-learn's default tolerance of 1e-4 stops well above
the minimum, so ours is 1e-6. Departure: unless `standardise=false`, features are standardised with
the mean and deviation of the training rows, so that one grid suits encoders of any feature scale.

Shape letters: N training rows, B samples, V views, D width, K heads, C classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.errors import CheckpointError, UsageError
from bench.registry import probe
from bench.types import FeatureSource, Head, Progress, Settings
from probes.stack.gathered import GatheredProbe, gather
from probes.stack.sweep import above_zero, at_least, grid

log = logging.getLogger(__name__)

ONE_THREAD_BELOW = 20_000_000  # values of the training features


@probe
def logistic(
    *,
    C: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    tol: float = 1e-6,
    max_iter: int = 1000,
    standardise: bool = True,
) -> LogisticProbe:
    """Multinomial logistic regression by L-BFGS in float64; heads are the values of `C`.

    `C` is the inverse of the L2 penalty. With `standardise=false` the solver sees the features as
    they are, as in scikit-learn, DINOv2 and MTEB. A head that stops at `max_iter` is kept and
    logged. Of several draws of training features only the first is used.

    Raises:
        UsageError: an invalid setting.
    """
    above_zero("logistic", C=C, tol=tol)
    at_least("logistic", 1, max_iter=max_iter)
    return LogisticProbe(
        heads=grid("logistic", C=C), tol=tol, max_iter=max_iter, standardise=standardise
    )


@dataclass(frozen=True, kw_only=True)
class LogisticProbe(GatheredProbe):
    """Logistic regressions over vectors, one per value of C."""

    tol: float
    max_iter: int
    standardise: bool = True
    name: str = "logistic"

    @property
    def settings(self) -> Settings:
        """Settings that all heads share."""
        # Left out where usual, so that ids stay those of earlier versions.
        raw = {} if self.standardise else {"standardise": False}
        return {"tol": self.tol, "max_iter": self.max_iter, **raw}

    def fit(
        self, source: FeatureSource, *, seed: int, device: torch.device, progress: Progress
    ) -> FittedLogistic:
        """Solve every head on the CPU; the solver starts from zero, so `seed` has no effect.

        Raises:
            UsageError: all training rows are of one class, or rows have several labels.
        """
        self.check_labels(source.labels)
        x, y = gather(source, progress)
        present = torch.unique(y)
        if len(present) < 2:
            raise UsageError(
                f"probe 'logistic': all {len(y)} training rows are of one class; it needs at least"
                " two classes."
            )
        x = x.double()
        mean, deviation = x.mean(dim=0), x.std(dim=0, correction=0)
        constant = x.amax(dim=0) == x.amin(dim=0)
        deviation[constant] = 1.0
        if not self.standardise:
            mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
        x = (x - mean) / deviation
        weight = torch.zeros(len(self.heads), source.num_classes, source.width).double()
        bias = torch.full(weight.shape[:2], -torch.inf, dtype=torch.float64)
        solutions = []
        progress.start("logistic regression", len(self.heads))
        try:
            for k, head in enumerate(self.heads):
                weight[k, present], bias[k, present], facts = self._solve(x, y, head)
                solutions.append(facts)
                progress.advance()
        finally:
            progress.stop()
        return FittedLogistic(
            heads=self.heads,
            log={"constant_features": int(constant.sum()), "solutions": solutions},
            tensors={"weight": weight, "bias": bias, "mean": mean, "deviation": deviation},
        )

    def _solve(
        self, x: torch.Tensor, y: torch.Tensor, head: Head
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
        from sklearn.exceptions import ConvergenceWarning  # heavy: only this probe needs it
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        solver = LogisticRegression(
            C=head.settings["C"], tol=self.tol, max_iter=self.max_iter, solver="lbfgs"
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            # Below this size threads slow it down, and their number would change the last digits.
            one = 1 if x.numel() < ONE_THREAD_BELOW else None
            with threadpool_limits(limits=one):
                solver.fit(x.numpy(), y.numpy())
        converged = True
        for warning in caught:
            if issubclass(warning.category, ConvergenceWarning):
                converged = False
                log.warning("logistic %s did not converge in %d steps", head, self.max_iter)
            else:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        weight, bias = torch.from_numpy(solver.coef_), torch.from_numpy(solver.intercept_)
        if len(solver.classes_) == 2:  # one row for two classes: the first has the logit 0
            weight = torch.cat([torch.zeros_like(weight), weight])
            bias = torch.cat([torch.zeros_like(bias), bias])
        iterations = int(solver.n_iter_.max())
        return weight, bias, {"iterations": iterations, "converged": converged}

    def restore(
        self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> FittedLogistic:
        """Rebuild the fitted probe from `FittedLogistic.state`."""
        heads = tuple(Head(settings=settings) for settings in facts["heads"])
        return FittedLogistic(heads=heads, log=facts["log"], tensors=dict(tensors))


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLogistic:
    """Solved logistic regressions. `tensors` are float64: weight `[K, C, D]`, bias `[K, C]` (minus
    infinity for a class without training rows: its probability is 0), mean and deviation `[D]`.
    """

    heads: Sequence[Head]
    log: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    @torch.no_grad()
    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Return `[K, B, C]` on the CPU from vectors `[B, V, D]`: the mean softmax over views.

        Raises:
            CheckpointError: the probe was fitted on vectors of another width.
        """
        weight, bias = self.tensors["weight"], self.tensors["bias"]
        if x.shape[-1] != weight.shape[-1]:
            raise CheckpointError(
                f"this logistic probe takes vectors of width {weight.shape[-1]}, but the encoder"
                f" gives {x.shape[-1]}; use the encoder that it was fitted on."
            )
        standard = (x.cpu().double() - self.tensors["mean"]) / self.tensors["deviation"]
        logits = torch.einsum("bvd,kcd->kbvc", standard, weight) + bias[:, None, None]
        return logits.softmax(dim=-1).mean(dim=2).float()

    def only(self, index: int) -> FittedLogistic:
        """Return the head `heads[index]` alone."""
        head = {name: self.tensors[name][index : index + 1] for name in ("weight", "bias")}
        return replace(self, heads=(self.heads[index],), tensors={**self.tensors, **head})

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return tensors and facts for `LogisticProbe.restore`."""
        facts = {"heads": [dict(head.settings) for head in self.heads], "log": dict(self.log)}
        return dict(self.tensors), facts
