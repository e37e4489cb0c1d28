"""How useful the features are at this moment: two probes on a small labelled set, as a run goes on.

Only training rows of the set are used: one half is fitted on, the other half is scored. So
watching a run, or stopping it early, cannot leak the rows that its encoder is evaluated on.

Shape letters: B clips, T frames, H and W pixels, N tokens, D width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench import registry
from bench.data.loader import samples
from bench.data.manifest import Manifest, Task
from bench.data.splits import stratified_fraction, stratified_holdout
from bench.data.views.pixel_recipe import SCORE, Recipe
from bench.data.views.transforms import normalise
from bench.encoders.networks.video_vit import VitArchitecture
from bench.errors import UsageError
from bench.features.arrays import ArraySource
from bench.features.encode import PRECISIONS
from bench.pretrain.health import Health, HealthMeter
from bench.pretrain.lists import build_task
from bench.types import IMAGENET_MEAN, IMAGENET_STD, IntArray, Probe, Silent

log = logging.getLogger(__name__)

NEIGHBOURS = 20  # the k that DINO (arXiv 2104.14294) reports
# One value, so that nothing has to be chosen: scores compare moments of a run, not encoders.
LOGISTIC = {"C": (1.0,), "tol": 1e-4, "max_iter": 300}


@dataclass(frozen=True, kw_only=True)
class OnlineScores:
    """Top-1 accuracy (fractions) of both probes on the held-out rows, and the features' health."""

    knn: float
    linear: float
    health: Health

    def as_dict(self) -> dict[str, float]:
        """Return the two accuracies by name, for a log."""
        return {"knn": self.knn, "linear": self.linear}


class OnlineProbe:
    """A fixed labelled set in memory, decoded once, and what an encoder makes of it.

    Of the training split of the registered `task`, `rows` are taken (fewer if it has fewer), in
    the proportions of its classes and the same ones for every encoder, seed and machine; half of
    them are fitted on and half held out. `data` is passed on as the task's option of that name. A
    row is one clip by the task's plan with the encoder's frames and pixels, in its centre view; in
    memory it takes frames * pixels^2 * 3 bytes (of an image: one frame). Rows that cannot be
    decoded are left out, and listed in `unreadable` with the reason.

    Raises:
        UsageError: an unknown task or option, or a set too small to hold rows out.
        DataError: the files of the task are missing or wrong.
    """

    def __init__(
        self,
        task: str,
        options: Mapping[str, Any] | None = None,
        *,
        architecture: VitArchitecture,
        rows: int = 1280,
        data: Path | None = None,
    ) -> None:
        built = build_task(task, data, options)
        self.task = task
        self.unreadable: dict[str, str] = {}
        self._num_frames = architecture.num_frames
        self._recipe = _recipe(built, architecture)
        manifest = _cut(built.fit, rows)
        self._pixels, self._labels = self._decode(manifest)
        self._num_classes = len(manifest.classes)
        self._fit_rows, self._held_out_rows = stratified_holdout(self._labels, fraction=0.5, seed=0)
        if not len(self._held_out_rows) or len(np.unique(self._labels)) < 2:
            raise UsageError(
                f"online task {task}: {len(self._labels)} readable training rows are too few to fit"
                " on one half and score on the other: a class needs two rows, and there must be two"
                " classes. Name another task, or take more rows."
            )

    @property
    def num_rows(self) -> tuple[int, int]:
        """How many rows are fitted on, and how many are held out."""
        return len(self._fit_rows), len(self._held_out_rows)

    def measure(
        self,
        encoder: nn.Module,
        device: torch.device,
        precision: str = "fp32",
        *,
        batch_size: int = 32,
    ) -> OnlineScores:
        """Encode all rows, fit both probes and score them; seconds for a small encoder.

        `encoder` maps `[B, 3, T, H, W]` to `Tokens`; it is in eval mode meanwhile. Its training
        flags and torch's random state are afterwards what they were. A sharded encoder must be
        measured by all processes at once.
        """
        # Else a probe's draws would change how training goes on.
        randomness = torch.random.fork_rng([device] if device.type == "cuda" else [])
        with _evaluating(encoder), randomness:
            clips, health = self._encode(encoder, device, precision, batch_size)
            if not health.is_finite:
                # No probe can be fitted, and the health says so.
                return OnlineScores(knn=float("nan"), linear=float("nan"), health=health)
            source = ArraySource(clips.numpy(), self._labels, self._num_classes)
            k = min(NEIGHBOURS, len(self._fit_rows))
            return OnlineScores(
                knn=self._top1(registry.build("probes", "knn", {"k": (k,)}), source),
                linear=self._top1(registry.build("probes", "logistic", LOGISTIC), source),
                health=health,
            )

    def _decode(self, manifest: Manifest) -> tuple[torch.Tensor, IntArray]:
        """Return a clip of every readable row, uint8 `[rows, T, H, W, 3]`, and the labels.

        A still has T = 1.
        """
        clips, kept = [], []
        rows = np.arange(len(manifest), dtype=np.int64)
        for sample in samples(manifest, rows, self._recipe):
            pixels = sample.pixels
            if pixels is None:
                self.unreadable[manifest.ids[sample.row]] = sample.error or "unreadable"
                continue
            clip = pixels[0, 0]
            clips.append(clip[:1].clone() if manifest.kind == "image" else clip)
            kept.append(sample.row)
        if self.unreadable:
            log.warning(
                "online task %s: %d of %d rows cannot be decoded and are left out, such as %s",
                self.task,
                len(self.unreadable),
                len(manifest),
                next(iter(self.unreadable)),
            )
        if not clips:
            raise UsageError(
                f"online task {self.task}: none of its {len(manifest)} rows can be decoded; see:"
                f" bench check {self.task}."
            )
        return torch.stack(clips), manifest.labels[kept]

    def _encode(
        self, encoder: nn.Module, device: torch.device, precision: str, batch_size: int
    ) -> tuple[torch.Tensor, Health]:
        """Return the clip-mean features `[rows, D]`, float32 on the CPU, and the tokens' health."""
        meter, means = HealthMeter(), []
        dtype = PRECISIONS[precision]
        for start in range(0, len(self._pixels), batch_size):
            pixels = self._pixels[start : start + batch_size]
            clips = normalise(pixels.to(device), self._recipe.mean, self._recipe.std)
            clips = clips.expand(-1, -1, self._num_frames, -1, -1)
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                tokens_BND = encoder(clips).last.float()
            meter.add(tokens_BND)
            means.append(tokens_BND.mean(dim=1).cpu())
        return torch.cat(means), meter.health()

    def _top1(self, probe: Probe, source: ArraySource) -> float:
        """Fit on the CPU, where so few rows are at home, and return the held-out accuracy."""
        fit, held_out = (source.subset(r) for r in (self._fit_rows, self._held_out_rows))
        fitted = probe.fit(fit, seed=0, device=torch.device("cpu"), progress=Silent())
        correct = 0
        for batch in held_out.epoch(0, batch_size=len(held_out)):
            guesses_B = fitted.probabilities(batch.x)[0].argmax(dim=-1)
            correct += int((guesses_B == batch.y).sum())
        return correct / len(held_out)


def _recipe(task: Task, a: VitArchitecture) -> Recipe:
    """One clip in one deterministic view, as an evaluation sees it."""
    plan = replace(task.fit_plan, num_frames=a.num_frames, num_clips=1, num_views=1)
    return Recipe(
        plan=plan,
        view=SCORE,
        size=a.image_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        flip=False,
        kind=task.kind,
    )


def _cut(manifest: Manifest, rows: int) -> Manifest:
    """Keep about `rows` rows in the proportions of the classes, at least one of each."""
    if rows < 2:
        raise UsageError(f"online rows = {rows}: it must be at least 2, to fit and to score on.")
    if rows >= len(manifest):
        return manifest
    fraction = rows / len(manifest)
    return manifest.subset(stratified_fraction(manifest.labels, fraction, draw=0, ids=manifest.ids))


@contextmanager
def _evaluating(encoder: nn.Module) -> Iterator[None]:
    """Put all modules in eval mode, without gradients, and each back into its own mode."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
