"""Every published data set in every layout, end to end: added, checked, encoded and probed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.labels import shipped
from tests.commands import Bench, Records
from tests.tasks import layouts
from tests.tasks.layouts import COMMON, Item

PLAN = "8x1x1@1"
INAT = ["00000_Animalia_Annelida_Clitellata", "00007_Plantae_Rosales", "09999_Fungi_Agaricales"]
IMAGES = ("in1k", "places205", "places365", "inat21")


def kinetics_name(split: str, number: int) -> str:
    return f"-{split[0]}Made_Up{number:02d}_{number:06d}_{number + 10:06d}.mp4"


def in1k_name(split: str, number: int, label: str) -> str:
    return f"{label}_{number}.JPEG" if split == "train" else f"ILSVRC2012_val_{number:08d}.JPEG"


def places365_name(split: str, number: int) -> str:
    return f"{number:08d}.jpg" if split == "train" else f"Places365_val_{number:08d}.jpg"


# Which classes the small trees have, and what their files are called.
CLASSES = {
    "k400": ["abseiling", "massaging person's head", "passing American football (in game)"],
    "k600": ["abseiling", "archery", "zumba"],
    "k700": ["abseiling", "archery", "zumba"],
    "ssv2": [
        "Moving something down",
        "Pretending to put something behind something",
        "Putting something that can't roll onto a slanted surface, so it slides down",
    ],
    "ucf101": ["Hammering", "HammerThrow", "HandstandPushups"],
    "hmdb51": ["brush_hair", "kick", "kick_ball"],
    "jester": ["Doing other things", "Swiping Left", "Swiping Right"],
    "inat21": INAT,
}
NAMES = {
    "k400": lambda split, n, label: kinetics_name(split, n),
    "k600": lambda split, n, label: kinetics_name(split, n),
    "k700": lambda split, n, label: kinetics_name(split, n),
    "ssv2": lambda split, n, label: f"{n + 100 * (split == 'val')}.webm",
    "ucf101": lambda split, n, label: f"v_{label}_g{n + 1 + 20 * (split == 'val'):02d}_c01.avi",
    "hmdb51": lambda split, n, label: f"#{split}_Made&Up(1)_{n}_{label}_u_nm_np1_ba_goo_0.avi",
    "jester": lambda split, n, label: f"{n + 1 + 100 * (split == 'val')}.mp4",
    "diving48": lambda split, n, label: f"made-up_{split}_{n:05d}.mp4",
    "coin": lambda split, n, label: f"-{split[0]}Made_Up{n:02d}.mp4",
    "in1k": in1k_name,
    "places205": lambda split, n, label: f"gsun_{split}{n:04d}.jpg",
    "places365": lambda split, n, label: places365_name(split, n),
    "inat21": lambda split, n, label: f"0a1b2c3d-0000-4000-8000-{split:0>7}{n:05d}.jpg",
}
OFFICIAL = {
    "k400": [layouts.kinetics],
    "k600": [layouts.kinetics],
    "k700": [layouts.kinetics],
    "ssv2": [layouts.ssv2],
    "ucf101": [layouts.ucf101],
    "hmdb51": [layouts.hmdb51],
    "jester": [layouts.jester],
    "diving48": [layouts.diving48],
    "coin": [layouts.coin],
    "in1k": [layouts.in1k, layouts.in1k_caffe],
    "places205": [layouts.places205],
    "places365": [layouts.places365, layouts.places365_easy],
    "inat21": [layouts.inat21],
}
# The label map of iNaturalist comes with its JSON or its folders, not with a number.
WITHOUT = {
    "inat21": {"flat with list", "metadata csv", "parquet", "tar shards"},
    **{name: {"frame folders"} for name in IMAGES if name != "inat21"},
}
WITHOUT["inat21"].add("frame folders")
# One reader serves the common layouts of all data sets: every run tries them on these, and on each
# of the others the one whose turn it is.
ALL_LAYOUTS = ("k400", "in1k", "inat21")


def cases() -> Iterator[pytest.ParameterSet]:
    for name in NAMES:
        for writer in OFFICIAL[name]:
            yield pytest.param(name, writer, id=f"{name}-{writer.__name__}")
        common = [title for title in COMMON if title not in WITHOUT.get(name, ())]
        turn = common[list(NAMES).index(name) % len(common)]
        for title in common:
            is_slow = name not in ALL_LAYOUTS and title != turn
            marks = [pytest.mark.slow] if is_slow else []
            yield pytest.param(name, COMMON[title], id=f"{name}-{title}", marks=marks)


def items_of(name: str, split: str, per_class: int) -> list[Item]:
    names = CLASSES.get(name) or [shipped(name).names[i] for i in (0, 9, 20)]
    made = []
    for label in names:
        index = int(label[:5]) if name == "inat21" else shipped(name).index(label)
        level = 40 + 80 * names.index(label)
        for _ in range(per_class):
            file = NAMES[name](split, len(made) + 1, label)
            made.append(Item(name=file, label=label, index=index, level=level))
    return made


@pytest.mark.parametrize(("name", "write"), list(cases()))
def test_a_small_tree_is_added_checked_encoded_and_probed(
    name: str, write: Callable[..., Any], bench: Bench, records: Records, tmp_path: Path
) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    splits = {"train": items_of(name, "train", 2), "val": items_of(name, "val", 1)}
    for split, items in splits.items():
        write(root, split, items)
    code, said, error = bench("data", "add", name, root, "--json", "--home", home)
    assert code == 0, error
    code, said, error = bench("check", name, "--plan", PLAN, "-j", 1, "--json", "--home", home)
    assert code == 4, error  # by their number, these are not the published splits
    reports = list(json.loads(said).values())
    assert [report["listed"] for report in reports] == [6, 3]
    for report in reports:
        assert report["problems"] == 1 and not report["missing"] and report["expected"] > 1000
    plan = [] if name in IMAGES else ["--plan", PLAN]
    [record] = records(
        "-m", "pixel_mean", "-t", name, "-p", "knn", "--set", "probe.k=1", *plan,
        "--home", home, "--workers", "0",
    )  # fmt: skip
    metrics, score = record["metrics"], record["data"]["score"]
    assert (metrics["correct"], metrics["scored"]) == (3, 3)
    assert metrics["expected"] == score["expected"] and score["layout"]
    assert metrics["bounds"]["high"] == 1 and metrics["bounds"]["low"] == 3 / score["expected"]
    num_classes = 10_000 if name == "inat21" else len(shipped(name))
    assert record["task"]["num_classes"] in (num_classes, len(splits["val"]))


def test_every_published_data_set_is_tried_in_its_layouts() -> None:
    from bench import registry

    published = {
        entry.name
        for entry in registry.entries("tasks")
        if {"media", "subset"} <= {*entry.options} and entry.function.__module__[:6] == "tasks."
        if "detections" not in entry.options  # boxes have layouts of their own, see test_ava.py
    }
    assert published == set(NAMES)
