"""What choosing a head on the scored rows adds where there is nothing to learn."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.config import Machine, RunConfig
from bench.evaluate.from_arrays import probe_arrays
from bench.records.record import Record
from bench.records.record_files import read_record
from bench.types import Silent

TRIALS, CLASSES, ROWS, WIDTH = 200, 4, 80, 6
HEADS = {"lr": (3e-1, 1e-1, 3e-2, 1e-2, 3e-3), "weight_decay": (0.0, 0.1, 0.4, 0.8)}


def noise(path: Path, generator: np.random.Generator) -> Path:
    """Write features that say nothing of their labels, of which every class has as many."""
    labels = generator.permutation(np.arange(ROWS) % CLASSES)
    np.savez(path, x=generator.standard_normal((ROWS, WIDTH), dtype=np.float32), y=labels)
    return path


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("noise")
    config = RunConfig(
        encoder="none",
        task="none",
        probe="linear",
        probe_options={**HEADS, "epochs": 1, "batch_size": 36},
    )
    made = []
    for trial in range(TRIALS):
        generator = np.random.default_rng(trial)
        files = [noise(folder / f"{split}.npz", generator) for split in ("train", "score")]
        machine = Machine(home=folder / str(trial), device="cpu")
        made.append(read_record(probe_arrays(config, machine, *files, Silent()).path))
    return made


def test_on_noise_the_honest_score_is_chance_and_the_best_of_20_is_above(
    records: list[Record],
) -> None:
    honest = [record.headline for record in records]
    best = [record.optimism.best for record in records]
    error = statistics.stdev(honest) / TRIALS**0.5
    assert abs(statistics.fmean(honest) - 1 / CLASSES) < error
    assert statistics.fmean(best) - 1 / CLASSES > 5 * statistics.stdev(best) / TRIALS**0.5


def test_both_numbers_of_the_same_fits_stand_in_the_record(records: list[Record]) -> None:
    for record in records:
        scores = record.probe.selection.score_split_scores
        assert len(scores) == 20 and record.probe.selection.score_split_fit == "kept"
        assert record.optimism.honest == scores[record.probe.selected]
        assert record.optimism.best == max(scores)
        assert record.optimism.gap >= 0 and record.optimism.heads == 20


def test_labels_of_the_scored_rows_choose_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    train, score = (noise(tmp_path / f"{split}.npz", generator) for split in ("train", "score"))
    with np.load(score) as held:
        x, y = held["x"], held["y"]
    config = RunConfig(
        encoder="none", task="none", probe="linear", probe_options={**HEADS, "epochs": 2}
    )
    found = []
    for labels in (y, generator.permutation(y), (y + 1) % CLASSES):
        np.savez(score, x=x, y=labels)
        made = probe_arrays(config, Machine(home=tmp_path, device="cpu"), train, score, Silent())
        rows = pq.read_table(made.path.with_suffix(".parquet"))
        found.append((made.record.probe, rows.drop_columns(["label"])))
    for probe, rows in found[1:]:
        assert probe.selected == found[0][0].selected
        assert probe.selection.holdout_scores == found[0][0].selection.holdout_scores
        assert rows.equals(found[0][1])
    assert len({probe.selection.score_split_scores for probe, _ in found}) == 3
