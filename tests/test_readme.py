"""Every command and every piece of code in the README runs as it stands."""

import csv
import importlib
import inspect
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.data.discover.dataset import DataSet
from bench.encoders.networks.sizes import VIT_SIZES
from bench.encoders.networks.video_vit import fresh_vit
from bench.encoders.weights.layouts import save_released
from tasks.digits import ava_films as films
from tests.commands import Bench
from tests.tasks.layouts import kinetics
from tests.tasks.test_layouts import NAMES, items_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def small_ava(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out a few films as clips of AVA that are cut at second 900."""
    monkeypatch.setattr(films, "NUM_FILMS", {"small": {"train": 4, "val": 2}})
    films.ensure_films(folder, "small")
    [made] = folder.glob("moving_digits_ava/*/small")
    root = made.rename(folder / "my_ava")
    lists = root / "annotations"
    for path in [*lists.glob("*.csv"), root / "detections" / "ava_val_predicted_boxes.csv"]:
        rows = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(f"{','.join([v, str(900 + int(s)), *r])}\n" for v, s, *r in rows))
    included = lists / "ava_included_timestamps_v2.2.txt"
    included.write_text("".join(f"{900 + int(s)}\n" for s in included.read_text().split()))
    for path in (root / "detections").glob("*.json"):
        path.unlink()


@pytest.fixture
def newcomer(tmp_path: Path, video_set: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README's commands name."""
    shutil.copytree(video_set, tmp_path / "my_videos")
    for split, count in (("train", 2), ("val", 1)):
        kinetics(tmp_path / "my_k400", split, items_of("k400", split, count))
    network = fresh_vit(VIT_SIZES["vit_digits"], seed=3)
    save_released(tmp_path / "latest.pth.tar", target=network, encoder=network)
    for split in ("train", "val"):
        files = sorted((tmp_path / "my_videos" / split).rglob("*.mp4"))
        lines = [f"{file.relative_to(tmp_path)} {file.parent.name}" for file in files]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    for name, rows in (("train", 40), ("score", 20)):
        labels = np.arange(rows) % 4
        x = rng.standard_normal((rows, 8)) + 4 * np.eye(8)[labels]
        np.savez(tmp_path / f"{name}.npz", x=x.astype(np.float32), y=labels)
    ava = ROOT / "tests" / "fixtures" / "ava" / "case3_excluded_and_outside"
    for ours, theirs in (
        ("gt.csv", "ava_val_v2.2.csv"),
        ("detections.csv", "detections.csv"),
        ("labelmap.pbtxt", "ava_action_list_v2.2_for_activitynet_2019.pbtxt"),
        ("excluded_timestamps.csv", "ava_val_excluded_timestamps_v2.2.csv"),
    ):
        shutil.copy(ava / ours, tmp_path / theirs)
    small_ava(tmp_path, monkeypatch)
    [config] = blocks("toml")
    (tmp_path / "my_run.toml").write_text(config)
    (tmp_path / "my_extension.py").write_text("\n".join(blocks("python")))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_of_the_readme_run(newcomer: Path, bench: Bench) -> None:
    commands = [line for block in blocks("bash") for line in block.splitlines() if line]
    assert len(commands) >= 9
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "bench"
        code, _, err = bench(*words[1:], home=False)
        # A small tree is, by its number of rows, not the published data set: the check says so.
        usual = (4,) if "check k400" in command else (0, 3)
        assert code in usual, f"{command}\n{err}"
    with (newcomer / "home" / "tables" / "mine.csv").open() as file:
        [row] = [row for row in csv.DictReader(file) if row["encoder"] == "first_frame"]
    for probe in ("linear", "nearest"):
        assert row[f"two_views/{probe}@honest@1"], row
    assert np.load("features.npz")["mean"].shape == (6, 96)


def data_set(name: str, title: str) -> DataSet:
    """Return the data set of a task that is called so."""
    found = vars(importlib.import_module(f"tasks.{name}")).values()
    [one] = [one for one in found if isinstance(one, DataSet) and title.startswith(one.title)]
    return one


def test_the_table_of_data_sets_tells_what_the_tasks_are() -> None:
    section = README.partition("## The data sets of the papers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, flags=re.MULTILINE)
    assert {name for name, _ in rows} == set(NAMES)
    for name, cells in rows:
        title, classes, fit, scored, plan, flip = (cell.strip() for cell in cells.split("|")[:6])
        one = data_set(name, title)
        count = 10_000 if one.labels is None else len(one.labels)
        sizes = [next(iter(copies.values())) for copies in one.sizes.values()]
        assert [classes, fit, scored] == [f"{number:,}" for number in (count, *sizes[:2])]
        text = inspect.getsource(importlib.import_module(f"tasks.{name}"))
        assert ("plan=None" if plan == "still" else f'plan="{plan}"') in text
        assert f"flip={flip == 'yes'}" in text


def test_the_table_of_encoders_has_every_family() -> None:
    section = README.partition("## Encoder families")[2].partition("\n## ")[0]
    first = "".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
    first = first.replace("`--encoder`", "")
    named = {re.split("[:/]", spec)[0] for spec in re.findall(r"`([^`]+)`", first)}
    ours = [e for e in registry.entries("encoders") if e.function.__module__[:6] == "bench."]
    # The encoder that ships is told of where it was made.
    assert named == {entry.name for entry in ours} - {"digits_tiny"}


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_links_of_the_readme_lead_to_files() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
