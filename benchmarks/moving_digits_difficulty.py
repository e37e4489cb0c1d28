"""Measure how hard moving_digits is: floors with every probe, and small supervised networks.

Run `python -m benchmarks.moving_digits_difficulty` (`--data` for rendered files, `--threads`,
`--only floors|supervised`); under ten minutes on two cores. The floors are ordinary runs of the
product (honest@1) on an untrained ViT and on pooled pixels, plus one attentive probe that trains
three times as long. The networks see training files only and are scored once, after the last
epoch. `benchmarks/DIFFICULTY.md` keeps the figures by which the defaults were chosen.

Shape letters: N samples, T frames, H and W pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench.config import Machine, RunConfig, home_folder
from bench.data.decode import read_frames
from bench.data.images import read_image
from bench.data.transforms import normalise
from bench.run import evaluate
from bench.types import IMAGENET_MEAN, IMAGENET_STD, Manifest, Silent
from tasks.moving_digits import moving_digits_how, moving_digits_stills, moving_digits_what
from tasks.moving_digits_scenes import MOTIONS

TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
PROBES = ("knn", "linear", "logistic", "attentive")
FLOORS = ("pixel_mean", "random:vit_digits")
LONG = {"epochs": 60}
RESIZED, SEEN = 54, 48  # the short side of the score view of a 48-pixel encoder, and its crop
BACKWARDS = {"left": "right", "clockwise": "counterclockwise", "grow": "shrink"}


def main() -> None:
    """Parse the options, measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=home_folder())
    parser.add_argument("--only", choices=("floors", "supervised"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    if options.only != "supervised":
        floors(options.data, options.seed)
    if options.only != "floors":
        print("\n| supervised | what | how | stills | seconds |\n|---|---|---|---|---|")
        what, how, video_seconds = supervised_videos(options.data, options.seed)
        stills, still_seconds = supervised_stills(options.data, options.seed)
        seconds = video_seconds + still_seconds
        print(f"| small networks | {what:.1f} | {how:.1f} | {stills:.1f} | {seconds:.0f} |")
    print(f"\n{time.perf_counter() - begin:.0f} s, {options.threads} threads, seed {options.seed}")


def floors(data: Path, seed: int) -> None:
    """Print top-1 accuracies (percent) of both floors with every probe."""
    rows = [(e, p, {}) for e in FLOORS for p in PROBES] + [("random:vit_digits", "attentive", LONG)]
    print("| floor | probe | what | how | stills |\n|---|---|---|---|---|")
    configs = [
        RunConfig(
            encoder=encoder,
            task=task,
            probe=probe,
            seed=seed,
            task_options={"data": data},
            probe_options=settings,
        )
        for encoder in FLOORS
        for task in TASKS
        for owner, probe, settings in rows
        if owner == encoder
    ]
    found = {}
    with tempfile.TemporaryDirectory() as home:
        outcomes = evaluate(configs, Machine(home=Path(home)), Silent())
        for config, outcome in zip(configs, outcomes, strict=True):
            key = (config.encoder, config.probe, bool(config.probe_options), config.task)
            found[key] = 100 * outcome.result.metrics.top1
    for encoder, probe, settings in rows:
        cells = [f"{found[encoder, probe, bool(settings), task]:.1f}" for task in TASKS]
        title = probe + "".join(f", {value} {key}" for key, value in settings.items())
        print(f"| {encoder} | {title} | {' | '.join(cells)} |")


# ------------------------------------------------------------------------------------- supervised
def supervised_videos(data: Path, seed: int, epochs: int = 24) -> tuple[float, float, float]:
    """Train one network on both labels of the videos; return percent what, percent how, seconds."""
    begin = time.perf_counter()
    what, how = moving_digits_what(data=data), moving_digits_how(data=data)
    pixels = read(what.fit)
    labels = torch.from_numpy(np.stack([what.fit.labels, how.fit.labels], axis=1))
    reverse = {**BACKWARDS, **{back: forth for forth, back in BACKWARDS.items()}}
    backwards = torch.tensor([how.classes.index(reverse.get(m, m)) for m in how.classes])

    def draw(rows: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        clips, chosen = [], labels[rows].clone()
        turned = torch.rand(len(rows), generator=rng) < 0.5
        for row, turn in zip(rows.tolist(), turned.tolist(), strict=True):
            first = int(torch.randint(3, (), generator=rng))
            y, x = torch.randint(RESIZED - SEEN + 1, (2,), generator=rng).tolist()
            clip = pixels[row, first : first + 22 : 3, y : y + SEEN, x : x + SEEN]
            clip = clip.flip(0) if turn else clip
            clips.append(clip[..., torch.randperm(3, generator=rng)])
        chosen[turned, 1] = backwards[chosen[turned, 1]]
        return recoloured(torch.stack(clips), rng), chosen

    network = train(VideoNetwork(), draw, len(labels), epochs=epochs, seed=seed)
    logits = predict(network, centre(read(what.score)[:, 1:23:3]))
    right = [
        100 * float((part.argmax(1).numpy() == task.score.labels).mean())
        for part, task in zip(logits.split((10, len(MOTIONS)), dim=1), (what, how), strict=True)
    ]
    return right[0], right[1], time.perf_counter() - begin


def supervised_stills(data: Path, seed: int, epochs: int = 40) -> tuple[float, float]:
    """Train a network on the stills; return percent right and seconds."""
    begin = time.perf_counter()
    task = moving_digits_stills(data=data)
    pixels, labels = read(task.fit), torch.from_numpy(task.fit.labels)[:, None]

    def draw(rows: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        planes = warped(pixels[rows, 0].permute(0, 3, 1, 2).float(), rng)
        order = torch.rand(len(rows), 3, generator=rng).argsort(1)
        shuffled = planes.gather(1, order[:, :, None, None].expand_as(planes))
        return recoloured(shuffled.permute(0, 2, 3, 1)[:, None], rng), labels[rows]

    network = train(StillNetwork(), draw, len(labels), epochs=epochs, seed=seed)
    predicted = predict(network, centre(read(task.score))).argmax(1).numpy()
    return 100 * float((predicted == task.score.labels).mean()), time.perf_counter() - begin


def train(
    network: nn.Module, draw: Draw, num_rows: int, *, epochs: int, seed: int, batch_size: int = 32
) -> nn.Module:
    """Train with AdamW and a one-cycle schedule on the sum of the cross entropies of all labels."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.arange(num_rows)
    steps = epochs * (num_rows // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.2)
    network.train()
    for _ in range(epochs):
        order = rows[torch.randperm(num_rows, generator=rng)]
        for batch in order[: num_rows // batch_size * batch_size].split(batch_size):
            clips, labels = draw(batch, rng)
            parts = network(clips).split(network.num_classes, dim=1)
            losses = [
                functional.cross_entropy(part, label, label_smoothing=0.05)
                for part, label in zip(parts, labels.T, strict=True)
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def predict(network: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """Return the logits of uint8 clips `[N, T, H, W, 3]`."""
    return torch.cat([network(clean(part)) for part in clips.split(64)])


class VideoNetwork(nn.Module):
    """Convolutions in space, then in space and time, on frames and their change; two heads."""

    num_classes = (10, len(MOTIONS))

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
        pooled: torch.Tensor = self.head(torch.cat([y.mean((2, 3, 4)), y.amax((3, 4)).mean(2)], 1))
        return pooled


class StillNetwork(nn.Module):
    """Six convolutions in space."""

    num_classes = (10,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _layer(3, 32, (1, 5, 5), stride=2),
            _layer(32, 48, (1, 3, 3)),
            _layer(48, 48, (1, 3, 3), stride=2),
            _layer(48, 64, (1, 3, 3)),
            _layer(64, 64, (1, 3, 3), stride=2),
            _layer(64, 96, (1, 3, 3)),
        )
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(192, 10))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits `[N, 10]` of normalised stills `[N, 3, 1, H, W]`."""
        y = self.layers(clips)
        logits: torch.Tensor = self.head(torch.cat([y.mean((2, 3, 4)), y.amax((2, 3, 4))], 1))
        return logits


def _layer(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1) -> nn.Module:
    half = tuple(k // 2 for k in kernel)
    convolution = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), half, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())


# ----------------------------------------------------------------------------------------- pixels
def read(manifest: Manifest) -> torch.Tensor:
    """Return all frames of all rows as the score view sees them before its crop, uint8."""
    rows = []
    for path in manifest.paths:
        if manifest.kind == "video":
            whole = read_frames(path, lambda num_frames, fps: np.arange(num_frames)[None]).pixels
        else:
            whole = read_image(path)
        # The centre crop of the view of this size is the resized frame without its last rows.
        rows.append(torch.from_numpy(resized(whole, manifest.kind)))
    return torch.stack(rows)
