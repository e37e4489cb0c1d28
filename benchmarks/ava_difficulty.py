"""Measure how hard moving_digits_ava is: what boxes alone give, floors, and the shipped encoder.

Run `python -m benchmarks.ava_difficulty` (`--data` for the folder of the files); a few minutes on
one core. Numbers are frame mAP by the official rules in percent, over all classes and as the mean
over motions, speeds and neighbours. `benchmarks/DIFFICULTY.md` keeps the figures by which the
defaults of the data set were chosen.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bench.config import Machine, RunConfig, home_folder
from bench.data.manifest import Task
from bench.evaluate.evaluate import evaluate, prepared_runs
from bench.metrics.detections import ScoredBoxes, score_boxes
from bench.records.metrics import FrameMapPart
from bench.types import Silent
from tasks.digits.ava_films import MATCHED, iou
from tasks.digits.ava_lists import ALONE, MOTION_IDS, NEAR, SPEED_IDS
from tasks.moving_digits_ava import moving_digits_ava

RANDOM = "random:digits_tiny"
PARTS = {
    "motions": tuple(MOTION_IDS.values()),
    "speeds": tuple(SPEED_IDS.values()),
    "neighbours": (NEAR, ALONE),
}
ENCODERS = ("pixel_mean", RANDOM, "digits_tiny")
PROBES = ("linear", "attentive")


def main() -> None:
    """Parse the options, measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=home_folder())
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    task = moving_digits_ava(data=options.data)
    print(f"| features | probe | mAP | {' | '.join(PARTS)} |\n|---|---|---|---|---|---|")
    shares = np.tile(task.fit.labels.mean(axis=0), (len(task.score), 1))
    show("none", "frequency of each class", mean_ap(task, shares))
    with tempfile.TemporaryDirectory() as home:
        floors(options.data, options.seed, Machine(home=Path(home)))
    show("none", "true labels", mean_ap(task, true_labels(task)))
    print(f"\n{time.perf_counter() - begin:.0f} s, {options.threads} threads, seed {options.seed}")


def floors(data: Path, seed: int, machine: Machine) -> None:
    """Print the rows of encoders under honest@1; `seed` is that of probes and random weights."""
    rows = [(encoder, probe) for encoder in ENCODERS for probe in PROBES]
    configs = [
        RunConfig(
            encoder=encoder,
            task="moving_digits_ava",
            probe=probe,
            seed=seed,
            encoder_options={"seed": seed} if encoder == RANDOM else {},
            task_options={"data": data},
        )
        for encoder, probe in rows
    ]
    outcomes = evaluate(prepared_runs(configs, machine, Silent()))
    for (encoder, probe), outcome in zip(rows, outcomes, strict=True):
        metrics = outcome.result.metrics
        assert isinstance(metrics, FrameMapPart)
        show(encoder, probe, {one.id: one.ap for one in metrics.classes})


def mean_ap(task: Task, probabilities: npt.NDArray[np.float64]) -> dict[int, float | None]:
    """Return the AP by class of probabilities `[rows, C]` for the boxes of the scored split."""
    assert task.truth is not None
    rows = np.arange(len(task.score))
    boxes = ScoredBoxes.of(task.score, rows, probabilities.astype(np.float32), task.truth)
    return {one.id: one.ap for one in score_boxes(boxes, task.truth).frame_map.classes}


def true_labels(task: Task) -> npt.NDArray[np.float64]:
    """Return 1 for the labels of the true box that a box overlaps most, by half at least.

    No probe can be told more than that, and what the detector missed stays missed.
    """
    truth, regions = task.truth, task.score.regions
    assert truth is not None and regions is not None
    on_frame: dict[tuple[str, int], list[int]] = {}
    given = truth.boxes.frames
    for row, (video, micros) in enumerate(zip(given.video, given.micros, strict=True)):
        on_frame.setdefault((given.videos[video], int(micros)), []).append(row)
    place = {int(number): place for place, number in enumerate(truth.ids)}
    labels = np.zeros((len(task.score), len(place)))
    for row, corners in enumerate(regions.corners.tolist()):
        video = regions.videos[int(regions.video[row])]
        there = on_frame.get((video, int(regions.micros[row])), [])
        shared = [iou(corners, truth.boxes.corners[other].tolist()) for other in there]
        for other, share in zip(there, shared, strict=True):
            if share >= MATCHED and share == max(shared):
                labels[row, place[int(truth.boxes.action[other])]] = 1.0
    return labels


def show(features: str, probe: str, found: Mapping[int, float | None]) -> None:
    """Print a row of the table from the AP of every class."""
    groups = [tuple(found), *PARTS.values()]
    means = [100 * float(np.mean([found[number] or 0.0 for number in group])) for group in groups]
    cells = " | ".join(f"{mean:.1f}" for mean in means)
    print(f"| {features} | {probe} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
