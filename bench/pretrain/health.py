"""What the features of the target encoder tell about a run, and the sentence that names a collapse.

The loss of a joint-embedding method is small where features are good and where they are constant.
So features of a fixed set of clips are measured as the run goes on.

`relative_std` tells the two apart whatever the scale of the features, which the encoder's last
layer norm fixes: it is the share of the clips' features that differs from clip to clip, and
vanishes when all clips look alike, also where tokens still differ by their position. Measured on
moving digits with a network of width 48: in a healthy run it falls from 0.13 to 0.06 and rises to
0.31 within 600 steps; with no moving average and no predictor it falls to 0.004 and stays below
0.007. The effective rank does not tell them apart: it is 1.4 to 1.6 from step 250 of the healthy
run on, and 2.5 to 5 in the collapsed one, where all that is left to measure is noise.

Shape letters: B clips, N tokens of a clip, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

PATIENCE = 3  # measurements in a row; a single low one is the dip of a healthy start
SMALLEST_SHARE = 0.1  # of the first relative_std; a healthy start falls to about a half of it
SMALLEST_STD = 0.01  # relative, whatever the first one was
SMALLEST_RANK = 1.05
FEWEST_CLIPS = 8  # fewer have hardly a spread or a rank to speak of
ROUNDING = 1e-6  # relative_std of clips that differ in the last bit of float32


@dataclass(frozen=True, kw_only=True)
class Health:
    """Features of `num_clips` clips in six numbers; all are nan where a feature is not finite.

    `feature_std` is the mean over dimensions of the standard deviation over clips of the clip-mean
    features; `token_std` the same over all tokens. `relative_std` is the root mean square deviation
    of the clip-mean features from their mean, over their root mean square norm: 0 (all clips alike)
    to 1. `effective_rank` is exp(entropy) of the eigenvalues of the covariance of the clip-mean
    features, divided by their sum (Roy & Vetterli 2007, there of singular values): 1 to D, and 0
    where nothing varies. `target_norm` is the mean L2 norm of a token before the layer norm of the
    objective. `similarity` is the mean cosine of two tokens of one clip, 1 where all are equal.
    """

    num_clips: int
    feature_std: float
    token_std: float
    relative_std: float
    effective_rank: float
    target_norm: float
    similarity: float

    def as_dict(self) -> dict[str, float]:
        """Return the numbers by name, for a log."""
        return asdict(self)

    @property
    def is_finite(self) -> bool:
        """Whether every number is one."""
        return all(math.isfinite(value) for value in self.as_dict().values())


MEASURED = tuple(field.name for field in fields(Health) if field.name != "num_clips")


def feature_health(features_BND: torch.Tensor) -> Health:
    """Measure the tokens `[B, N, D]` of B clips, as the encoder gives them."""
    meter = HealthMeter()
    meter.add(features_BND)
    return meter.health()


class HealthMeter:
    """The same in parts, for more clips than memory holds tokens of."""

    def __init__(self) -> None:
        self._means: list[torch.Tensor] = []
        self._sum: torch.Tensor | float = 0.0
        self._squares: torch.Tensor | float = 0.0
        self._norms = self._cosines = 0.0
        self._num_tokens = 0

    def add(self, features_BND: torch.Tensor) -> None:
        """Count the tokens `[B, N, D]` of B more clips."""
        tokens = features_BND.detach().float()
        B, N, _ = tokens.shape
        norms = tokens.norm(dim=-1, keepdim=True)
        # |sum of N unit vectors|^2 is N plus the cosines of all ordered pairs.
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
        """Return the numbers of all clips so far; at least one."""
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
    """Return how much of vectors `[B, D]` differs between them: 0 (nothing) to 1; free of scale."""
    clips = clips_BD.double()
    size = float(clips.square().sum(dim=1).mean())
    varying = float((clips - clips.mean(dim=0)).square().sum(dim=1).mean())
    return math.sqrt(varying / size) if size else 0.0


def effective_rank(clips_BD: torch.Tensor) -> float:
    """Return exp(entropy) of the normalised eigenvalues of the covariance of vectors `[B, D]`.

    Roy & Vetterli, "The effective rank", EUSIPCO 2007. k directions of equal variance give k; it
    is 0 where the vectors differ by rounding only.
    """
    if relative_std(clips_BD) < ROUNDING:
        return 0.0
    centred = clips_BD.double() - clips_BD.double().mean(dim=0)
    B, D = centred.shape
    # The smaller of the two products has the same eigenvalues, but for zeros.
    gram = centred.T @ centred if D <= B else centred @ centred.T
    eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0)
    shares = eigenvalues / eigenvalues.sum()
    return math.exp(float(torch.special.entr(shares).sum()))


def collapse(history: Sequence[tuple[int, Health]]) -> str | None:
    """Name a collapse and why in a sentence, or return None.

    `history` is (step, health), ascending, with the first measurement of the run at its begin: the
    others are compared with it. Values that are not finite count at once, all else only if the last
    `PATIENCE` measurements agree, each on at least `FEWEST_CLIPS` clips.
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
            f"{since}all clips give nearly the same features: only {last.relative_std:.2g} of their"
            f" size differs from clip to clip ({first:.2g} at step {history[0][0]})."
        )
    if all(health.effective_rank < SMALLEST_RANK for health in recent):
        return (
            f"{since}the features vary along one direction only: effective rank"
            f" {last.effective_rank:.2f}."
        )
    return None


def health_history(entries: Iterable[Mapping[str, Any]]) -> list[tuple[int, Health]]:
    """Return the measurements in the entries of a journal, for `collapse` after a resume."""
    history = []
    for entry in entries:
        if values := entry.get("health"):
            held = {name: values.get(name) for name in MEASURED}
            # A journal writes null for what is not finite.
            numbers = {name: math.nan if value is None else value for name, value in held.items()}
            health = Health(num_clips=int(values.get("num_clips") or 0), **numbers)
            history.append((entry["step"], health))
    return history
