"""Small supervised networks that show what moving_digits can be learnt to, from pixels.

They see training files only, through crops, colour changes and (videos) playing backwards, and are
scored once, after the last epoch. Shape letters: N samples, T frames, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench.data.decode.decode import read_frames
from bench.data.decode.images import read_image
from bench.data.manifest import Manifest
from bench.data.views.transforms import normalise, score_views
from bench.types import IMAGENET_MEAN, IMAGENET_STD
from tasks.digits.scenes import DIGITS, MOTIONS
from tasks.moving_digits import moving_digits_how, moving_digits_stills, moving_digits_what

SEEN = 48
CROP = 57  # pixels of the file that the score view of 48 pixels shows
STRIDE, EXTENT = 3, 22  # of the clips of 8 frames that the task's plan takes
BACKWARDS = ("right", "left", "sway", "bob", "counterclockwise", "clockwise", "shrink", "grow")
# Row numbers and a generator to normalised clips `[N, 3, T, H, W]` and labels `[N, heads]`.
Draw = Callable[[torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


def supervised_videos(data: Path, *, seed: int, epochs: int = 48) -> tuple[float, float]:
    """Train one network on both labels of the videos; return percent right on what and on how."""
    what, how = moving_digits_what(data=data), moving_digits_how(data=data)
    assert tuple(how.classes) == tuple(MOTIONS)
    pixels = read(what.fit)
    labels = torch.from_numpy(np.stack([what.fit.labels, how.fit.labels], axis=1))
    backwards = torch.tensor([how.classes.index(motion) for motion in BACKWARDS])

    def draw(rows: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        clips, chosen = [], labels[rows].clone()
        turned = torch.rand(len(rows), generator=rng) < 0.5
        chosen[turned, 1] = backwards[chosen[turned, 1]]
        for row, turn in zip(rows.tolist(), turned.tolist(), strict=True):
            spare = pixels.shape[1] - EXTENT + 1, pixels.shape[2] - CROP + 1
            start = int(torch.randint(spare[0], (), generator=rng))
            y, x = torch.randint(spare[1], (2,), generator=rng).tolist()
            clip = pixels[row, start : start + EXTENT : STRIDE, y : y + CROP, x : x + CROP]
            clips.append(clip.flip(0) if turn else clip)
        planes = torch.stack(clips).permute(0, 1, 4, 2, 3).float()
        small = functional.interpolate(planes.flatten(0, 1), size=(SEEN, SEEN), mode="bilinear")
        return recoloured(small.reshape(*planes.shape[:3], SEEN, SEEN), rng), chosen

    network = VideoNetwork()
    train(network, draw, len(labels), epochs=epochs, seed=seed)
    start = (pixels.shape[1] - EXTENT) // 2
    logits = predict(network, views(read(what.score)[:, start : start + EXTENT : STRIDE], "video"))
    of_what, of_how = torch.split(logits, list(network.num_classes), dim=1)
    return percent(of_what, what.score), percent(of_how, how.score)


def supervised_stills(data: Path, *, seed: int, epochs: int = 40) -> float:
    """Train a network on the stills; return percent right."""
    task = moving_digits_stills(data=data)
    planes = read(task.fit)[:, 0].permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(task.fit.labels)[:, None]

    def draw(rows: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return recoloured(warped(planes[rows], rng)[:, None], rng), labels[rows]

    network = StillNetwork()
    train(network, draw, len(labels), epochs=epochs, seed=seed)
    return percent(predict(network, views(read(task.score), "image")), task.score)


class VideoNetwork(nn.Module):
    """Convolutions in space, then in space and time, on frames and their change; two heads."""

    num_classes = (len(DIGITS), len(MOTIONS))

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _layer(6, 16, (1, 5, 5), stride=2),
            _layer(16, 32, (1, 3, 3), stride=2),
            _layer(32, 64, (1, 3, 3)),
            _layer(64, 64, (3, 1, 1)),
            _layer(64, 64, (1, 3, 3), stride=2),
            _layer(64, 64, (3, 1, 1)),
            _layer(64, 96, (1, 3, 3)),
            _layer(96, 96, (3, 1, 1)),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(192, sum(self.num_classes)))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits `[N, 18]` of normalised clips `[N, 3, T, H, W]`."""
        change = 2 * (clips - clips.mean(2, keepdim=True))
        y = self.layers(torch.cat([clips, change], 1))
        logits: torch.Tensor = self.head(torch.cat([y.mean((2, 3, 4)), y.amax((3, 4)).mean(2)], 1))
        return logits


class StillNetwork(nn.Module):
    """Six convolutions in space."""

    num_classes = (len(DIGITS),)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _layer(3, 24, (1, 5, 5), stride=2),
            _layer(24, 32, (1, 3, 3)),
            _layer(32, 48, (1, 3, 3), stride=2),
            _layer(48, 64, (1, 3, 3)),
            _layer(64, 64, (1, 3, 3), stride=2),
            _layer(64, 96, (1, 3, 3)),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(192, *self.num_classes))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits `[N, 10]` of normalised stills `[N, 3, 1, H, W]`."""
        y = self.layers(clips)
        logits: torch.Tensor = self.head(torch.cat([y.mean((2, 3, 4)), y.amax((2, 3, 4))], 1))
        return logits


def _layer(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Module:
    half = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    convolution = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), half, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())


# --------------------------------------------------------------------------------------- training
def train(
    network: VideoNetwork | StillNetwork,
    draw: Draw,
    num_rows: int,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 32,
) -> None:
    """Train with AdamW and a one-cycle schedule on the sum of the cross entropies of all labels."""
    rng = torch.Generator().manual_seed(seed)
    steps = num_rows // batch_size
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * steps, pct_start=0.2)
    for _ in range(epochs):
        network.train()
        order = torch.randperm(num_rows, generator=rng)[: steps * batch_size]
        for batch in order.reshape(steps, batch_size):
            clips, labels = draw(batch, rng)
            parts = torch.split(network(clips), list(network.num_classes), dim=1)
            losses = [
                functional.cross_entropy(part, label, label_smoothing=0.05)
                for part, label in zip(parts, labels.T, strict=True)
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()


@torch.no_grad()
def predict(network: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """Return the logits of normalised clips."""
    return torch.cat([network(part) for part in torch.split(clips, 64)])


def percent(logits: torch.Tensor, manifest: Manifest) -> float:
    """Return the share of rows whose largest logit is their label, in percent."""
    return 100 * float((logits.argmax(1).numpy() == manifest.labels).mean())


# ----------------------------------------------------------------------------------------- pixels
def read(manifest: Manifest) -> torch.Tensor:
    """Return all frames of all rows, uint8 `[N, T, H, W, 3]`."""
    if manifest.kind == "image":
        return torch.from_numpy(np.stack([read_image(path) for path in manifest.media]))
    whole = [read_frames(path, lambda n, fps: np.arange(n)[None]).pixels for path in manifest.media]
    return torch.from_numpy(np.stack(whole))


def views(pixels: torch.Tensor, kind: Literal["video", "image"]) -> torch.Tensor:
    """Return what an encoder of 48 pixels is scored on, normalised `[N, 3, T, H, W]`."""
    made = [score_views(p.numpy(), size=SEEN, num_views=1, kind=kind)[0] for p in pixels]
    return normalise(torch.from_numpy(np.stack(made)), IMAGENET_MEAN, IMAGENET_STD)


def warped(planes: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return random rotations, scalings, shears and shifts of `[N, 3, H, W]` at 48 pixels."""

    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(planes), generator=rng)

    angle, scale = between(-0.26, 0.26), between(0.8, 1.2) * CROP / planes.shape[-1]
    matrix = torch.zeros(len(planes), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * scale
    matrix[:, 1, 0] = angle.sin() * scale
    matrix[:, 0, 1] = between(-0.1, 0.1) - angle.sin() * scale
    matrix[:, 0, 2], matrix[:, 1, 2] = between(-0.15, 0.15), between(-0.15, 0.15)
    grid = functional.affine_grid(matrix, [len(planes), 3, SEEN, SEEN], align_corners=False)
    return functional.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)


def recoloured(planes: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Shuffle the channels of each clip `[N, T, 3, H, W]`, change contrast and light; normalise."""
    num = len(planes)
    order = torch.rand(num, 3, generator=rng).argsort(1)
    shuffled = planes[torch.arange(num)[:, None], :, order].movedim(1, -1)  # [N, T, H, W, 3]
    gain = 1 + 0.4 * (torch.rand(num, 1, 1, 1, 1, generator=rng) - 0.5)
    light = 76 * (torch.rand(num, 1, 1, 1, 1, generator=rng) - 0.5)
    return normalise(shuffled * gain + light, IMAGENET_MEAN, IMAGENET_STD)
