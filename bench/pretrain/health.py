"""Health of the target encoder's features during a run, and collapse detection.

The loss of a joint-embedding method is small for good features and for constant ones, so features
of a fixed set of clips are measured during the run.

`relative_std` distinguishes the two at any feature scale (which the encoder's last layer norm
fixes): it is the fraction of the features that differs from clip to clip, and vanishes when all
clips look alike, even if tokens still differ by position. Measured on moving digits with a network
of width 48: in a healthy run it falls from 0.13 to 0.06 and rises to 0.31 within 600 steps; without
moving average and predictor it falls to 0.004 and stays below 0.007. The effective rank does not
distinguish them: it is 1.4 to 1.6 from step 250 of the healthy run, and 2.5 to 5 in the collapsed
one, where only noise is left to measure.

Shape letters: B clips, N tokens per clip, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

PATIENCE = 3  # measurements in a row; a single low one may be the dip of a healthy start
SMALLEST_SHARE = 0.1  # of the first relative_std; a healthy start falls to about half of it
SMALLEST_STD = 0.01  # relative_std, whatever the first one was
SMALLEST_RANK = 1.05
FEWEST_CLIPS = 8  # fewer have no meaningful spread or rank
ROUNDING = 1e-6  # relative_std of clips that differ in the last bit of float32


@dataclass(frozen=True, kw_only=True)
class Health:
    """Statistics of the features of `num_clips` clips; all are nan if a feature is not finite.

    `feature_std` is the standard deviation over clips of the clip-mean features, averaged over
    dimensions; `token_std` the same over all tokens. `relative_std` is the root mean square
    deviation of the clip-mean features from their mean, over their root mean square norm: 0 (all
    clips alike) to 1. `effective_rank` is exp(entropy) of the normalised eigenvalues of the
    covariance of the clip-mean features (Roy & Vetterli 2007, there of singular values): 1 to D, or
    0 if nothing varies. `target_norm` is the mean L2 norm of a token before the layer norm of the
    objective. `similarity` is the mean cosine of two tokens of one clip.
    """

    num_clips: int
    feature_std: float
    token_std: float
    relative_std: float
    effective_rank: float
    target_norm: float
    similarity: float

    def as_dict(self) -> dict[str, float]:
        """Return the statistics by name."""
        return asdict(self)

    @property
    def is_finite(self) -> bool:
        """Whether every statistic is finite."""
        return all(math.isfinite(value) for value in self.as_dict().values())


MEASURED = tuple(field.name for field in fields(Health) if field.name != "num_clips")


def feature_health(features_BND: torch.Tensor) -> Health:
    """Measure the encoder's tokens `[B, N, D]` of B clips."""
    meter = HealthMeter()
    meter.add(features_BND)
    return meter.health()


class HealthMeter:
    """Accumulates `Health` over batches, when the tokens of all clips do not fit in memory."""

    def __init__(self) -> None:
        self._means: list[torch.Tensor] = []
        self._sum: torch.Tensor | float = 0.0
        self._squares: torch.Tensor | float = 0.0
        self._norms = self._cosines = 0.0
        self._num_tokens = 0

    def add(self, features_BND: torch.Tensor) -> None:
        """Add the tokens `[B, N, D]` of B clips."""
        tokens = features_BND.detach().float()
        B, N, _ = tokens.shape
        norms = tokens.norm(dim=-1, keepdim=True)
        # |sum of N unit vectors|^2 = N + the cosines of all ordered pairs.
        units = (tokens / norms.clamp(min=torch.finfo(torch.float32).tiny)).sum(dim=1)
        pairs = N * (N - 1)
        cosines = (units.square().sum(dim=-1) - N) / pairs if pairs else torch.ones(B)
        self._means.append(tokens.mean(dim=1).cpu().double())
        self._sum += tokens.sum(dim=(0, 1)).cpu().double()
        self._squares += tokens.square().sum(dim=(0, 1)).cpu().double()
        self._norms += float(norms.sum())
        self._cosines += float(cosines.sum())
        self._num_tokens += B * N

    def health(self) -> Health:
        """Return the statistics of all clips so far, at least one."""
        clips_BD = torch.cat(self._means)
        if not clips_BD.isfinite().all():
            return Health(num_clips=len(clips_BD), **dict.fromkeys(MEASURED, math.nan))
        mean = torch.as_tensor(self._sum) / self._num_tokens
        variance = torch.as_tensor(self._squares) / self._num_tokens - mean.square()
        return Health(
            num_clips=len(clips_BD),
            feature_std=float(clips_BD.std(dim=0, correction=0).mean()),
            token_std=float(variance.clamp(min=0).sqrt().mean()),
            relative_std=relative_std(clips_BD),
            effective_rank=effective_rank(clips_BD),
            target_norm=self._norms / self._num_tokens,
            similarity=self._cosines / len(clips_BD),
        )


def relative_std(clips_BD: torch.Tensor) -> float:
    """Return the fraction of vectors `[B, D]` that varies, 0 (none) to 1; scale-invariant."""
    clips = clips_BD.double()
    size = float(clips.square().sum(dim=1).mean())
    varying = float((clips - clips.mean(dim=0)).square().sum(dim=1).mean())
    return math.sqrt(varying / size) if size else 0.0


def effective_rank(clips_BD: torch.Tensor) -> float:
    """Return exp(entropy) of the normalised eigenvalues of the covariance of vectors `[B, D]`.

    Roy & Vetterli, "The effective rank", EUSIPCO 2007. k directions of equal variance give k;
    vectors that differ by rounding only give 0.
    """
    if relative_std(clips_BD) < ROUNDING:
        return 0.0
    centred = clips_BD.double() - clips_BD.double().mean(dim=0)
    B, D = centred.shape
    # The smaller of the two products has the same eigenvalues, except for zeros.
    gram = centred.T @ centred if D <= B else centred @ centred.T
    eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0)
    shares = eigenvalues / eigenvalues.sum()
    return math.exp(float(torch.special.entr(shares).sum()))


def find_collapse(history: Sequence[tuple[int, Health]]) -> str | None:
    """Return a sentence that describes a collapse and its evidence, or None.

    `history` is (step, health), ascending; measurements are compared with the first of the run.
    Non-finite values count at once, all else only if the last `PATIENCE` measurements agree, each
    on at least `FEWEST_CLIPS` clips.
    """
    if not history:
        return None
    step, last = history[-1]
    if not last.is_finite:
        return f"step {step}: the features are not finite; lower the learning rate."
    recent = [health for _, health in history[-PATIENCE:]]
    if len(recent) < PATIENCE or min(health.num_clips for health in recent) < FEWEST_CLIPS:
        return None
    since = f"steps {history[-PATIENCE][0]} to {step}: collapse: "
    first = history[0][1].relative_std
    limit = max(SMALLEST_STD, SMALLEST_SHARE * first) if math.isfinite(first) else SMALLEST_STD
    if all(health.relative_std < limit for health in recent):
        return (
            f"{since}all clips give nearly the same features: relative std {last.relative_std:.2g}"
            f" ({first:.2g} at step {history[0][0]})."
        )
    if all(health.effective_rank < SMALLEST_RANK for health in recent):
        return (
            f"{since}features vary along one direction: effective rank {last.effective_rank:.2f}."
        )
    return None


def health_history(entries: Iterable[Mapping[str, Any]]) -> list[tuple[int, Health]]:
    """Return the health measurements in journal entries, for `find_collapse` after a resume."""
    history = []
    for entry in entries:
        if values := entry.get("health"):
            # A journal writes null for non-finite numbers.
            found = {name: values.get(name) for name in MEASURED}
            numbers = {name: math.nan if value is None else value for name, value in found.items()}
            health = Health(num_clips=int(values.get("num_clips") or 0), **numbers)
            history.append((entry["step"], health))
    return history
