"""The published data sets with few labels: percents, SimCLR's lists, and one id for one name."""

from pathlib import Path

import numpy as np
import pytest

from bench import registry
from bench.errors import DataError, UsageError

FORMATS = Path(__file__).parent.parent / "fixtures" / "formats"
CLASSES = {
    "k400": ("abseiling", "zumba"),
    "in1k": ("n01440764", "n15075141"),
}


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked at here")


@pytest.fixture
def k400(tmp_path: Path) -> Path:
    """Twenty training clips of each of two classes, one to score on."""
    for n, label in enumerate(CLASSES["k400"]):
        clips = [f"{label}/{n}-{i:09d}_000001_000011.mp4" for i in range(21)]
        put(tmp_path, *(f"train/{clip}" for clip in clips[:20]), f"val/{clips[20]}")
    return tmp_path


@pytest.fixture
def in1k(tmp_path: Path) -> Path:
    for wnid in CLASSES["in1k"]:
        put(tmp_path / "in1k", *(f"train/{wnid}/{wnid}_{i}.JPEG" for i in range(30)))
        number = CLASSES["in1k"].index(wnid)
        put(tmp_path / "in1k", f"val/{wnid}/ILSVRC2012_val_0000000{number}.JPEG")
    return tmp_path / "in1k"


def test_percent_is_the_fraction_of_the_whole_task(k400: Path) -> None:
    options = {"data": k400, "percent": "10", "draw": "1"}
    alias = registry.build("tasks", "k400_low_shot", options)
    same = registry.build("tasks", "k400", {"data": k400, "fraction": 0.1, "draw": 1})
    assert alias.name == "k400" and alias.options == same.options
    assert alias.fit.digest == same.fit.digest and alias.score.digest == same.score.digest
    assert np.bincount(alias.fit.labels)[[0, 399]].tolist() == [2, 2]
    assert (alias.options["fraction"], alias.options["rows"], alias.options["least"]) == (0.1, 4, 0)
    assert alias.fit_plan == same.fit_plan and alias.flip


def test_percents_of_a_draw_are_nested(k400: Path) -> None:
    ids = [
        set(registry.build("tasks", "k400_low_shot", {"data": k400, "percent": p}).fit.ids)
        for p in (5, 10, 50, 100)
    ]
    assert [len(i) for i in ids] == [2, 4, 20, 40]
    assert ids[0] < ids[1] < ids[2] < ids[3]


@pytest.mark.parametrize("name", ["k400_low_shot", "ssv2_low_shot", "in1k_low_shot"])
@pytest.mark.parametrize("percent", [0, 101, -5])
def test_percent_out_of_its_range_is_refused(name: str, percent: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 100"):
        registry.build("tasks", name, {"data": tmp_path, "percent": percent})


def test_example_of_simclr_lists_is_read(in1k: Path) -> None:
    path = FORMATS / "imagenet1k" / "simclr_subsets" / "1percent.txt"
    names = path.read_text().split()
    put(in1k, *(f"train/{name.split('_')[0]}/{name}" for name in names))
    task = registry.build("tasks", "in1k", {"data": in1k, "subset": path})
    assert sorted(task.fit.ids) == ["n01751748_10382", "n02119789_777"]
    assert [task.fit.classes[label] for label in task.fit.labels] == [
        sample.split("_")[0] for sample in task.fit.ids
    ]


def test_lists_of_simclr_are_read_as_they_are(in1k: Path) -> None:
    path = in1k.parent / "1percent.txt"
    path.write_text("n15075141_7.JPEG\nn01440764_12.JPEG\nn01440764_1.JPEG\n")
    task = registry.build("tasks", "in1k", {"data": in1k, "subset": path})
    assert sorted(task.fit.ids) == ["n01440764_1", "n01440764_12", "n15075141_7"]
    assert np.bincount(task.fit.labels)[[0, 999]].tolist() == [2, 1]
    assert task.options["most"] == 2 and len(task.options["subset_sha256"]) == 64
    path.write_text("n15075141_7.JPEG\nn01440764_10026.JPEG\n")
    with pytest.raises(DataError, match=r"1 is not among the samples of in1k train: 'n01440764_1"):
        registry.build("tasks", "in1k", {"data": in1k, "subset": path})


@pytest.mark.parametrize("name", ["k400", "k600", "ssv2", "in1k", "places205", "inat21", "folder"])
def test_every_task_is_cut_in_the_same_four_ways(name: str) -> None:
    assert {"fraction", "draw", "shots", "subset"} <= set(registry.find("tasks", name).options)
