"""A low-shot study from stored features, beside the same runs made one by one.

    python -m benchmarks.lowshot [--home DIR]

`digits_tiny` on the motions of moving_digits (1,280 training videos): 5, 10, 50 and 100 % of the
labels, 3 draws, probes linear, logistic and knn: 30 records. Features are stored before the clock
starts. The plain way is `bench run` once a share and draw, in one process, so that start-up and
imports do not count. Both must give the same records.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.config import Machine, RunConfig
from bench.evaluate.evaluate import evaluate, prepared_runs, store_features
from bench.studies.low_shot_study import shares_of, study
from bench.types import Silent

PROBES = ("linear", "logistic", "knn")
FRACTIONS = (0.05, 0.1, 0.5, 1.0)
DRAWS = 3


def main() -> None:
    """Store features, run both ways, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="keep files here, or find stored features")
    home = parser.parse_args().home
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(home=home or Path(folder), workers=0)
        configs = [
            RunConfig(
                encoder="digits_tiny",
                task="moving_digits_how",
                probe=probe,
                task_options={"data": machine.home},
            )
            for probe in PROBES
        ]
        store_features(configs[0], machine, ("vector",), Silent())
        ours, ours_seconds = timed(through_study, configs, machine)
        plain, plain_seconds = timed(one_by_one, configs, machine)
    assert ours == plain, "a study gives other records than separate runs"
    print(f"{len(ours)} records: study {ours_seconds:.1f} s, one by one {plain_seconds:.1f} s,")
    print(f"ratio {plain_seconds / ours_seconds:.2f}; all ids and accuracies are equal")


def through_study(configs: list[RunConfig], machine: Machine) -> dict[str, float]:
    """Return accuracy by record id, through one study."""
    found = study(configs, machine, Silent(), fractions=FRACTIONS, draws=DRAWS)
    return {outcome.result.id: outcome.result.headline for outcome in found}


def one_by_one(configs: list[RunConfig], machine: Machine) -> dict[str, float]:
    """Return accuracy by record id, every share and draw a run of its own."""
    found = {}
    for share in shares_of(FRACTIONS, (), DRAWS):
        own = [
            replace(config, task_options={**config.task_options, **share.options})
            for config in configs
        ]
        for outcome in evaluate(prepared_runs(own, machine, Silent())):
            found[outcome.result.id] = outcome.result.headline
    return found


def timed(
    run: Callable[[list[RunConfig], Machine], dict[str, float]],
    configs: list[RunConfig],
    machine: Machine,
) -> tuple[dict[str, float], float]:
    """Return what `run` gives and its seconds, starting without records."""
    shutil.rmtree(machine.home / "records", ignore_errors=True)
    begin = time.perf_counter()
    return run(configs, machine), time.perf_counter() - begin


if __name__ == "__main__":
    main()
