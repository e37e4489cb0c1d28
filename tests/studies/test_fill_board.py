"""`bench fill`: what an encoder is missing on a board, run or printed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.config import Machine, RunConfig, expand
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.weights.layouts import save_released
from bench.errors import UsageError
from bench.preflight.settle import settled
from bench.publish.leaderboard import Column, Leaderboard
from bench.publish.missing_runs import Failure, PlannedRun, command, missing, plan_runs
from bench.records.record import Record
from bench.records.record_files import read_records
from bench.records.run_id import config_facts
from tests.commands import Bench
from tests.sound_record import sound_record
from tests.tasks.layouts import kinetics
from tests.tasks.test_layouts import items_of

QUICK = (
    "--set",
    "probe.linear.epochs=1",
    "--set",
    "probe.linear.lr=[0.1]",
    "--set",
    "probe.knn.k=1",
)


def column(probe: str = "knn", task: str = "moving_digits_stills", **facts: Any) -> Column:
    return Column(title=f"{task} {probe}", task=task, probe=probe, **facts)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Register a board of some columns and return its name."""

    def make(*columns: Column, name: str = "some_board") -> str:
        made = Leaderboard(name=name, title="Some board", columns=columns)

        def build(*, title: str = "Some board") -> Leaderboard:
            """Some columns."""
            return replace(made, title=title)

        entry = registry.Entry(kind="boards", name=name, function=build)
        registry.discover()
        monkeypatch.setitem(registry._ENTRIES["boards"], name, entry)
        return name

    return make


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(home=tmp_path / "home", device="cpu")


def planned(
    name: str,
    machine: Machine,
    *settings: str,
    encoders: Sequence[str] = ("pixel_mean",),
    **options: Any,
) -> tuple[list[PlannedRun], list[Failure]]:
    made = registry.build("boards", name, {})
    return plan_runs(made, list(encoders), list(settings), machine, **options)


def config_of(line: str) -> RunConfig:
    """The configuration that `bench run` would make of a command line."""
    words = shlex.split(line)
    assert words[:2] == ["bench", "run"]
    pairs = list(zip(words[2::2], words[3::2], strict=True))
    values = {flag.removeprefix("--"): value for flag, value in pairs if flag != "--set"}
    [config] = expand(values, [value for flag, value in pairs if flag == "--set"])
    return settled(config)


# ---------------------------------------------------------------------------------------- the plan
def test_every_column_that_is_measured_here_asks_for_its_runs(machine: Machine) -> None:
    wanted, failures = planned("vidrop_table6", machine, draws=2)
    assert failures == []
    configs = [one.config for one in wanted]
    asked = [(c.task, c.probe, c.protocol, c.plan, *c.task_options.values()) for c in configs]
    assert asked == [
        ("k400", "linear", "honest@1", "16x5x3@4"),
        ("k400", "attentive", "vjepa@1", "16x1x1@4"),
        ("ssv2", "linear", "honest@1", None),
        ("ucf101", "linear", "honest@1", None),
        ("ucf101", "knn", "honest@1", "16x1x1@4"),
        ("hmdb51", "linear", "honest@1", None),
        ("hmdb51", "knn", "honest@1", "16x1x1@4"),
        *(
            ("k400", "linear", "honest@1", "16x5x3@4", fraction, draw)
            for fraction in (0.05, 0.1, 0.5)
            for draw in (0, 1)
        ),
    ]
    assert [w.is_drawn for w in wanted] == [False] * 7 + [True] * 6
    assert wanted[-1].columns == ("K400 linear 50 %",)


def test_plans_take_the_frames_of_the_encoder(machine: Machine) -> None:
    wanted, _ = planned("vjepa_table14", machine, frames={"pixel_mean": 8})
    assert [w.config.plan for w in wanted] == ["8x1x1@4", "8x8x1@4"]


def test_columns_that_show_one_run_ask_for_it_once(
    board: Callable[..., str], machine: Machine
) -> None:
    name = board(column(), column(metric="top5"), column(shows="gap"), column("linear"))
    wanted, _ = planned(name, machine)
    assert [len(w.columns) for w in wanted] == [3, 1]


def test_a_column_of_one_draw_asks_for_that_one(
    board: Callable[..., str], machine: Machine
) -> None:
    [one], _ = planned(board(column(task_options={"fraction": 0.5, "draw": 2})), machine)
    assert one.config.task_options == {"fraction": 0.5, "draw": 2} and not one.is_drawn


def test_what_nothing_here_measures_asks_for_no_run(machine: Machine) -> None:
    for name in ("vjepa_table15", "vicmae_main", "vicmae_transfer", "denoising_clevr"):
        assert planned(name, machine) == ([], [])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["protocol=honest@1"], "board.protocol=NAME"),
        (["plan=8x1x1@1"], "have their own plan"),
        (["task.fraction=0.1"], "determine the share of the labels"),
        (["task.k400.draw=1"], "determine the share of the labels"),
        (["probe.logistic.C=1"], "'logistic' is not in this run"),
        (["sed=1"], "unknown key"),
    ],
)
def test_settings_that_columns_make_themselves_are_refused(
    settings: list[str], reason: str, machine: Machine
) -> None:
    with pytest.raises(UsageError, match=reason):
        planned("vjepa_table7", machine, *settings)


def test_a_board_without_a_protocol_of_its_own_is_not_said_to_take_one(machine: Machine) -> None:
    with pytest.raises(UsageError, match=r"have their own protocol; leave it out\.$"):
        planned("frozen_video", machine, "protocol=vjepa@1")


def test_boards_without_columns_and_no_draws_are_refused(machine: Machine) -> None:
    with pytest.raises(UsageError, match="no columns of its own"):
        planned("runs", machine)
    with pytest.raises(UsageError, match="draws = 0: it must be at least 1"):
        planned("vjepa_table7", machine, draws=0)


def test_a_setting_that_one_task_does_not_take_fails_its_columns_alone(
    board: Callable[..., str], machine: Machine
) -> None:
    name = board(column(), column(task="k400"))
    wanted, failures = planned(name, machine, "task.size=small")
    assert [w.config.task for w in wanted] == ["moving_digits_stills"]
    [failure] = failures
    assert failure.columns == ("k400 knn",) and "no option 'size'" in failure.reason


def test_commands_make_the_runs_that_are_planned(machine: Machine) -> None:
    settings = [
        "probe.linear.lr=[0.1,0.01]", "features=stored", "task.data=a folder; $x", "seed=3",
        "encoder.num_frames=8", "layers=[1,2]", "probe.linear.batch_norm=false",
    ]  # fmt: skip
    for name, encoder in (("vidrop_table6", "random:vit_digits"), ("vjepa_table7", "vjepa_vitl16")):
        fitting = settings if name == "vidrop_table6" else settings[1:4]
        wanted, failures = planned(name, machine, *fitting, encoders=[encoder])
        assert len(wanted) in (16, 18) and failures == []
        for one in wanted:
            assert config_of(command(one.config)) == one.config


# ---------------------------------------------------------------------------------- what is there
def on_record(config: RunConfig, *, weights: str = "ema", **changes: Any) -> Record:
    """A record of a configuration; its other parts are made up."""
    record = sound_record(weights=weights)
    facts = {**config_facts(config), **changes}
    return record.model_copy(update={"config": facts})


def test_runs_on_record_are_not_lacking_whatever_their_seed_and_places(
    board: Callable[..., str], machine: Machine
) -> None:
    wanted, _ = planned(board(column(), column("linear")), machine)
    knn, linear = wanted
    assert missing(wanted, []) == [knn, linear]
    assert missing(wanted, [on_record(knn.config)]) == [linear]
    moved = on_record(linear.config, seed=7, task_options={"data": "/elsewhere"})
    assert missing(wanted, [moved]) == [knn]
    assert missing(wanted, [moved], any_seed=False) == [knn, linear]
    old = on_record(knn.config)
    del old.config["on_permuted_labels"]  # records from before this option have none
    assert missing(wanted, [old]) == [linear]
    for other in ({"limit": 10}, {"probe_options": {"k": [1]}}, {"protocol": "vjepa@1"}):
        assert missing(wanted, [on_record(knn.config, **other)]) == wanted


def test_other_weights_at_the_same_place_are_lacking(
    board: Callable[..., str], machine: Machine
) -> None:
    [one], _ = planned(board(column()), machine, encoders=["random:vit_digits"])
    record = on_record(one.config)
    same = {one.config.encoder: record.encoder.weights_sha256}
    assert missing([one], [record], weights=same) == []
    assert missing([one], [record], weights={one.config.encoder: "0" * 64}) == [one]
    elsewhere = on_record(one.config, encoder="random:somewhere/else")
    assert missing([one], [elsewhere], weights=same) == []
    assert missing([one], [elsewhere]) == [one]
    bare = on_record(one.config, weights=None)
    assert missing([one], [bare], weights={one.config.encoder: ""}) == []


# ------------------------------------------------------------------------------------ the command
def fill(bench: Bench, tmp_path: Path, name: str, *words: object) -> tuple[int, str, str]:
    """Call the command; small moving digits, a quick probe."""
    return bench(
        "fill", name, "--encoder", "pixel_mean", "--home", tmp_path / "home", "--data", tmp_path,
        "--set", "task.moving_digits_stills.size=small", "--device", "cpu", *words,
    )  # fmt: skip


def test_fill_runs_what_lacks_names_what_cannot_and_ends_with_the_board(
    bench: Bench, board: Callable[..., str], tmp_path: Path
) -> None:
    stills = [
        column(),
        column("linear"),
        column("linear", task_options={"fraction": 0.5}),
        column(task_options={"fraction": 0.5}),
    ]
    missing = column(task="k400")
    name = board(*stills, missing, column("finetune"))
    (tmp_path / "k400").mkdir()
    code, out, err = fill(bench, tmp_path, name, *QUICK, "--draws", "2")
    assert code == 1
    assert (
        "published only: moving_digits_stills finetune (there is no probe 'finetune' here)" in err
    )
    assert "0 runs on record, 7 missing" in err
    assert "cannot run k400 knn of pixel_mean: " in err and err.count("cannot run") == 1
    records = read_records(tmp_path / "home" / "records")
    shares = [(r.probe.name, r.train_labels.fraction, r.train_labels.draw) for r in records]
    assert sorted(shares) == [
        ("knn", 0.5, 0), ("knn", 0.5, 1), ("knn", 1.0, 0),
        ("linear", 0.5, 0), ("linear", 0.5, 1), ("linear", 1.0, 0),
    ]  # fmt: skip
    assert "# Some board" in out
    row = next(line for line in out.splitlines() if "pixel_mean" in line and line.startswith("|"))
    full = {r.probe.name: f"{100 * r.headline:.1f}" for r in records if r.train_labels.are_all}
    assert all(number in row for number in full.values())

    # Again: nothing but what is not there, and nothing is decoded.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "home/records").iterdir()}
    code, _, err = fill(bench, tmp_path, name, *QUICK, "--draws", "2")
    assert code == 1 and "6 runs on record, 1 missing" in err
    # One draw more: the study goes on.
    code, _, err = fill(bench, tmp_path, name, *QUICK, "--draws", "3")
    assert code == 1 and "6 runs on record, 3 missing" in err
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "home/records").iterdir()}
    assert before.items() <= after.items() and len(read_records(tmp_path / "home/records")) == 8


def test_a_probe_that_is_refused_does_not_stop_the_others(
    bench: Bench, board: Callable[..., str], tmp_path: Path
) -> None:
    """All probes of a task are looked at before the first one is fitted."""
    name = board(column(), column("attentive", probe_options={"num_heads": 5}), column("linear"))
    code, out, err = fill(bench, tmp_path, name, *QUICK, "--json")
    assert code == 1
    assert err.count("cannot run") == 1 and "moving_digits_stills attentive of pixel_mean" in err
    made = [json.loads(line)["probe"]["name"] for line in out.splitlines()]
    assert sorted(made) == ["knn", "linear"]


def test_a_dry_run_prints_commands_and_makes_nothing(
    bench: Bench, board: Callable[..., str], tmp_path: Path
) -> None:
    name = board(column(), column(task_options={"fraction": 0.5}))
    code, out, err = fill(bench, tmp_path, name, "--dry-run", "--set", "board.title=Mine")
    assert code == 0 and "0 runs on record, 4 missing" in err
    assert not (tmp_path / "home").exists()
    places = f" --data {tmp_path} --home {tmp_path / 'home'}"
    lines = out.splitlines()
    assert len(lines) == 4 and all(line.endswith(places) for line in lines)
    assert config_of(lines[2].removesuffix(places)).task_options["draw"] == 1
    code, out, _ = fill(bench, tmp_path, name, "--dry-run", "--json")
    assert json.loads(out.splitlines()[0])["columns"] == ["moving_digits_stills knn"]
    code, out, _ = fill(bench, tmp_path, name, "--dry-run", "--encoder", "videomae:nothing.pth")
    assert code == 0 and "videomae:nothing.pth" in out  # weights may be on another machine
    other = board(column("linear"), column(task="k400"))
    code, _, err = fill(bench, tmp_path, other, "--dry-run", "--set", "task.k400.size=small")
    assert code == 1 and "no option 'size'" in err


def test_wrong_names_end_in_code_2_and_an_encoder_that_is_not_there_in_1(
    bench: Bench, board: Callable[..., str], tmp_path: Path
) -> None:
    name = board(column())
    assert fill(bench, tmp_path, "no_such_board")[0] == 2
    assert fill(bench, tmp_path, name, "--set", "board.titel=x")[0] == 2
    assert bench("fill", name, "--home", tmp_path)[0] == 2
    code, _, err = fill(
        bench, tmp_path, name, "--encoder", "videomae:nothing.pth", "--set", "probe.k=1"
    )
    assert code == 1 and "cannot run moving_digits_stills knn of videomae:nothing.pth" in err
    assert err.count("cannot run") == 1
    assert len(read_records(tmp_path / "home" / "records")) == 1  # the other encoder's


def test_a_papers_board_is_filled_on_a_small_copy_of_its_data(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder of 8 frames takes the paper's clips and views; SSv2 is not there."""
    for split, count in (("train", 3), ("val", 1)):
        kinetics(tmp_path / "k400", split, items_of("k400", split, count))
    network = fresh_vit(VIT_SIZES["vit_digits"], seed=3)
    save_released(tmp_path / "mine.pth.tar", target=network, encoder=network)
    words = [
        "fill", "vjepa_table3", "--encoder", f"vjepa:{tmp_path / 'mine.pth.tar'}",
        "--home", tmp_path / "home", "--data", tmp_path, "--device", "cpu",
        "--set", "board.protocol=honest@1", "--set", "encoder.num_heads=3",
        "--set", "encoder.num_frames=8", "--set", "encoder.image_size=48",
        "--set", "probe.epochs=1",
    ]  # fmt: skip
    code, out, err = bench(*words)
    assert code == 1 and "0 runs on record, 4 missing" in err, err
    assert err.count("cannot run SSv2") == 1 and "SSv2 average, SSv2 attentive of vjepa" in err
    records = read_records(tmp_path / "home" / "records")
    assert {(r.probe.name, r.plan.score) for r in records} == {
        ("linear", "8x1x1@4"), ("attentive", "8x1x1@4"),
    }  # fmt: skip
    lines = [line for line in out.splitlines() if line.startswith("|")]
    [paper] = [line for line in lines if "V-JEPA" in line]
    assert "56.7" in paper and "73.7" in paper and "66.2" in paper
    [own] = [line for line in lines if "vjepa" in line]
    for record in records:
        assert f"{100 * record.headline:.1f}" in own
    code, _, err = bench(*words)
    assert code == 1 and "2 runs on record, 2 missing" in err
    # Other weights in the same file.
    network = fresh_vit(VIT_SIZES["vit_digits"], seed=4)
    save_released(tmp_path / "mine.pth.tar", target=network, encoder=network)
    assert "2 runs on record, 2 missing" in bench(*words, "--dry-run")[2]
    assert "0 runs on record, 4 missing" in bench(*words)[2]
    assert len(read_records(tmp_path / "home" / "records")) == 4
