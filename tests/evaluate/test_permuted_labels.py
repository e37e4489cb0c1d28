"""A released head with another order of classes, from image files to the record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.evaluate.probe_files import load_fitted
from probes.stack.released_probe import to_released
from tests.commands import Bench, Records

COLOURS = {
    "amber": (255, 190, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
    "dark red": (99, 0, 0),
    "emerald": (0, 160, 80),
}
ORDER = [3, 0, 4, 1, 2]  # class of the task that each column of the released head tells
ROWS = 12
ARGUMENTS = ["-m", "random:vit_digits", "-t", "folder", "-p", "attentive", "--workers", "0"]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of images in one colour each, with noise."""
    root, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for split in ("train", "val"):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for item in range(ROWS):
                pixels = np.array(colour) + rng.normal(0, 20, (32, 32, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{item:02}.png")
    return root


@pytest.fixture
def released(records: Records, colours: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Fit a head here and write it as V-JEPA 1 does, in another order: (file, its record)."""
    [record] = records(
        *ARGUMENTS, "--data", colours, "--set", "probe.epochs=40", "--set", "probe.batch_size=16"
    )
    saved = tmp_path / "home" / "records" / record["artifacts"]["probe"]["path"]
    state = to_released(load_fitted(saved.parent).fitted.module, 0)
    for name in ("linear.weight", "linear.bias"):
        state[name] = state[name][ORDER]
    path = tmp_path / "head.pth"
    torch.save({"classifier": state}, path)
    return path, record


def test_released_head_is_stopped_reordered_by_names_or_by_training_rows_or_kept_as_suspect(
    bench: Bench,
    records: Records,
    released: tuple[Path, dict[str, Any]],
    colours: Path,
    tmp_path: Path,
) -> None:
    path, fitted = released
    assert fitted["metrics"]["top1"] > 0.9
    scored = [*ARGUMENTS, "--data", colours, "--probe-weights", path]
    code, _, said = bench("run", *scored)
    assert code == 4 and "val: the labels look permuted" in said
    assert "when 5 of 5 classes change places" in " ".join(said.split())
    assert len(list((tmp_path / "home" / "records").glob("*.json"))) == 1

    names = tmp_path / "head.txt"
    names.write_text("".join(f"{list(COLOURS)[i].replace(' ', '_')}\n" for i in ORDER))
    [named] = records(*scored, "--head-classes", names)
    [learned] = records(*scored, "--head-classes", "fit:10")
    [kept] = records(*scored, "--set", "on_permuted_labels=keep")
    assert named["metrics"] == learned["metrics"] == fitted["metrics"]
    assert len({record["id"] for record in (fitted, named, learned, kept)}) == 4
    assert kept["status"] == "suspect" and "labels look permuted" in kept["reasons"][0]
    assert named["status"] != "suspect" and named["probe"]["head_order"].startswith("names ")
    log = learned["probe"]["log"]["head_order"]
    assert log["training_rows"] == 50 and log["holdout_agreement"] > 0.8
    assert log["digest"] == named["probe"]["log"]["head_order"]["digest"]
    assert learned["data"]["fit"] is None

    home = tmp_path / "home" / "records"  # the saved probe scores in the task's order
    again = load_fitted((home / named["artifacts"]["probe"]["path"]).parent)
    assert json.dumps(again.fitted.log) == json.dumps(named["probe"]["log"])


def test_order_without_a_released_head_is_refused(bench: Bench, colours: Path) -> None:
    code, _, said = bench("run", *ARGUMENTS, "--data", colours, "--head-classes", "fit")
    assert code == 2 and "--probe-weights FILE" in said


def test_features_whose_labels_were_numbered_by_two_maps_are_stopped_or_suspect(
    bench: Bench, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    centres, y = rng.normal(size=(8, 16)), np.repeat(np.arange(8), 12)
    train, score = tmp_path / "train.npz", tmp_path / "score.npz"
    np.savez(train, x=(centres[y] + 0.2 * rng.normal(size=(96, 16))).astype(np.float32), y=y)
    x = (centres[y] + 0.2 * rng.normal(size=(96, 16))).astype(np.float32)
    np.savez(score, x=x, y=(y + 1) % 8)
    call = ["probe", "--train", train, "--score", score, "-p", "knn", "--set", "k=1", "--json"]
    code, _, said = bench(*call)
    assert code == 4 and "with 0.0 % (0 of 96) of the labels as given" in " ".join(said.split())
    code, out, _ = bench(*call, "--set", "on_permuted_labels=keep")
    assert code == 3 and json.loads(out)["status"] == "suspect"
