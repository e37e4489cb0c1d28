"""Low-shot studies: the records of separate runs, from one pass, kept when killed, no leak."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.cli.lowshot import _print
from bench.cli.outcomes import any_unreportable
from bench.config import Machine, RunConfig, expand
from bench.data.discover.split_files import read_split
from bench.errors import UsageError
from bench.evaluate.evaluate import Outcome, evaluate, prepared_runs
from bench.features import encode as encoding
from bench.records.record import Record
from bench.studies.low_shot_study import shares_of, study
from bench.types import Silent
from tests.commands import Bench
from tests.sound_record import sound_record

CLASSES, TRAIN, VAL = ("disc", "ring", "star"), 10, 4
SHARES = {"fractions": (0.2, 1.0), "shots": (2,), "draws": 2}
PROBES = ("linear", "knn")
SETTINGS = {
    "linear": ["probe.linear.epochs=3"],
    "knn": ["probe.knn.k=1,2"],
    "attentive": ["probe.attentive.epochs=1", "probe.attentive.lr=0.001"],
}
# What `task.*` a separate run is given, in the order of a study.
OPTIONS = [
    {"shots": 2, "draw": 0},
    {"shots": 2, "draw": 1},
    {"fraction": 0.2, "draw": 0},
    {"fraction": 0.2, "draw": 1},
    {"fraction": 1.0, "draw": 1},
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of small noisy pictures whose grey level tells the class, now and then."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for number, label in enumerate(CLASSES):
            (root / split / label).mkdir(parents=True)
            for item in range(count):
                level = 70 + 40 * number + rng.normal(0, 25)
                pixels = np.clip(rng.normal(level, 12, (24, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{item}.png")
    return root


@pytest.fixture
def broken(pictures: Path, tmp_path: Path) -> Path:
    """The same with two pictures that cannot be read, one to fit on and one to score on."""
    root = tmp_path / "broken"
    shutil.copytree(pictures, root)
    (root / "train/ring/3.png").write_bytes(b"no picture")
    (root / "val/star/1.png").write_bytes(b"")
    return root


def configs(
    data: Path, *settings: object, task: str = "folder", probes: Sequence[str] = PROBES
) -> list[RunConfig]:
    values = {"encoder": "random:vit_digits", "task": task, "probe": list(probes)}
    if task == "folder":
        values["task_options"] = {"data": str(data)}
    return expand(values, [*(word for probe in probes for word in SETTINGS[probe]), *settings])


def machine_at(home: Path) -> Machine:
    return Machine(home=home, device="cpu")


def run_apart(configs: list[RunConfig], machine: Machine) -> list[Record]:
    """The same one by one, as `bench run --set task.fraction=F --set task.draw=D` makes them."""
    made = []
    for options in OPTIONS:
        for config in configs:
            given = {**config.task_options, **options}
            own = type(config)(**{**vars(config), "task_options": given})
            [outcome] = evaluate(prepared_runs([own], machine, Silent()))
            made.append(outcome.record)
    return made


# -------------------------------------------------------------------------------- equal to the runs
@pytest.mark.parametrize(
    ("probes", "settings"),
    [
        (PROBES, ()),
        (PROBES, ("draws=2", "features=stored")),
        (PROBES, ("features=live", "draws=0")),
        (("attentive", "knn"), ("features=live", "draws=0")),
    ],
)
def test_study_gives_the_records_of_separate_runs(
    broken: Path, tmp_path: Path, probes: Sequence[str], settings: tuple[str, ...]
) -> None:
    """Two files cannot be read, so that the accounts of every cut are compared as well."""
    asked = configs(broken, "on_unreadable=wrong", *settings, probes=probes)
    apart = run_apart(asked, machine_at(tmp_path / "apart"))
    joint = list(study(asked, machine_at(tmp_path / "joint"), Silent(), **SHARES))
    assert [o.record.id for o in joint] == [r.id for r in apart]
    for outcome, record in zip(joint, apart, strict=True):
        assert outcome.record.outcome() == record.outcome()
    parts = [o.record.data.fit for o in joint]
    assert {len(part.undecodable) for part in parts} == {0, 1}  # a cut without the broken picture
    assert all(o.record.metrics.scored == 11 for o in joint)


def test_augmented_live_features_are_made_anew_for_every_fit(
    pictures: Path, tmp_path: Path
) -> None:
    asked = configs(pictures, "protocol=vjepa@1", probes=("linear",))
    apart = run_apart(asked, machine_at(tmp_path / "apart"))
    joint = list(study(asked, machine_at(tmp_path / "joint"), Silent(), **SHARES))
    assert [o.record.outcome() for o in joint] == [r.outcome() for r in apart]
    assert {r.features.mode for r in apart} == {"live"}


def test_record_of_a_study_can_be_run_again_from_its_own_config(
    bench: Bench, pictures: Path, tmp_path: Path
) -> None:
    [outcome] = study(
        configs(pictures, probes=("knn",)), machine_at(tmp_path / "home"), Silent(), shots=(2,),
        draws=1,
    )  # fmt: skip
    code, out, err = bench("run", outcome.path, "--json", "--workers", "0")
    assert code in (0, 3), err
    assert json.loads(out) == outcome.record.model_dump(mode="json")


def test_whole_split_is_the_plain_run(pictures: Path, tmp_path: Path) -> None:
    machine = machine_at(tmp_path)
    asked = configs(pictures)
    plain = [o.record.id for o in evaluate(prepared_runs(asked, machine, Silent()))]
    made = list(study(asked, machine, Silent(), fractions=(1.0,), draws=3))
    assert [o.record.id for o in made] == plain and all(o.kept for o in made)


@pytest.mark.parametrize("settings", [(), ("features=live", "draws=0")])
def test_features_are_encoded_once_for_all_cuts(
    pictures: Path, tmp_path: Path, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = Counter()
    forward = encoding.forward

    def counted(*arguments: Any) -> Any:
        clips["calls"] += 1
        return forward(*arguments)

    monkeypatch.setattr(encoding, "forward", counted)
    made = list(study(configs(pictures, *settings), machine_at(tmp_path), Silent(), **SHARES))
    assert len(made) == 10
    # 30 pictures to fit on and 12 to score on, 16 in a call: two calls and one.
    assert clips["calls"] == 3


def test_live_pass_reads_no_rows_that_no_cut_needs(pictures: Path, tmp_path: Path) -> None:
    asked = configs(pictures, "features=live", "draws=0")
    read: list[str] = []

    class Noted(Silent):
        def start(self, title: str, total: int) -> None:
            read.append(f"{title}: {total}")

    list(study(asked, machine_at(tmp_path), Noted(), shots=(2,), draws=1))
    assert "live features folder train: 6" in read and "live features folder val: 12" in read


def test_live_features_that_memory_cannot_hold_are_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.features.in_memory.free_memory", lambda: 1_000)
    asked = configs(pictures, "features=live", "draws=0")
    with pytest.raises(UsageError, match=r"more than half of the .* store them"):
        list(study(asked, machine_at(tmp_path), Silent(), shots=(2,), draws=1))


# ------------------------------------------------------------------------------------- kill, resume
def test_killed_study_goes_on_where_it_was(pictures: Path, tmp_path: Path) -> None:
    machine = machine_at(tmp_path)
    first = study(configs(pictures), machine, Silent(), **SHARES)
    begun = [next(first) for _ in range(4)]
    first.close()
    files = {o.path: o.path.read_bytes() for o in begun}
    again = list(study(configs(pictures), machine, Silent(), **SHARES))
    assert [o.kept for o in again] == [True] * 4 + [False] * 6
    assert {path: path.read_bytes() for path in files} == files
    whole = list(study(configs(pictures), machine_at(tmp_path / "other"), Silent(), **SHARES))
    assert [o.record.outcome() for o in again] == [o.record.outcome() for o in whole]


def test_fits_refused_on_few_rows_do_not_stop_the_others(pictures: Path, tmp_path: Path) -> None:
    made = []
    with pytest.raises(UsageError, match=r"2 of 8 runs .* on record\. knn") as e:
        for outcome in study(
            configs(pictures), machine_at(tmp_path), Silent(), shots=(1, 3), draws=2
        ):
            made.append((outcome.record.probe.name, outcome.record.train_labels.shots))
    assert made == [("linear", 1), ("linear", 1), *[("linear", 3), ("knn", 3)] * 2]
    assert str(e.value).count("too few to hold out a tenth") == 1  # a reason is printed once
    assert "knn of random:vit_digits on folder with 1 shot per class, draw 1" in str(e.value)


def test_labels_that_look_permuted_are_told_at_the_end_and_every_fit_is_tried(
    tmp_path: Path,
) -> None:
    root = tmp_path / "rotated"
    for split, count in (("train", 6), ("val", 20)):
        for number in range(3):
            label = CLASSES[(number + (split == "val")) % 3]  # scored under the next class's name
            (root / split / label).mkdir(parents=True)
            for item in range(count):
                pixels = np.full((24, 32, 3), 40 + 80 * number + item % 6, dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{item}.png")
    asked = configs(root, probes=("knn",))
    with pytest.raises(UsageError, match=r"2 of 2 runs failed.*look permuted"):
        list(study(asked, machine_at(tmp_path), Silent(), fractions=(0.5, 1.0), draws=1))


# ------------------------------------------------------------------------------------------ no leak
@pytest.mark.parametrize("probe", ["linear", "knn", "logistic"])
def test_labels_outside_of_the_subset_change_no_number(
    pictures: Path, tmp_path: Path, probe: str
) -> None:
    ids = [f"train/{label}/{i}.png" for label in CLASSES for i in range(TRAIN)]
    labels = np.repeat(np.arange(3), TRAIN)
    chosen = [row for row in range(30) if row % 10 in (0, 4, 7)]
    (tmp_path / "chosen.txt").write_text("".join(f"{ids[row]}\n" for row in chosen))
    val = [f"val/{label}/{i}.png {n}" for n, label in enumerate(CLASSES) for i in range(VAL)]
    (tmp_path / "val.csv").write_text("\n".join(val))
    others = [row for row in range(30) if row not in chosen]
    permuted = labels.copy()
    permuted[others] = np.random.default_rng(1).permutation(labels[others])
    assert (permuted != labels).sum() > 10
    made = []
    for number, column in enumerate((labels, permuted)):
        rows = "\n".join(f"{name} {label}" for name, label in zip(ids, column, strict=True))
        (tmp_path / "train.csv").write_text(rows)  # in one place: a list's name is in the id
        [config] = expand(
            {
                "encoder": "random:vit_digits", "task": "listing", "probe": probe,
                "task_options": {
                    "train": str(tmp_path / "train.csv"), "val": str(tmp_path / "val.csv"),
                    "data": str(pictures), "subset": str(tmp_path / "chosen.txt"),
                },
            },
            ["probe.k=1,2" if probe == "knn" else "seed=0"],
        )  # fmt: skip
        machine = machine_at(tmp_path / f"home{number}")
        [outcome] = evaluate(prepared_runs([config], machine, Silent()))
        facts = outcome.record.outcome()
        assert facts["task"]["options"].pop("whole_sha256")
        made.append(facts)
    assert made[0] == made[1]
    assert made[0]["train_labels"]["used"] == 9 and made[0]["train_labels"]["subset_sha256"]


def test_subset_is_known_by_its_rows_and_not_by_its_place(pictures: Path, tmp_path: Path) -> None:
    numbers = []
    for name, items in (("a.txt", (1, 2)), ("b.txt", (1, 2)), ("c.txt", (1, 3))):
        lines = "".join(f"{label}/{i}\n" for label in CLASSES for i in items)
        (tmp_path / name).write_text(lines)
        [config] = configs(pictures, f"task.subset={tmp_path / name}", probes=("linear",))
        [outcome] = evaluate(prepared_runs([config], machine_at(tmp_path), Silent()))
        numbers.append(outcome.record.id)
    assert numbers[0] == numbers[1] != numbers[2]


# ------------------------------------------------------------------------------------------ shares
def test_shares_go_from_few_to_many_and_all_labels_are_drawn_once() -> None:
    shares = [str(share) for share in shares_of((1.0, 0.05, 0.05), (5, 1), 2)]
    assert shares == [
        "1 shot per class, draw 0",
        "1 shot per class, draw 1",
        "5 shots per class, draw 0",
        "5 shots per class, draw 1",
        "5 % of the labels, draw 0",
        "5 % of the labels, draw 1",
        "all labels",
    ]
    with pytest.raises(UsageError, match="no share"):
        shares_of((), (), 3)
    with pytest.raises(UsageError, match="draws = 0"):
        shares_of((0.5,), (), 0)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("task.fraction=0.5", "task.fraction is set"),
        ("task.subset=x.txt", "task.subset is set"),
        ("limit=3", "takes whole splits"),
    ],
)
def test_study_cuts_the_split_itself(
    pictures: Path, tmp_path: Path, setting: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        list(study(configs(pictures, setting), machine_at(tmp_path), Silent(), **SHARES))


# ----------------------------------------------------------------------------------------- command
ARGUMENTS = [
    "-m", "random:vit_digits", "-t", "folder", "-p", "linear,knn", "--workers", "0",
    "--set", "probe.linear.epochs=3", "--set", "probe.knn.k=1,2", "--fractions", "20,100%",
    "--shots", "2", "--draws", "2",
]  # fmt: skip


def test_command_prints_a_table_and_writes_board_and_splits(
    bench: Bench, pictures: Path, tmp_path: Path
) -> None:
    code, out, err = bench(
        "lowshot", *ARGUMENTS, "--data", pictures, "--target", "30,90",
        "--write-splits", tmp_path / "splits",
    )  # fmt: skip
    assert code in (0, 3), err  # 3: the checkout is not clean
    head, *rows = out.splitlines()
    assert head.split() == ["encoder", "task", "probe", "2", "shots", "20", "%", "100", "%"]
    assert [row.split()[2] for row in rows] == ["linear", "knn"]
    assert all(row.count("±") == 2 for row in rows)
    tables = tmp_path / "home" / "tables"
    assert {path.suffix for path in tables.glob("low_shot.*")} == {
        ".md", ".csv", ".tex", ".json", ".html", ".svg", ".png",
    }  # fmt: skip
    assert "labels to 30 %" in (tables / "low_shot.md").read_text()
    assert "records: 10 in" in err and "0 of them kept" in err
    names = sorted(path.name for path in (tmp_path / "splits").iterdir())
    assert names == [
        "folder_train_20percent_draw0.txt",
        "folder_train_20percent_draw1.txt",
        "folder_train_2shots_draw0.txt",
        "folder_train_2shots_draw1.txt",
        "folder_train_all.txt",
    ]
    assert len(read_split(tmp_path / "splits" / names[2])) == 6


def test_command_prints_records_and_keeps_those_it_finds(bench: Bench, pictures: Path) -> None:
    code, out, err = bench("lowshot", *ARGUMENTS, "--data", pictures, "--json")
    assert code in (0, 3), err
    first = [json.loads(line) for line in out.splitlines()]
    assert len({record["id"] for record in first}) == 10
    code, out, err = bench("lowshot", *ARGUMENTS, "--data", pictures, "--json")
    assert [json.loads(line) for line in out.splitlines()] == first
    code, out, err = bench("lowshot", *ARGUMENTS, "--data", pictures)
    assert "records: 10 in" in err and "10 of them kept" in err


def test_command_tells_refused_fits_at_the_end(bench: Bench, pictures: Path) -> None:
    code, out, err = bench("lowshot", *ARGUMENTS, "--shots", "1,2", "--data", pictures)
    assert code == 2 and "runs failed" in err
    assert "low_shot.html" in err and "1 shot" in out


def outcomes_of(*results: object) -> list[Outcome]:
    return [Outcome(record=r, path=Path("records/x.json"), kept=False) for r in results]


def test_encoders_of_one_name_are_not_averaged(capsys: pytest.CaptureFixture[str]) -> None:
    """`vjepa:a/latest.pt` and `vjepa:b/latest.pt` are both called `vjepa:latest`."""
    both = [sound_record(weights=w, correct=c) for w, c in (("a", 20), ("b", 40))]
    _print(outcomes_of(*both))
    _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-1] for row in rows] == ["20.0", "40.0"]
    assert len({row.split("moving_digits")[0] for row in rows}) == 2  # told apart by a digest


def test_suspect_records_do_not_bring_unreportable_ones_into_the_table() -> None:
    whole, suspect, hurried = (
        sound_record(status=status, reasons=() if status == "complete" else ("why",))
        for status in ("complete", "suspect", "not_reportable")
    )
    assert not any_unreportable(outcomes_of(whole, suspect))
    assert any_unreportable(outcomes_of(whole, hurried))


def test_command_refuses_what_is_no_number(bench: Bench, pictures: Path) -> None:
    code, _, err = bench("lowshot", *ARGUMENTS, "--fractions", "five", "--data", pictures)
    assert code == 2 and "--fractions 'five'" in err
    code, _, err = bench("lowshot", *ARGUMENTS, "--fractions", "500", "--data", pictures)
    assert code == 2 and "at most 100 percent" in err
