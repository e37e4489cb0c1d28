"""Kinetics-600 and -700: tables, CVDF's two kinds of lists, videos that are listed again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.data.discover.dataset import DataSet
from bench.data.discover.find_split import read_split
from tasks.k600 import K600, k600
from tasks.k600 import read as read_k600
from tasks.k700 import K700, k700
from tests.tasks.video_trees import FORMATS, look, plant, write

GOLDEN = [
    "abseiling",
    "air drumming",
    "massaging person's head",
    "passing American football (in game)",
    "zumba",
]
HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.mark.parametrize("dataset", [K600, K700], ids=lambda dataset: dataset.name)
@pytest.mark.parametrize(
    ("table", "split"),
    [("cvdf/annotations/train.csv", "train"), ("deepmind/validate.csv", "val")],
)
def test_golden_tables_are_those_of_all_editions(
    tmp_path: Path, dataset: DataSet, table: str, split: str
) -> None:
    path = FORMATS / "kinetics400" / table
    listed = dataset.read(path, split, look(tmp_path), dataset.labels)
    assert [dataset.labels.names[label] for label in listed.labels] == GOLDEN
    assert [dataset.sample_id(name)[1:] for name in listed.names[:2]] == [
        "0aMadeUp01",
        "bMade_Up02",
    ]


@pytest.mark.parametrize(("task", "dataset"), [(k600, K600), (k700, K700)])
def test_task_reads_tables_and_folders_alike(
    tmp_path: Path, task: Callable[..., Any], dataset: DataSet
) -> None:
    clips = {"-0aMadeUp01": "zumba", "_bMade_Up02": "massaging person's head"}
    rows = "".join(f'"{label}",{clip},7,17,validate\n' for clip, label in clips.items())
    tables = plant(tmp_path / "tables", *(f"val/{clip}_000007_000017.mp4" for clip in clips))
    write(tables / "validate.csv", HEADER + rows)
    write(tables / "train.csv", HEADER + "zumba,cMadeUp0003,0,10,train\n")
    plant(tables, "train/cMadeUp0003_000000_000010.mkv")
    folders = plant(
        tmp_path / "folders",
        "train/zumba/cMadeUp0003.mp4",
        "val/zumba/-0aMadeUp01_000007_000017.mp4",
        "val/massaging_persons_head/_bMade_Up02.webm",  # as torchvision spells it
    )
    first, second = task(data=tables), task(data=folders)
    assert list(first.score.ids) == ["-0aMadeUp01", "_bMade_Up02"]
    found = [dataset.labels.names[label] for label in first.score.labels]
    assert found == list(clips.values())
    assert (first.fit.digest, first.score.digest) == (second.fit.digest, second.score.digest)
    assert str(first.score.media[1]).endswith("val/_bMade_Up02_000007_000017.mp4")
    assert first.score.expected == {"k600": 30_000, "k700": 35_000}[dataset.name]


def test_video_that_is_listed_again_is_excluded(tmp_path: Path) -> None:
    root = plant(tmp_path, "val/aMadeUp0001_000000_000010.mp4", "val/bMadeUp0002_000000_000010.mp4")
    rows = (
        "zumba,aMadeUp0001,0,10,val",
        "zumba,bMadeUp0002,0,10,val",
        "zumba,aMadeUp0001,0,10,val",
    )
    write(root / "val.csv", HEADER + "\n".join(rows))
    manifest = read_split(K600, root, "val")
    assert list(manifest.ids) == ["aMadeUp0001", "bMadeUp0002"]
    assert dict(manifest.excluded) == {"aMadeUp0001#2": "listed twice"}


def test_capitals_of_one_class_make_no_difference(tmp_path: Path) -> None:
    spellings = [f"passing {word} football (not in game)" for word in ("American", "american")]
    rows = "".join(f"{text},{i}MadeUp0001,0,10,val\n" for i, text in enumerate(spellings))
    path = write(tmp_path / "val.csv", HEADER + rows)
    for dataset in (K600, K700):
        found = dataset.read(path, "val", look(tmp_path), dataset.labels).labels.tolist()
        assert len(set(found)) == 1
        name = dataset.labels.names[found[0]]
        assert name.casefold() == spellings[1].casefold()


def test_whole_lists_of_cvdf_go_before_its_tables(tmp_path: Path) -> None:
    names = [f"{letter}MadeUp0001_000000_000010" for letter in "abc"]
    root = plant(tmp_path, *(f"val/{name}.mp4" for name in names))
    write(root / "annotations" / "val.csv", f"{HEADER}zumba,aMadeUp0001,0,10,val\n")
    whole = write(root / "annotations" / "val.txt", "".join(f"{n}.mp4 zumba\n" for n in names))
    manifest = read_split(K600, root, "val")
    assert (len(manifest), manifest.source) == (3, str(whole))
    assert set(manifest.labels.tolist()) == {599}
    write(whole, HEADER + "".join(f"zumba,{name[:11]},0,10,val\n" for name in names))
    assert read_split(K600, root, "val").source == str(whole)
    write(whole, "a line that is no row\n")
    manifest = read_split(K600, root, "val")
    assert len(manifest) == 1
    assert manifest.layout.startswith("table of clips, val.txt next to it not used")


def test_other_files_are_left_to_the_general_reader(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", "a.mp4 0\n")
    assert read_k600(path, "train", look(tmp_path), K600.labels) is None
