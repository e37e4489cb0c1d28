"""Feature quality during a run: two probes on a small labelled set.

Only training rows of the set are used, one half to fit and the other to score, so that watching a
run or stopping it early cannot leak the rows that its encoder is evaluated on.

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
from bench.data.splits import permuted, stratified_holdout
from bench.data.views.pixel_recipe import SCORE, Recipe
from bench.data.views.transforms import normalise
from bench.encoders.networks.video_vit import VitArchitecture
from bench.encoders.true_fp32 import true_fp32
from bench.errors import UsageError
from bench.features.arrays import ArraySource
from bench.features.encode import PRECISIONS
from bench.preflight.settle import with_data
from bench.preflight.task_contract import build_task
from bench.pretrain.health import Health, HealthMeter
from bench.types import IMAGENET_MEAN, IMAGENET_STD, IntArray, Probe, Silent

log = logging.getLogger(__name__)

NEIGHBOURS = 20  # the k that DINO (arXiv 2104.14294) reports
# A single C, so that there is nothing to select: scores compare steps of a run, not encoders.
LOGISTIC = {"C": (1.0,), "tol": 1e-4, "max_iter": 300}


@dataclass(frozen=True, kw_only=True)
class OnlineScores:
    """Top-1 accuracy (fraction) of both probes on held-out rows, and feature health."""

    knn: float
    linear: float
    health: Health

    def as_dict(self) -> dict[str, float]:
        """Return the two accuracies by name."""
        return {"knn": self.knn, "linear": self.linear}


class OnlineProbe:
    """A fixed labelled set, decoded once into memory, to score encoders on.

    A class-stratified sample of `rows` rows (or all, if there are fewer) of the training split of
    the registered `task`, the same for every encoder, seed and machine; half are for fitting, half
    held out. `data` is passed on as the task's option. A row is one clip in the task's plan with
    the encoder's frames and pixels, centre view; it takes frames * pixels^2 * 3 bytes (image: one
    frame). Rows that cannot be decoded are left out and listed in `unreadable` with the reason.

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
        built = build_task(task, with_data(task, data, options or {}))
        self.task = task
        self.unreadable: dict[str, str] = {}
        self._num_frames = architecture.num_frames
        self._recipe = _recipe(built, architecture)
        manifest = _subsample(built.fit, rows)
        self._pixels, self._labels = self._decode(manifest)
        self._num_classes = len(manifest.classes)
        self._fit_rows, self._held_out_rows = stratified_holdout(self._labels, fraction=0.5, seed=0)
        if not len(self._held_out_rows) or len(np.unique(self._labels)) < 2:
            raise UsageError(
                f"online task {task}: {len(self._labels)} readable training rows are too few to fit"
                " on one half and score on the other: it takes two classes and two rows of a class."
                " Choose another task, or use more rows."
            )

    @property
    def num_rows(self) -> tuple[int, int]:
        """Number of rows to fit on and of held-out rows."""
        return len(self._fit_rows), len(self._held_out_rows)

    @true_fp32()
    def measure(
        self,
        encoder: nn.Module,
        device: torch.device,
        precision: str = "fp32",
        *,
        batch_size: int = 32,
    ) -> OnlineScores:
        """Encode all rows, fit both probes and score them; seconds for a small encoder.

        `encoder` maps `[B, 3, T, H, W]` to `Tokens` and runs in eval mode; its training flags and
        torch's random state are restored. For a sharded encoder all processes must call this.
        """
        # Else a probe's draws would change the training that follows.
        randomness = torch.random.fork_rng([device] if device.type == "cuda" else [])
        with _eval_mode(encoder), randomness:
            clips, health = self._encode(encoder, device, precision, batch_size)
            if not health.is_finite:
                # No probe can be fitted.
                return OnlineScores(knn=float("nan"), linear=float("nan"), health=health)
            source = ArraySource(clips.numpy(), self._labels, self._num_classes)
            k = min(NEIGHBOURS, len(self._fit_rows))
            return OnlineScores(
                knn=self._top1(registry.build("probes", "knn", {"k": (k,)}), source),
                linear=self._top1(registry.build("probes", "logistic", LOGISTIC), source),
                health=health,
            )

    def _decode(self, manifest: Manifest) -> tuple[torch.Tensor, IntArray]:
        """Return readable clips, uint8 `[rows, T, H, W, 3]` (image: T = 1), and their labels."""
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
                "online task %s: left out %d of %d rows that cannot be decoded, such as %s",
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
        """Return clip-mean features `[rows, D]`, float32 on the CPU, and token health."""
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
        """Fit on the CPU, fast enough for so few rows, and return the held-out accuracy."""
        fit, held_out = (source.subset(r) for r in (self._fit_rows, self._held_out_rows))
        fitted = probe.fit(fit, seed=0, device=torch.device("cpu"), progress=Silent())
        correct = 0
        for batch in held_out.epoch(0, batch_size=len(held_out)):
            guesses_B = fitted.probabilities(batch.x)[0].argmax(dim=-1)
            correct += int((guesses_B == batch.y).sum())
        return correct / len(held_out)


def _recipe(task: Task, a: VitArchitecture) -> Recipe:
    """One clip in one deterministic view, as in evaluation."""
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


def _subsample(manifest: Manifest, rows: int) -> Manifest:
    """Take a class-stratified sample of about `rows` rows, at least one per class."""
    if rows < 2:
        raise UsageError(f"online rows = {rows}: must be at least 2, one to fit and one to score.")
    if rows >= len(manifest):
        return manifest
    fraction = rows / len(manifest)
    return manifest.subset(permuted(manifest.labels, draw=0, ids=manifest.ids).fraction(fraction))


@contextmanager
def _eval_mode(encoder: nn.Module) -> Iterator[None]:
    """Run in eval mode without gradients, then restore the mode of every module."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
