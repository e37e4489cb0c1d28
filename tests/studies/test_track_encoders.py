"""Tracking a run: which encoders are evaluated, what stands in the table, what is kept."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli.track import track as command
from bench.config import Machine
from bench.encoders.encoder import Encoder
from bench.encoders.networks.video_vit import VitArchitecture, fresh_vit
from bench.encoders.vjepa import vit_spec
from bench.encoders.weights.encoder_folder import save_encoder
from bench.errors import UsageError
from bench.records.record_files import read_record
from bench.studies.track_encoders import (
    Track,
    TrackRow,
    _csv,
    _plotted,
    saved_encoders,
    thinned,
    track,
)
from bench.types import Silent

ARCHITECTURE = VitArchitecture(
    width=12, depth=1, num_heads=2, patch_size=8, num_frames=4, image_size=16
)
STEPS = (0, 100, 250)
VALUES = {"task": "folder", "probe": "knn,linear"}
SETTINGS = ["probe.knn.k=1", "probe.linear.epochs=2"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with three encoders of different weights, and what else may lie beside them."""
    root = tmp_path_factory.mktemp("run")
    for seed, step in enumerate(STEPS):
        network = fresh_vit(ARCHITECTURE, seed=seed)
        spec = vit_spec(network, name="tiny", source=f"step {step}")
        save_encoder(root / "encoders" / f"step_{step:09d}", Encoder(network, spec))
    (root / "encoders" / "step_000000300.partial").mkdir()
    (root / "encoders" / "notes.txt").write_text("no encoder")
    return root


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, video_set: Path) -> Machine:
    return Machine(home=tmp_path_factory.mktemp("home"), data=video_set, device="cpu")


@pytest.fixture(scope="module")
def tracked(run_folder: Path, machine: Machine) -> Track:
    return track(run_folder, VALUES, machine, Silent(), settings=SETTINGS)


def test_every_encoder_is_evaluated_with_every_probe(tracked: Track) -> None:
    assert [(row.step, row.task, row.probe) for row in tracked.rows] == [
        (step, "folder", probe) for step in STEPS for probe in ("knn", "linear")
    ]
    assert {row.chance for row in tracked.rows} == {1 / 3}


def test_rows_are_those_of_the_records(tracked: Track, run_folder: Path, machine: Machine) -> None:
    for row in tracked.rows:
        record = read_record(machine.home / "records" / f"{row.record}.json")
        assert (record.headline, record.probe.name) == (row.value, row.probe)
        assert record.config["encoder"].endswith(f"encoders/step_{row.step:09d}")
    assert len({row.record for row in tracked.rows}) == 6


def test_table_is_written_into_the_run(tracked: Track, run_folder: Path) -> None:
    with (run_folder / "track.csv").open() as file:
        held = list(csv.DictReader(file))
    assert [(int(r["step"]), r["task"], r["probe"], float(r["value"])) for r in held] == [
        (row.step, row.task, row.probe, row.value) for row in tracked.rows
    ]
    assert list(held[0]) == ["step", "task", "probe", "metric", "value", "chance", "record"]


def test_finished_evaluations_are_kept(tracked: Track, run_folder: Path, machine: Machine) -> None:
    again = track(run_folder, VALUES, machine, Silent(), settings=SETTINGS)
    assert again.rows == tracked.rows
    assert [r.created for r in again.results] == [r.created for r in tracked.results]


def test_encoders_are_those_of_whole_folders(run_folder: Path) -> None:
    assert list(saved_encoders(run_folder)) == list(STEPS)


def test_folder_without_encoders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no encoders"):
        saved_encoders(tmp_path)


def kept(saved: Sequence[int], steps: tuple[Any, ...] = (), every: int = 1) -> list[int]:
    return list(thinned(dict.fromkeys(saved), steps, every))


def test_thinning_keeps_a_distance_and_the_last_one() -> None:
    assert kept(range(0, 100, 10), every=30) == [0, 30, 60, 90]
    assert kept(range(0, 90, 10), every=30) == [0, 30, 60, 80]
    assert kept((5, 6, 7, 500), every=2) == [5, 7, 500]
    assert kept((5, 6), every=1) == [5, 6]


def test_steps_that_are_named_are_taken_once_and_in_order() -> None:
    assert kept((0, 10, 20), steps=(20, 0, 20)) == [0, 20]


def test_choice_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(UsageError, match="nearest is 10"):
        kept((0, 10, 20), steps=(13,))
    with pytest.raises(UsageError, match="one of the two"):
        kept((0, 10), steps=(10,), every=5)
    with pytest.raises(UsageError, match="at least 1"):
        kept((0, 10), every=0)


def test_plot_is_a_picture(tracked: Track, run_folder: Path) -> None:
    from PIL import Image

    assert tracked.plot == run_folder / "track.png"
    with Image.open(tracked.plot) as image:
        assert image.format == "PNG" and min(image.size) > 300


def called(*arguments: object) -> tuple[int, str, str]:
    """The command's exit code, stdout and stderr."""
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_command_prints_one_line_a_step(tracked: Track, run_folder: Path, machine: Machine) -> None:
    where = ("--home", machine.home, "--data", machine.data, "--workers", 0)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    arguments = (run_folder, "-t", "folder", "-p", "knn,linear", *settings, *where)
    code, out, err = called(*arguments)
    assert code in (0, 3), err  # 3: the checkout is not clean
    head, *rows = out.splitlines()
    assert "folder knn %" in head and "folder linear %" in head
    assert [int(row.split()[0]) for row in rows] == list(STEPS)
    assert str(run_folder / "track.csv") in err
    code, out, _ = called(*arguments, "--every", 200, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [row["step"] for row in found] == [0, 0, 250, 250]
    assert found[0]["value"] == tracked.rows[0].value


def test_a_metric_without_chance_is_followed_too(tmp_path: Path) -> None:
    rows = [
        TrackRow(
            step=step, task="ava", probe="linear", metric="mean_ap", value=value, chance=None,
            record="0" * 16,
        )
        for step, value in ((0, 0.1), (100, 0.2))
    ]  # fmt: skip
    assert _csv(rows).splitlines()[1] == f"0,ava,linear,mean_ap,0.1,,{'0' * 16}"
    assert _plotted(rows, tmp_path).stat().st_size > 0
