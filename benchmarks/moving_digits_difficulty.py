"""Measure how hard moving_digits is: floors with every probe, and small supervised networks.

Run `python -m benchmarks.moving_digits_difficulty` (`--data` for the folder of the files, `--only`
for one half); about a quarter of an hour on one core. The floors are ordinary runs (honest@1) on an
untrained ViT and on pooled pixels, and one attentive probe that trains three times as long.
`benchmarks/DIFFICULTY.md` keeps the figures by which the defaults of the data set were chosen.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import torch

from bench.config import Machine, RunConfig, home_folder
from bench.evaluate.evaluate import evaluate, prepared_runs
from bench.types import Settings, Silent
from benchmarks.moving_digits_networks import supervised_stills, supervised_videos

TASKS = ("moving_digits_what", "moving_digits_how", "moving_digits_stills")
RANDOM = "random:vit_digits"
LONG: Settings = {"epochs": 60}
ROWS: tuple[tuple[str, str, Settings], ...] = (
    *(("pixel_mean", probe, {}) for probe in ("knn", "linear", "logistic", "attentive")),
    *((RANDOM, probe, {}) for probe in ("knn", "linear", "logistic", "attentive")),
    (RANDOM, "attentive", LONG),
)


def main() -> None:
    """Parse the options, measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=home_folder())
    parser.add_argument("--only", choices=("floors", "supervised"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    # That L-BFGS stops early at weak penalties is in the records, and of no interest here.
    logging.getLogger("probes").setLevel(logging.ERROR)
    begin = time.perf_counter()
    print("| features | probe | what | how | stills |\n|---|---|---|---|---|")
    print("| none | chance | 10.0 | 12.5 | 10.0 |", flush=True)
    if options.only != "supervised":
        floors(options.data, options.seed)
    if options.only != "floors":
        what, how = supervised_videos(options.data, seed=options.seed)
        stills = supervised_stills(options.data, seed=options.seed)
        print(f"| supervised | small networks | {what:.1f} | {how:.1f} | {stills:.1f} |")
    seconds = time.perf_counter() - begin
    print(f"\n{seconds:.0f} s, {options.threads} threads, seed {options.seed}")


def floors(data: Path, seed: int) -> None:
    """Print the top-1 accuracies, in percent, of both floors with every probe."""
    # Runs on one encoder and task stand together, so that outcomes come in this order.
    order = [
        (row, task)
        for floor in dict.fromkeys(encoder for encoder, _, _ in ROWS)
        for task in TASKS
        for row in range(len(ROWS))
        if ROWS[row][0] == floor
    ]
    configs = [
        RunConfig(
            encoder=ROWS[row][0],
            task=task,
            probe=ROWS[row][1],
            seed=seed,
            encoder_options={"seed": seed} if ROWS[row][0] == RANDOM else {},
            task_options={"data": data},
            probe_options=ROWS[row][2],
        )
        for row, task in order
    ]
    with tempfile.TemporaryDirectory() as home:
        outcomes = evaluate(prepared_runs(configs, Machine(home=Path(home)), Silent()))
        top1 = [100 * outcome.result.headline for outcome in outcomes]
    found = dict(zip(order, top1, strict=True))
    for row, (encoder, probe, settings) in enumerate(ROWS):
        title = probe + "".join(f", {value} {key}" for key, value in settings.items())
        cells = [f"{found[row, task]:.1f}" for task in TASKS]
        print(f"| {encoder} | {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
